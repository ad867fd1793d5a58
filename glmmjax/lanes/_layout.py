"""What the numbers of a batch are called: all that a table needs, and no arrays of the data."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..infer._engine import coefficient_names
from ._order import term_order
from ._problem import Problem


@dataclass(frozen=True)
class Factor:
    """One random-effects term: where its theta stand in the stacked parameters, and names."""

    component: str
    group: str
    effects: tuple[str, ...]
    start: int
    entries: tuple[tuple[int, int], ...]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The (later, earlier) effects that correlate."""
        q = len(self.effects)
        return tuple((i, j) for j in range(q) for i in range(j + 1, q)) * (len(self.entries) > q)

    @property
    def sds(self) -> list[str]:
        """Names of the standard deviations."""
        return [f"{self._head}sd:{self.group}:{e}" for e in self.effects]

    @property
    def correlations(self) -> list[str]:
        """Names of the correlations of `pairs`."""
        e = self.effects
        return [f"{self._head}cor:{self.group}:{e[j]}:{e[i]}" for i, j in self.pairs]

    @property
    def _head(self) -> str:
        return "" if self.component == "cond" else f"{self.component}:"


@dataclass(frozen=True)
class Layout:
    """Names of the stacked parameters, [beta, theta] and perhaps the log of a residual scale.

    names: of all coefficients; shown: which of them are `params`; predictors: name, columns and
    place of each; residual: the place of the log of a residual sd, or None; df: how many parameters
    are estimated; what: "responses" or "data sets".
    """

    names: tuple[str, ...]
    shown: tuple[int, ...]
    predictors: tuple[tuple[str, tuple[str, ...], int], ...]
    factors: tuple[Factor, ...]
    residual: int | None
    size: int
    formula: str
    family: str
    method: str
    rows: int
    df: int
    what: str = "responses"

    def columns(self) -> list[str]:
        """Names of the variance components."""
        out = [name for f in self.factors for name in (*f.sds, *f.correlations)]
        return [*out, *(["sd:Residual"] if self.residual is not None else [])]

    def variances(self, x: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L V"]:
        """Standard deviations and correlations of all lanes; a correlation without sd is NaN."""
        out = []
        for f in self.factors:
            q = len(f.effects)
            Lam = np.zeros((len(x), q, q))
            for k, (i, j) in enumerate(f.entries):
                Lam[:, i, j] = x[:, f.start + k]
            sd = np.sqrt((Lam**2).sum(2))
            out += [sd[:, i] for i in range(q)]
            with np.errstate(invalid="ignore", divide="ignore"):
                out += [
                    np.clip((Lam[:, i] * Lam[:, j]).sum(1) / (sd[:, i] * sd[:, j]), -1, 1)
                    for i, j in f.pairs
                ]
        if self.residual is not None:
            out.append(np.exp(x[:, self.residual]))
        return np.stack(out, 1) if out else np.zeros((len(x), 0))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def layout_of(problem: Problem, formula: str) -> Layout:
    """The names of a problem's parameters."""
    model, design = problem.model, problem.design
    names, keep, predictors, at = coefficient_names(design), [], [], 0
    for p in design.predictors:
        if p.name != "disp" or problem.own_dispersion:
            keep += range(at, at + len(p.names))
        predictors.append((p.name, tuple(p.names), at))
        at += len(p.names)
    factors: dict[int, Factor] = {}
    for t, term in zip(term_order(design), model.terms, strict=True):
        own = design.terms[t]
        factors[t] = Factor(own.component, own.group, tuple(own.effects), at, term.entries)
        at += len(term.entries)
    one = [
        start for name, columns, start in predictors if name == "disp" and columns == ("Intercept",)
    ]
    residual = one[0] if one and problem.family.name == "gaussian" else None
    residual = problem.size - 1 if problem.own_scale else residual
    return Layout(
        tuple(names), tuple(keep), tuple(predictors), tuple(factors[t] for t in sorted(factors)),
        residual, problem.size, formula, problem.family.name, problem.estimator.label,
        len(design.weight), problem.df,
    )  # fmt: skip


def layout_from_json(found: dict[str, Any]) -> Layout:
    """The inverse of `Layout.to_json`."""
    factors = tuple(
        Factor(f["component"], f["group"], tuple(f["effects"]), int(f["start"]),
               tuple((int(i), int(j)) for i, j in f["entries"]))
        for f in found["factors"]
    )  # fmt: skip
    predictors = tuple((n, tuple(c), int(s)) for n, c, s in found["predictors"])
    return Layout(
        tuple(found["names"]), tuple(map(int, found["shown"])), predictors, factors,
        None if found["residual"] is None else int(found["residual"]), int(found["size"]),
        found["formula"], found["family"], found["method"], int(found["rows"]), int(found["df"]),
        found.get("what", "responses"),
    )  # fmt: skip
