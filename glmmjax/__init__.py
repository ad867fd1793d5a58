"""glmmjax: differentiable estimation of generalized linear and nonlinear mixed models on JAX.

`import glmmjax as gj`, then `gj.glmm("y ~ x + (1 | g)", frame, "poisson")`. The functional core
(`gj.build`, `gj.marginal_loglik`) is importable without pandas; names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Loading them lazily keeps `import glmmjax` at the price of JAX.
_HOME = {
    "AGQ": "integrate", "FOCE": "integrate", "Importance": "integrate", "Laplace": "integrate",
    "PQL": "estimators", "Linearize": "estimators", "MCEM": "estimators", "SAEM": "estimators",
    "NUTS": "estimators", "ChEES": "estimators", "SVI": "estimators", "Pathfinder": "estimators",
    "marginal": "integrate", "marginal_loglik": "integrate", "joint": "model",
    "take_units": "model",
    "anova": "infer._anova", "compare": "infer._compare", "load": "infer._store", "Fit": "infer",
    "build": "api", "estimate": "estimators", "glmm": "api", "lmm": "api", "use_cache": "_cache",
    "bayes": "bayesian", "PosteriorFit": "infer._posterior_fit",
    "power": "infer._power", "Bootstrap": "infer._bootstrap", "Power": "infer._power",
    "study": "planning", "Study": "infer._stated",
    "Multistart": "infer._multistart", "PermutationTest": "infer._permutation",
    "batch": "batching", "BatchFit": "lanes", "sbc": "calibration",
    "distribute": "shard", "nlmm": "nonlinear", "gee": "estimating", "GEEFit": "infer._gee",
    "DataError": "_errors", "DataWarning": "_errors", "FormulaError": "_errors",
    "ApproximationWarning": "_errors", "ConvergenceWarning": "_errors",
    "GlmmjaxError": "_errors", "GlmmjaxWarning": "_errors",
    "NotSupportedError": "_errors", "PrecisionError": "_errors", "PrecisionWarning": "_errors",
    "SeparationWarning": "_errors", "SingularFitWarning": "_errors",
}  # fmt: skip
_MODULES = {
    "curves": "curves", "datasets": "datasets", "families": "families", "plot": "plots",
    "priors": "priors",
}  # fmt: skip

__all__ = sorted([*_HOME, *_MODULES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'glmmjax' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from . import curves as curves
    from . import datasets as datasets
    from . import families as families
    from . import plots as plot  # noqa: F401
    from . import priors as priors
    from ._cache import use_cache as use_cache
    from ._errors import ApproximationWarning as ApproximationWarning
    from ._errors import ConvergenceWarning as ConvergenceWarning
    from ._errors import DataError as DataError
    from ._errors import DataWarning as DataWarning
    from ._errors import FormulaError as FormulaError
    from ._errors import GlmmjaxError as GlmmjaxError
    from ._errors import GlmmjaxWarning as GlmmjaxWarning
    from ._errors import NotSupportedError as NotSupportedError
    from ._errors import PrecisionError as PrecisionError
    from ._errors import PrecisionWarning as PrecisionWarning
    from ._errors import SeparationWarning as SeparationWarning
    from ._errors import SingularFitWarning as SingularFitWarning
    from .api import build as build
    from .api import glmm as glmm
    from .api import lmm as lmm
    from .batching import batch as batch
    from .bayesian import bayes as bayes
    from .calibration import sbc as sbc
    from .estimating import gee as gee
    from .estimators import MCEM as MCEM
    from .estimators import NUTS as NUTS
    from .estimators import PQL as PQL
    from .estimators import SAEM as SAEM
    from .estimators import SVI as SVI
    from .estimators import ChEES as ChEES
    from .estimators import Linearize as Linearize
    from .estimators import Pathfinder as Pathfinder
    from .estimators import estimate as estimate
    from .infer import Fit as Fit
    from .infer._anova import anova as anova
    from .infer._bootstrap import Bootstrap as Bootstrap
    from .infer._compare import compare as compare
    from .infer._gee import GEEFit as GEEFit
    from .infer._multistart import Multistart as Multistart
    from .infer._permutation import PermutationTest as PermutationTest
    from .infer._posterior_fit import PosteriorFit as PosteriorFit
    from .infer._power import Power as Power
    from .infer._power import power as power
    from .infer._stated import Study as Study
    from .infer._store import load as load
    from .integrate import AGQ as AGQ
    from .integrate import FOCE as FOCE
    from .integrate import Importance as Importance
    from .integrate import Laplace as Laplace
    from .integrate import marginal as marginal
    from .integrate import marginal_loglik as marginal_loglik
    from .lanes import BatchFit as BatchFit
    from .model import joint as joint
    from .model import take_units as take_units
    from .nonlinear import nlmm as nlmm
    from .planning import study as study
    from .shard import distribute as distribute
