"""The workloads: which model on which data, and the same model in the words of each peer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

REFITS = 20  # responses of a refit workload


@dataclass(frozen=True)
class Workload:
    """One model; every program gets the same columns and the same formula.

    `peers` are those which can fit it. `refit` times the same model on new responses instead.
    """

    name: str
    data: str
    formula: str
    family: str
    peers: tuple[str, ...]
    nodes: int | None = None
    ziformula: str | None = None
    reml: bool = False
    refit: bool = False
    slow: bool = False
    method: str | None = None

    def frame(self) -> "pd.DataFrame":
        """The data set with the columns that the formula names."""
        from glmmjax import datasets

        if self.data in _SIMULATED:
            return _SIMULATED[self.data]()
        frame = datasets.load(self.data)
        return _PREPARE.get(self.data, lambda f: f)(frame)

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `gj.glmm` after formula, data and family."""
        if self.nodes is not None:
            return {"method": "agq", "nodes": self.nodes}
        if self.method is not None:
            return {"method": self.method}
        return {"ziformula": self.ziformula, "reml": self.reml}

    def glmm_call(self) -> tuple[str, str, dict[str, Any]]:
        """Formula, family and options of `glmm.fit`, without tables that nobody else makes."""
        family = {"nbinom2": "negativebinomial"}.get(self.family, self.family)
        options: dict[str, Any] = {"anova_test": "Wald"}
        if self.family == "gaussian":
            options |= {"reml": self.reml, "satterthwaite": False}
        if self.nodes is not None:
            options["nagq"] = self.nodes
        # its cbind() takes names of columns only
        formula = self.formula.replace("size - incidence", "healthy")
        return formula, family, options

    def r_call(self, peer: str) -> str:
        """The call in R; the data are called `d`."""
        if peer == "MASS":  # one grouping factor, or nested ones
            fixed, bar = self.formula.rstrip(")").split(" + (", 1)
            return (
                f"MASS::glmmPQL({fixed}, random = ~ {bar}, data = d, family = {self.family}, "
                "verbose = FALSE)"
            )
        if peer == "glmmTMB":
            zi = self.ziformula or "~ 0"
            family = {"nbinom2": "glmmTMB::nbinom2"}.get(self.family, self.family)
            return (
                f"glmmTMB::glmmTMB({self.formula}, data = d, family = {family}, "
                f"ziformula = {zi}, REML = {str(self.reml).upper()})"
            )
        if self.family == "gaussian":
            return f"lme4::lmer({self.formula}, data = d, REML = {str(self.reml).upper()})"
        if self.family == "nbinom2":
            return f"lme4::glmer.nb({self.formula}, data = d)"
        return (
            f"lme4::glmer({self.formula}, data = d, family = {self.family}, "
            f"nAGQ = {self.nodes or 1})"
        )


def _cbpp(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(healthy=frame["size"] - frame["incidence"])


def _toenail(frame: "pd.DataFrame") -> "pd.DataFrame":
    bad = (frame["outcome"] == "moderate or severe").astype(float)
    return frame.assign(y=bad)[["y", "treatment", "time", "patientID"]]


def _contraception(frame: "pd.DataFrame") -> "pd.DataFrame":
    uses = (frame["use"] == "Y").astype(float)
    return frame.assign(y=uses, age2=frame["age"] ** 2, urban=(frame["urban"] == "Y").astype(float))


def _verbagg(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(y=(frame["r2"] == "Y").astype(float))


def _bacteria(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(y=(frame["y"] == "y").astype(float))


def _mothers() -> "pd.DataFrame":
    """2,159 children of 1,595 mothers in 161 communities: as many as guImmun has (mlmRev)."""
    import pandas as pd

    rng = np.random.default_rng(1981)
    home = np.sort(np.r_[np.arange(161), rng.integers(0, 161, 1595 - 161)])
    mother = np.sort(np.r_[np.arange(1595), rng.integers(0, 1595, 2159 - 1595)])
    X = np.column_stack([rng.normal(size=2159), rng.integers(0, 2, (2159, 3))])
    effect = rng.normal(size=161)[home[mother]] + 1.5 * rng.normal(size=1595)[mother]
    eta = X @ np.array([0.5, 0.8, -0.4, -0.6]) + effect
    y = rng.binomial(1, 1 / (1 + np.exp(-eta))).astype(float)
    frame = pd.DataFrame(X, columns=["income", "older", "indigenous", "rural"])
    groups = {"community": home[mother], "mother": mother}
    labels = {name: pd.Categorical(codes.astype(str)) for name, codes in groups.items()}
    return frame.assign(y=y, **labels)


_SIMULATED: dict[str, Callable[[], "pd.DataFrame"]] = {"mothers": _mothers}
_PREPARE: dict[str, Callable[["pd.DataFrame"], "pd.DataFrame"]] = {
    "bacteria": _bacteria,
    "cbpp": _cbpp,
    "toenail": _toenail,
    "Contraception": _contraception,
    "VerbAgg": _verbagg,
}

ALL = ("lme4", "glmmTMB", "glmm")
_CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
_TOENAIL = "y ~ treatment * time + (1 | patientID)"
_SLOPE = "y ~ age + age2 + urban + livch + (1 + urban | district)"
_OWLS = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(log(BroodSize)) + (1 | Nest)"
_TICKS = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"
_BACTERIA = "y ~ trt + I(week > 2) + (1 | ID)"
_MOTHERS = "y ~ income + older + indigenous + rural + (1 | community/mother)"
_VERBAGG = "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"

_LIST = (
    Workload("cbpp-laplace", "cbpp", _CBPP, "binomial", ALL),
    Workload("cbpp-refit", "cbpp", _CBPP, "binomial", ("lme4", "glmm"), refit=True),
    Workload("cbpp-agq25", "cbpp", _CBPP, "binomial", ("lme4", "glmm"), nodes=25),
    Workload("cbpp-pql", "cbpp", _CBPP, "binomial", ("MASS",), method="pql"),
    # MASS has no refit: it gets the new responses as data, formula and all
    Workload("cbpp-pql-refit", "cbpp", _CBPP, "binomial", ("MASS",), method="pql", refit=True),
    Workload("bacteria-pql", "bacteria", _BACTERIA, "binomial", ("MASS",), method="pql"),
    Workload("mothers-pql", "mothers", _MOTHERS, "binomial", ("MASS",), method="pql"),
    Workload("toenail-laplace", "toenail", _TOENAIL, "binomial", ALL),
    Workload("toenail-agq25", "toenail", _TOENAIL, "binomial", ("lme4", "glmm"), nodes=25),
    Workload(
        "sleepstudy-reml", "sleepstudy", "Reaction ~ Days + (1 + Days | Subject)", "gaussian",
        ALL, reml=True,
    ),
    Workload("contraception-slope-laplace", "Contraception", _SLOPE, "binomial", ALL),
    # lme4 has quadrature for one scalar effect only, glmmTMB has none
    Workload("contraception-slope-agq7", "Contraception", _SLOPE, "binomial", ("glmm",), nodes=7),
    # lme4's glmer.nb weights by expected information: another objective
    Workload("owls-nbinom2", "Owls", _OWLS, "nbinom2", ("glmmTMB", "glmm")),
    Workload("owls-nbinom2-zi", "Owls", _OWLS, "nbinom2", ("glmmTMB",), ziformula="~ 1"),
    Workload("grouseticks", "grouseticks", _TICKS, "poisson", ALL),
    Workload("verbagg-crossed", "VerbAgg", _VERBAGG, "binomial", ALL),
    Workload(
        "salamanders-zinb", "Salamanders", "count ~ spp + mined + (1 | site)", "nbinom2",
        ("glmmTMB",), ziformula="~ mined",
    ),
    Workload(
        "insteval-reml", "InstEval", "y ~ service + (1 | s) + (1 | d) + (1 | dept:service)",
        "gaussian", ("lme4",), reml=True, slow=True,
    ),
)  # fmt: skip
WORKLOADS: dict[str, Workload] = {w.name: w for w in _LIST}


def select(only: str | None, slow: bool) -> list[Workload]:
    """The workloads whose name contains `only`; slow ones on request, or when named in full."""
    chosen = [w for w in WORKLOADS.values() if only is None or only in w.name]
    return [w for w in chosen if slow or not w.slow or w.name == only]


def new_responses(frame: "pd.DataFrame") -> np.ndarray:
    """Counts of sick animals, (56, REFITS), drawn from the published fit of cbpp.

    Refitting the response that was fitted would start at the answer, so every program that is
    timed on `refit` gets these instead, one after the other.
    """
    rng = np.random.default_rng(20090817)
    beta = np.array([-1.39853214, -0.99233273, -1.12867208, -1.58031389])
    period, herd = frame["period"].cat.codes.to_numpy(), frame["herd"].cat.codes.to_numpy()
    shift = np.where(period > 0, beta[period], 0.0)
    effect = 0.64226145 * rng.standard_normal((herd.max() + 1, REFITS))
    eta = (beta[0] + shift)[:, None] + effect[herd]
    return rng.binomial(frame["size"].to_numpy()[:, None], 1 / (1 + np.exp(-eta)))
