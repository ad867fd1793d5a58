"""What is to be reached, and whether it was. Every target is an upper bound on 2 cores."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """One target: a bound and what was reached, in the same unit; None where not measured."""

    what: str
    reached: float | None
    bound: float | None
    unit: str = "s"

    @property
    def word(self) -> str:
        if self.reached is None or self.bound is None:
            return "not measured"
        return "pass" if self.reached <= self.bound else "MISS"


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    """Judge what was measured. `results` is what `bench.__main__.measure` returns."""
    ours, glmm, lme4, mass = (_medians(results, p) for p in ("glmmjax", "glmm", "lme4", "MASS"))
    refit, fit, agq = "cbpp-refit", "cbpp-laplace", "toenail-agq25"
    split = results.get("split", {})
    one, three = (_prepare(split.get(n)) for n in ("cbpp-laplace", "owls-nbinom2-zi"))
    imports, command = results.get("imports", {}), results.get("command", {})
    if command.get("error"):
        command = {}
    return [
        Verdict("warm fit.refit(y) on cbpp / glmm.fit", _over(ours, glmm, refit), 1.0, "x"),
        Verdict("warm fit.refit(y) on cbpp", ours.get(refit), 0.003),
        Verdict("warm gj.glmm on cbpp, formula included", ours.get(fit), 0.010),
        Verdict("warm gj.glmm on cbpp / lme4's glmer", _over(ours, lme4, fit), 1 / 13, "x"),
        Verdict("warm toenail AGQ-25 / glmm", _over(ours, glmm, agq), 1 / 3, "x"),
        Verdict("warm toenail AGQ-25 / lme4", _over(ours, lme4, agq), 1 / 40, "x"),
        Verdict(
            "warm fit.refit(y) by PQL on cbpp / MASS's glmmPQL",
            _over(ours, mass, "cbpp-pql-refit"), 1 / 20, "x",
        ),
        Verdict(
            "warm gj.glmm by PQL, 1,595 mothers / MASS's glmmPQL",
            _over(ours, mass, "mothers-pql"), 1 / 20, "x",
        ),
        Verdict("trace, lower and compile, one predictor (cbpp)", one, 1.2),
        Verdict("trace, lower and compile, three predictors (Owls)", three, 4.0),
        Verdict(
            "second process on cbpp / Rscript with lme4",
            _ratio(command.get("second"), command.get("lme4")), 1.5, "x",
        ),
        Verdict("first ever process on cbpp", command.get("first"), 8.0),
        Verdict(
            "import glmmjax / import jax, equinox",
            _ratio(imports.get("glmmjax"), imports.get("jax, equinox")), 1.5, "x",
        ),
        # `import glmmjax` loads names on first use, so this is the fairer figure
        Verdict(
            "import glmmjax and all that a fit needs / import jax, equinox",
            _ratio(imports.get("all that a fit needs"), imports.get("jax, equinox")), 1.5, "x",
        ),
    ]  # fmt: skip


def _medians(results: dict[str, Any], program: str) -> dict[str, float]:
    rows = results.get("workloads", {})
    found = {name: (row.get(program) or {}).get("warm") for name, row in rows.items()}
    return {name: warm["median"] for name, warm in found.items() if warm}


def _over(ours: dict[str, float], peer: dict[str, float], name: str) -> float | None:
    return _ratio(ours.get(name), peer.get(name))


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


def _prepare(split: dict[str, Any] | None) -> float | None:
    if not split or "seconds" not in split:
        return None
    return sum(split["seconds"][step] for step in ("trace", "lower", "compile"))
