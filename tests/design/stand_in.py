"""A stand-in for a family: the three attributes the design asks for."""

from typing import NamedTuple


class Family(NamedTuple):
    name: str
    support: str
    predictors: tuple[str, ...] = ("cond",)


GAUSSIAN = Family("gaussian", "real", ("cond", "disp"))
BINOMIAL = Family("binomial", "binomial")
POISSON = Family("poisson", "count")
GAMMA = Family("gamma", "positive", ("cond", "disp"))
NBINOM2 = Family("nbinom2", "count", ("cond", "disp"))
ZI_NBINOM2 = Family("zi_nbinom2", "count", ("cond", "disp", "zi"))
