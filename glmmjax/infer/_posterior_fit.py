"""`PosteriorFit`: draws from a posterior and everything that can be asked of them."""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import NotSupportedError
from ..design import Design
from ..design._buckets import Slots
from ..estimators import Space
from ..families import AbstractFamily
from ..model import Data, Model
from ._bayes import BayesSettings
from ._fit import whole_seed
from ._posterior_draws import Described, describe
from ._prior_names import NamedPriors

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


RESAMPLED = "draws were chosen again by their importance ratios"


@dataclass(frozen=True, eq=False)
class PosteriorFit:
    """Draws from the posterior of a mixed model.

    Built by `bayes`; not by hand. `tree` is the whole xarray DataTree (groups posterior,
    sample_stats, unconstrained, observed_data); `posterior` its group of that name. `notes` say
    what did not go as asked for.
    """

    settings: BayesSettings
    design: Design
    space: Space
    slots: Slots
    data: Data = field(repr=False)
    priors: NamedPriors
    tree: Any = field(repr=False)  # xarray.DataTree
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict, repr=False)

    # ---- what was sampled ----------------------------------------------------------------
    @property
    def posterior(self) -> Any:
        """Named draws: b, dispersion, sd_<group>, cor_<group>, r_<group> (`_posterior_draws`)."""
        return self.tree["posterior"]

    @property
    def sample_stats(self) -> Any:
        """lp; of chains energy, diverging, n_steps, acceptance_rate, step_size; [log_weight]."""
        return self.tree["sample_stats"]

    @property
    def model(self) -> Model:
        return self.space.model

    @property
    def family(self) -> AbstractFamily:
        return self.settings.family

    @property
    def shape(self) -> tuple[int, int]:
        """(chains, draws of each)."""
        return self.sample_stats["lp"].shape

    @property
    def draws(self) -> int:
        """Draws of all chains together."""
        return self.shape[0] * self.shape[1]

    @property
    def nobs(self) -> int:
        """Rows used."""
        return len(self.design.weight)

    @property
    def ngroups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {t.group: len(t.levels) for t in self.design.terms}

    @cached_property
    def described(self) -> Described:
        """Coefficients and factors of all draws, chain after chain."""
        q = self.tree["unconstrained"]["q"].values
        return describe(self.space, q.reshape(self.draws, -1))

    # ---- tables (infer/_posterior_tables.py) ---------------------------------------------
    @cached_property
    def table(self) -> "pd.DataFrame":
        """mean, sd, q5, q50, q95, mcse_mean, ess_bulk, ess_tail, rhat of every parameter.

        The last four are NaN for an approximation: they would say nothing about the posterior.
        """
        found = _tables.quantities(self)
        return _tables.table(found.draws, found.names, self.is_approximate)

    @property
    def is_approximate(self) -> bool:
        """Are these draws of an approximation, and not of the posterior?"""
        return self.settings.method.is_approximate

    @property
    def trace(self) -> "pd.DataFrame | None":
        """How the fit of an approximation went, a row a step; None for samplers.

        SVI: elbo, its estimate at each step, and rate, the step size. Pathfinder: path, log_prob
        and elbo of each point of each path.
        """
        if "trace" not in self.tree.children:
            return None
        return self.tree["trace"].to_dataset().to_dataframe()

    @property
    def params(self) -> "pd.Series":
        """Posterior means of the coefficients."""
        import pandas as pd

        names = [str(v) for v in self.posterior["coef"].values]
        return pd.Series(self.posterior["b"].values.mean((0, 1)), index=names, name="mean")

    @property
    def varcorr(self) -> "pd.DataFrame":
        """Posterior of standard deviations, correlations and dispersion."""
        return _tables.varcorr(self)

    def ranef(self) -> "pd.DataFrame":
        """Posterior of the random effects, a row for each level and effect."""
        return _tables.ranef(self)

    def hypothesis(self, text: str) -> "pd.Series":
        """Posterior probability of a statement such as "x > 0"."""
        return _tables.hypothesis(self, text)

    def summary(self) -> "_summary.Summary":
        """The long report, with the priors; prints as text, shows as HTML in notebooks."""
        return _summary.summary(self)

    def __repr__(self) -> str:
        return _summary.short(self)

    def _repr_html_(self) -> str:
        return _summary.summary(self)._repr_html_()

    # ---- rows (infer/_posterior_rows.py) -------------------------------------------------
    def predict(
        self,
        newdata: Any = None,
        *,
        effects: str = "conditional",
        kind: str = "response",
        new_levels: str = "error",
        interval: float | None = None,
        draws: bool = False,
        seed: int = 0,
    ) -> Any:
        """Posterior means of the rows' means, or their draws."""
        return _rows.predict(self, newdata, effects, kind, new_levels, interval, draws, seed)

    def posterior_predictive(
        self,
        newdata: Any = None,
        *,
        effects: str = "conditional",
        new_levels: str = "sample",
        seed: int = 0,
    ) -> np.ndarray:
        """New responses, (chains * draws, n)."""
        return _rows.posterior_predictive(self, newdata, effects, new_levels, seed)

    def prior_predictive(self, n: int = 500, seed: int = 0) -> np.ndarray:
        """Responses under parameters drawn from the priors, (n, rows)."""
        return _rows.prior_predictive(self, n, seed)

    # ---- criticism (infer/_posterior_check.py) -------------------------------------------
    @cached_property
    def log_likelihood(self) -> np.ndarray:
        """Log density of every row under every draw, (chains, draws, n)."""
        return _rows.log_likelihood(self)

    def loo(self) -> "_check.Expected":
        """Leave-one-out expected log predictive density by PSIS.

        Draws of an approximation count as draws of the posterior: `resample()` them first.
        """
        return _check.loo(self)

    def waic(self) -> "_check.Expected":
        """Expected log predictive density by WAIC; of an approximation as `loo`."""
        return _check.waic(self)

    @cached_property
    def diagnostics(self) -> "_check.PosteriorDiagnostics":
        """Divergences, R-hat, effective draws, and one `verdict` with advice."""
        return _check.diagnose(self)

    def resample(self, seed: int = 0) -> "PosteriorFit":
        """Draws chosen again by their importance ratios, chain by chain.

        Draws of an approximation carry its error, and so do those on an integrated likelihood
        (`marginal=`); drawing again with probability proportional to the ratios removes it where
        `diagnostics.pareto_k` is small. Draws then repeat, so R-hat and ESS no longer apply.
        """
        if "log_weight" not in self.sample_stats:
            raise NotSupportedError(
                "only draws of an approximation and those of bayes(marginal=...) have importance "
                "ratios, and only once"
            )
        rng = np.random.default_rng([whole_seed(seed), 4])
        tree = _draws.resample(self.tree, _check.ratio_tail(self), rng)
        return replace(self, tree=tree, notes=(*self.notes, RESAMPLED))

    def to_datatree(self) -> "xr.DataTree":
        """The tree with a group `log_likelihood`, for packages that read such trees."""
        import xarray as xr

        ll = xr.Dataset({"y": (("chain", "draw", "obs"), self.log_likelihood)})
        coords = {**self.sample_stats.coords, "obs": np.asarray(self.design.rows)}
        groups = {name: node.to_dataset() for name, node in self.tree.children.items()}
        return xr.DataTree.from_dict({**groups, "log_likelihood": ll.assign_coords(coords)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to netCDF; `load` reads it back, and any reader of netCDF finds the draws."""
        _store.save(self, path)


from . import _posterior_check as _check  # noqa: E402
from . import _posterior_draws as _draws  # noqa: E402
from . import _posterior_rows as _rows  # noqa: E402
from . import _posterior_store as _store  # noqa: E402
from . import _posterior_summary as _summary  # noqa: E402
from . import _posterior_tables as _tables  # noqa: E402
