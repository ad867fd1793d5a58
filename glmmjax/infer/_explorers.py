"""Ways of exploring a posterior by name: `method=` of `bayes` to an object; how much to draw."""

from typing import Any

from .._errors import DataError, NotSupportedError
from ..estimators import NUTS, SVI, AbstractExplorer, ChEES, Length, Pathfinder, whole_number

EXPLORERS: dict[str, type] = {m.name: m for m in (NUTS, ChEES, SVI, Pathfinder)}
FEWEST_WARMUP, FEWEST_DRAWS = 20, 4


def resolve_explorer(method: Any) -> AbstractExplorer:
    """The explorer that `method=` (a name or an object) asks for. Raises NotSupportedError."""
    if isinstance(method, str) and method in EXPLORERS:
        return EXPLORERS[method]()
    if isinstance(method, AbstractExplorer):
        return method
    known = ", ".join(map(repr, EXPLORERS))
    if isinstance(method, type) and issubclass(method, AbstractExplorer):
        raise NotSupportedError(f"method is {method.__name__}: write gj.{method.__name__}()")
    raise NotSupportedError(
        f"method={method!r} explores no posterior: choose one of {known}, or an object such as "
        "gj.NUTS(target_accept=0.95)"
    )


def resolve_length(method: AbstractExplorer, chains: Any, draws: Any, warmup: Any) -> Length:
    """How much to draw; None is the method's own. Raises DataError for what has no meaning."""
    own = method.length
    if method.is_approximate:
        for name, value in (("chains", chains), ("warmup", warmup)):
            if value is not None:
                raise DataError(
                    f"method={method.name!r} runs no chains: leave {name}= out; draws= are those "
                    "of the approximation"
                )
    least = {"chains": method.fewest_chains, "draws": FEWEST_DRAWS, "warmup": FEWEST_WARMUP}
    given = {"chains": chains, "draws": draws, "warmup": warmup}
    for name, value in given.items():
        if value is not None:
            whole_number(name, value, least[name])
    found = {n: getattr(own, n) if v is None else int(v) for n, v in given.items()}
    return Length(**found)


def refuse_explorer(method: Any) -> None:
    """Raise NotSupportedError where a method of `bayes` was given to maximum likelihood."""
    name = method if isinstance(method, str) else getattr(method, "name", None)
    if isinstance(method, AbstractExplorer) or (name in EXPLORERS and isinstance(method, str)):
        raise NotSupportedError(
            f"method={name!r} explores a posterior, which has priors: use gj.bayes(formula, data, "
            f"family, method={name!r})"
        )
