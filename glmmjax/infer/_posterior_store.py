"""A posterior in a netCDF file: the tree, with what was asked for as attributes of its root."""

import json
import os
from typing import TYPE_CHECKING

from .._errors import NotSupportedError

if TYPE_CHECKING:
    from ._posterior_fit import PosteriorFit


def save(fit: "PosteriorFit", path: str | os.PathLike[str]) -> None:
    """Write the tree by h5netcdf; `xarray.open_datatree` reads it. Overwrites a file.

    The file is the draws and their names. It cannot predict: keep the data and the call for that.
    Raises NotSupportedError where a dependency is missing.
    """
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NotSupportedError(
            f"saving a posterior needs {error.name}: pip install 'glmmjax[bayes]'"
        ) from None
    s = fit.settings
    priors = dict(zip(fit.priors.names, map(repr, fit.priors.priors), strict=True))
    attributes = {
        "inference_library": "glmmjax",
        "formula": s.formula, "family": s.family.name, "link": s.family.link.name,
        "method": s.label, "seed": s.seed, "warmup": s.nuts.warmup,
        "priors": json.dumps(priors),
    }  # fmt: skip
    tree = fit.to_datatree()
    tree.attrs = attributes
    tree.to_netcdf(os.fspath(path), engine="h5netcdf", mode="w")
