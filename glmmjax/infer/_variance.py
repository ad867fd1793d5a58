"""What must hold before a search that a variance function of the mean enters."""

import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..design import Design
from ..families import Gaussian
from ..model import Model, Params


def check_means(design: Design, model: Model, at: Params) -> None:
    """Raise `DataError` for a row whose mean is exactly 0 where a power of it is the sd.

    Such a mean is 0 whatever the parameters (a concentration at time 0), and no starting value
    mends it. Random effects are left out. Call inside `double_precision`.
    """
    family, k = model.family, model.mean_predictors
    assert isinstance(family, Gaussian)
    phi = tuple(
        jnp.asarray(p.offset + p.X @ np.asarray(at.beta)[model.column_slice(j)])
        for j, p in enumerate(design.predictors[:k])
    )
    eta = phi[0]
    if model.curve is not None:
        eta = model.curve(phi, tuple(map(jnp.asarray, design.covariates)))
    zero = (np.asarray(family.link.inverse(eta)) == 0) & (design.weight > 0)
    if zero.any():
        raise DataError(
            f"the mean of row {design.rows[zero][0]} is 0 ({zero.sum()} row(s) in all), where "
            "variance='power' leaves no variance: use variance='const_power', which adds a "
            "constant to the sd"
        )
