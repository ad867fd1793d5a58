"""The façade of studies that are not done yet: a design and stated parameters."""

import warnings
from typing import Any

from . import families
from ._errors import DataError, DataWarning, NotSupportedError
from .api import _family
from .batching import _with_placeholder
from .design import make_design
from .estimators import LinearMixed, MaximumLikelihood
from .infer._fit import Settings
from .infer._methods import estimator_for, resolve_method
from .infer._stated import Study, state
from .lanes._reader import read_left


def study(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "binomial",
    *,
    truth: Any,
    link: str | families.AbstractLink | None = None,
    method: Any = "laplace",
    nodes: int | None = None,
    reml: bool = False,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    weights_kind: str = "frequency",
    ziformula: str | None = None,
    dispformula: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
) -> Study:
    """A study at stated parameters, to simulate from and to give to `power` before there are data.

    Parameters
    ----------
    formula : as in `glmm`. The first name on its left side is a placeholder, as in `batch`; it
        need not be a column of the data. It stands alone, or in cbind().
    data : the design: a frame with everything else, one row for each response to come.
    truth : every parameter's value, by the names that fits and `Bootstrap.varcorr` use:
        coefficients (``"Intercept"``, ``"x"``, ``"zi:Intercept"``), ``"sd:<group>:<effect>"``,
        ``"cor:<group>:<effect>:<effect>"`` (0 where left out), and ``"sd:Residual"`` of a Gaussian
        response, ``"dispersion"`` of another family that has one. A dict or a Series, such as
        ``fit.bootstrap(2).estimate``.
    method, nodes, reml : how `power` fits what it draws: maximum likelihood by an integrator, or
        exactly (Gaussian responses, with REML too).
    family, link, weights, offset, trials, weights_kind, ziformula, dispformula, missing, contrasts,
        subset : as in `glmm`.

    Returns
    -------
    Study : `truth`, `simulate(n, seed)`; `power(study, {"x": 0.5})`.

    Raises
    ------
    FormulaError : for a formula that cannot be read.
    DataError : for the design; for parameters that are missing or unknown, with the names of all;
        for sds that are negative and correlations whose matrix is not positive definite.
    NotSupportedError : for methods that are not maximum likelihood by an integrator or exact.
    """
    how = resolve_method(method, nodes, reml)
    found = _family(family, link, ziformula)
    left = read_left(formula)
    frame, _ = _with_placeholder(left, data, found)
    if not left.is_plain and len(left.response.expressions) == 1:
        raise DataError(
            f"a study draws {left.text} itself, so that nothing can be done to it: "
            f"write {left.plain}"
        )
    design = make_design(
        formula, frame, found, ziformula=ziformula, dispformula=dispformula, weights=weights,
        offset=offset, trials=trials, weights_kind=weights_kind, missing=missing,
        contrasts=contrasts, subset=subset,
    )  # fmt: skip
    for note in design.notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    estimator = estimator_for(how, found, dispformula, weights_kind)
    if not isinstance(estimator, MaximumLikelihood | LinearMixed):
        raise NotSupportedError(
            "a study is fitted by maximum likelihood with an integrator, such as method='laplace' "
            f"or 'agq', or exactly (Gaussian responses), not by {estimator.label}"
        )
    settings = Settings(formula, found, how, weights_kind, ziformula, dispformula, estimator)
    return state(settings, design, truth)
