"""`BatchFit`: the fits of a batch as tables with one row a response."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, NotSupportedError
from ._chunk import Part
from ._layout import Layout
from ._run import Plan
from ._verdict import FAILED, VERDICTS, advice

if TYPE_CHECKING:
    import pandas as pd

    from ..infer import Fit


@dataclass(frozen=True, eq=False)
class BatchFit:
    """Many fitted mixed models, one for each response or data set; built by `batch`.

    `params`, `bse` and `varcorr` are frames with one row a response, made when first asked for;
    `loglik`, `gradient_norm`, `verdict`, `advice`, `nobs` and `is_singular` have one entry each.
    A response without a maximum that could be found is NaN everywhere, with verdict "failed". A
    coefficient whose column a data set does not determine is NaN there, and `advice` says so.
    """

    layout: Layout
    part: Part = field(repr=False)
    names: tuple[str, ...] | None = field(repr=False)
    single: Callable[[int], "Fit"] | None = field(default=None, repr=False)
    plan: Plan | None = field(default=None, repr=False)  # how to run it again
    seconds: float = 0.0

    def __len__(self) -> int:
        return self.part.size

    @cached_property
    def index(self) -> "pd.Index":
        """Labels of responses or data sets: names where they have some, else 0, 1, ..."""
        import pandas as pd

        return pd.RangeIndex(len(self)) if self.names is None else pd.Index(list(self.names))

    @cached_property
    def params(self) -> "pd.DataFrame":
        """Coefficients; those of other components are prefixed `zi:` and `disp:`."""
        return self._frame(self._shown(self.part.x), self._labels)

    @cached_property
    def bse(self) -> "pd.DataFrame":
        """Standard errors of `params`."""
        return self._frame(self._shown(self.part.se), self._labels)

    @cached_property
    def varcorr(self) -> "pd.DataFrame":
        """Standard deviations `sd:<group>:<effect>`, correlations `cor:<group>:<effect>:<effect>`,
        and `sd:Residual` where there is one (the scale, of PQL).
        """
        return self._frame(self.layout.variances(self.part.x), self.layout.columns())

    @property
    def loglik(self) -> Float[np.ndarray, "K"]:
        """Maximised (restricted) log-likelihoods, every constant kept; NaN of PQL."""
        return self.part.loglik

    @property
    def gradient_norm(self) -> Float[np.ndarray, "K"]:
        """Distances to the maximum, in standard errors."""
        return self.part.gradient

    @cached_property
    def verdict(self) -> np.ndarray:
        """ok, singular, suspect or failed."""
        return np.array(VERDICTS)[self.part.verdict]

    @cached_property
    def advice(self) -> list[str]:
        """One sentence on each response."""
        return [advice(self.layout, self.part, k) for k in range(len(self))]

    @property
    def nobs(self) -> Int[np.ndarray, "K"]:
        """Rows used by each response."""
        return self.part.nobs

    @property
    def converged(self) -> np.ndarray:
        """Was a maximum found?"""
        return np.not_equal(self.part.verdict, FAILED)

    @property
    def is_singular(self) -> np.ndarray:
        """Is a variance zero, or a covariance matrix rank deficient?"""
        return np.any(self.part.pinned, axis=1)

    @property
    def df_model(self) -> int:
        """Estimated parameters of the whole model."""
        return self.layout.df

    @property
    def aic(self) -> Float[np.ndarray, "K"]:
        """-2 loglik + 2 df, without what a data set does not determine: it has no error."""
        return -2 * self.loglik + 2 * (np.isfinite(self.part.se) | self.part.pinned).sum(1)

    @property
    def zvalues(self) -> "pd.DataFrame":
        """params / bse."""
        return self.params / self.bse

    def __getitem__(self, which: int | str) -> "Fit":
        """The single fit of one response, by position or by name."""
        k = self._position(which)
        if self.single is None:
            raise NotSupportedError(
                "this batch does not hold its data (they came from an iterator, or it was read "
                "from a file): fit that one with gj.glmm"
            )
        return self.single(k)

    def _position(self, which: int | str) -> int:
        if isinstance(which, str):
            if self.names is None or which not in self.names:
                raise DataError(f"none of the {self.layout.what} is called {which!r}")
            return self.names.index(which)
        if isinstance(which, bool) or not isinstance(which, int | np.integer):
            raise DataError(f"[k] takes a position or a name, not {which!r}")
        if not -len(self) <= which < len(self):
            raise DataError(f"there are {len(self)} {self.layout.what}, and no number {which}")
        return int(which) % len(self)

    def _shown(self, values: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "K s"]:
        """Of the coefficients; NaN where a lane's rows leave them open."""
        shown = list(self.layout.shown)
        return np.where(self.part.unclear[:, shown], np.nan, values[:, shown])

    @property
    def _labels(self) -> list[str]:
        return [self.layout.names[i] for i in self.layout.shown]

    def _frame(self, values: np.ndarray, columns: list[str]) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame(values, index=self.index, columns=columns)

    def counts(self) -> dict[str, int]:
        """How many responses got each verdict."""
        return {v: int((self.part.verdict == k).sum()) for k, v in enumerate(VERDICTS)}

    def summary(self) -> str:
        """Verdicts, and quartiles of every estimate over the responses."""
        rate = f", {len(self) / self.seconds:,.0f} a second" if self.seconds else ""
        lines = [
            f"{len(self):,} {self.layout.what}: {self.layout.formula}",
            f"family {self.layout.family}, {self.layout.method}, {self.layout.rows} rows",
            ", ".join(f"{v} {n:,}" for v, n in self.counts().items()) + rate,
            "",
        ]
        table = self.params.join(self.varcorr).quantile([0.0, 0.25, 0.5, 0.75, 1.0]).T
        table.columns = ["min", "25%", "median", "75%", "max"]
        return "\n".join([*lines, table.to_string(float_format=lambda v: f"{v:.4g}")])

    def __repr__(self) -> str:
        counts = ", ".join(f"{v} {n}" for v, n in self.counts().items() if n)
        return f"BatchFit of {len(self)} {self.layout.what} ({self.layout.formula}): {counts}"

    def test(
        self, coefficient: str, kind: str = "wald", adjust: str | None = "bh"
    ) -> "pd.DataFrame":
        """Is one coefficient zero? One row a response: `statistic`, `p_value`, `q_value`.

        kind: "wald", (estimate / standard error)^2, from what is known already; "lrt", twice the
        rise of the log-likelihood over fits without the column; "score", g' I^-1 g of the whole
        model at those fits (not for exact Gaussian ones). All are chi-squared with one degree of
        freedom. adjust: "bh", q-values of Benjamini and Hochberg (1995) over the responses that
        have a p-value, or None. NaN where a fit failed.

        Raises `DataError` for an unknown coefficient, kind or adjustment, and `NotSupportedError`
        where fits cannot be repeated, or their likelihoods not be compared (REML).
        """
        from ._tests import test

        return test(self, coefficient, kind, adjust)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write estimates and verdicts to one .npz file; `gj.load` reads it."""
        from ._store import save

        save(self, path)
