"""The façade of simulation-based calibration."""

from typing import Any

from . import families
from ._errors import NotSupportedError
from .api import _family
from .bayesian import NEEDED, _require
from .design import make_design
from .estimators import NUTS, whole_number
from .infer._bayes import BayesSettings, resolve_marginal
from .infer._explorers import resolve_explorer, resolve_length
from .infer._fit import whole_seed
from .infer._sbc import Calibration, calibrate

FEWEST = 20


def sbc(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "gaussian",
    *,
    priors: dict[str, Any] | None = None,
    simulations: int = 200,
    draws: int = 99,
    thin: int = 4,
    warmup: int = 300,
    link: str | families.AbstractLink | None = None,
    method: Any = "nuts",
    marginal: Any = False,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    weights_kind: str = "frequency",
    ziformula: str | None = None,
    dispformula: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    seed: int = 0,
) -> Calibration:
    """Simulation-based calibration (Talts et al. 2018) of `bayes` for a model and its priors.

    `simulations` times: parameters and random effects from the priors, a response from the model
    (the data's own covariates, offsets, trials and groups), and its posterior sampled by NUTS. The
    ranks of the truth among the draws are uniform if the sampler is right. The response in `data`
    gives its trials, and default priors their scale, nothing else. All posteriors are sampled side
    by side in one program.

    Parameters
    ----------
    formula, data, family, priors, link, marginal, ... : as in `bayes`; every prior proper. With
        `marginal=` it is the integrator's approximation that is tested, as well as the sampler.
    method : "nuts", or `gj.NUTS` with settings.
    draws, thin : ranks are among `draws` draws of one chain, `thin` transitions apart, so that they
        are about independent; a note says where they are not.

    Returns a `Calibration`: `ranks`, `pvalues` of each parameter and of the log-likelihood (Modrak
    et al. 2023), the joint `pvalue`, and `uniform()`.

    Raises
    ------
    NotSupportedError : a method that is not NUTS, a flat prior (by name), frequency weights, a
        family that cannot simulate.
    FormulaError, DataError : as `bayes`.
    """
    _require(NEEDED)
    whole_number("simulations", simulations, FEWEST)
    whole_number("thin", thin, 1)
    explorer = resolve_explorer(method)
    if not isinstance(explorer, NUTS):
        raise NotSupportedError(
            f"sbc() ranks draws of one chain a simulation, by 'nuts' or gj.NUTS(...), not "
            f"{explorer.name!r}"
        )
    length = resolve_length(explorer, 1, draws, warmup)
    how, seed = resolve_marginal(marginal), whole_seed(seed)
    found = _family(family, link, ziformula)
    design = make_design(
        formula, data, found, ziformula=ziformula, dispformula=dispformula, offset=offset,
        trials=trials, weights_kind=weights_kind, weights=weights, missing=missing,
        contrasts=contrasts, subset=subset,
    )  # fmt: skip
    settings = BayesSettings(
        formula, found, ziformula, dispformula, explorer, length, how, True, seed
    )
    return calibrate(design, settings, priors, int(simulations), int(thin))
