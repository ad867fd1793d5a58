"""A posterior in a netCDF file: the tree of draws, and beside it what the model is made of.

Any package that reads netCDF finds the draws by name. `gj.load` also rebuilds the fit: the group
`glmmjax` holds the arrays of the design, and its attribute `header` the call, the recipe and the
priors as JSON. Reading runs nothing of the file: priors, families and links are found by name, and
formulas are parsed again by the safe grammar.
"""

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, GlmmjaxError, NotSupportedError
from ..design import Design
from ..estimators import Space
from ._curve_file import curve_from_json, curve_to_json
from ._explorers import EXPLORERS, resolve_length
from ._fit import double_precision
from ._methods import method_from_json, method_to_json
from ._prior_file import priors_to_json, read_priors
from ._prior_names import lone_dispersion
from ._rebuild import check_design, check_formulas, design_arrays, rebuild_design

if TYPE_CHECKING:
    from ._bayes import BayesSettings
    from ._posterior_fit import PosteriorFit

SCHEMA, VERSION, GROUP = "glmmjax posterior", 2, "glmmjax"
MAGIC = b"\x89HDF\r\n\x1a\n"
PLAIN = ("formula", "ziformula", "dispformula", "whiten", "seed", "weights_kind")


def save(fit: "PosteriorFit", path: str | os.PathLike[str]) -> None:
    """Write by h5netcdf; overwrites a file.

    Raises NotSupportedError where a dependency is missing, or a family, curve or prior is not one
    of the package's own: a file cannot hold its code.
    """
    import xarray as xr

    _require()
    tree = fit.to_datatree()
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    header = {"schema": SCHEMA, "version": VERSION, **_header(fit)}
    arrays = design_arrays(fit.design)
    own = {name: (tuple(f"{name}.{k}" for k in range(v.ndim)), v) for name, v in arrays.items()}
    groups[GROUP] = xr.Dataset(own, attrs={"header": json.dumps(header, default=_number)})
    tree = xr.DataTree.from_dict(groups)
    s = fit.settings
    tree.attrs = {
        "inference_library": "glmmjax", "formula": s.formula, "family": s.family.name,
        "link": s.family.link.name, "method": s.label, "priors": str(fit.priors),
    }  # fmt: skip
    tree.to_netcdf(os.fspath(path), engine="h5netcdf", mode="w")


def _require() -> None:
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NotSupportedError(
            f"files of posteriors need {error.name}: pip install 'glmmjax[bayes]'"
        ) from None


def _number(value: Any) -> Any:
    return value.item()


def _header(fit: "PosteriorFit") -> dict[str, Any]:
    from ._store import family_to_json

    s = fit.settings
    return {
        "family": family_to_json(s.family),
        "curve": curve_to_json(fit.design.curve),
        "settings": {name: getattr(s, name) for name in PLAIN},
        "method": method_to_json(s.method, EXPLORERS),
        "length": dataclasses.asdict(s.length),
        "marginal": None if s.marginal is None else method_to_json(s.marginal),
        "priors": priors_to_json(fit.priors),
        "design": {
            "recipe": fit.design.recipe.to_json(),
            "notes": list(fit.design.notes),
            "response_name": fit.design.response_name,
        },
        "notes": list(fit.notes),
        "seconds": fit.seconds,
    }


# ---- reading --------------------------------------------------------------------------------


def is_posterior(path: str | os.PathLike[str]) -> bool:
    """Does a file begin as a netCDF-4 file does?"""
    if not os.path.isfile(path):
        return False
    from pathlib import Path

    with Path(path).open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def load(path: str | os.PathLike[str]) -> "PosteriorFit":
    """Read what `save` wrote. Raises DataError for another file, or one that is damaged."""
    import xarray as xr

    _require()
    try:
        with xr.open_datatree(os.fspath(path), engine="h5netcdf") as tree:
            return _rebuild(tree.load())
    except GlmmjaxError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError) as error:
        raise DataError(f"{os.fspath(path)} is no usable posterior: {error!r}") from None


def _rebuild(tree: Any) -> "PosteriorFit":
    from ._bayes import pack_for_sampling
    from ._engine import device_data
    from ._posterior_fit import PosteriorFit

    own = tree[GROUP]
    header = json.loads(own.attrs["header"])
    if header.get("schema") != SCHEMA or header.get("version") != VERSION:
        raise DataError("this is no posterior of this version of glmmjax")
    curve = curve_from_json(header["curve"])
    settings = _settings(header, curve is not None)
    arrays = {str(name): np.asarray(v.values) for name, v in own.data_vars.items()}
    design = rebuild_design(header["design"], arrays, settings, curve)  # pyright: ignore
    check_design(design, settings.family)
    with double_precision():
        model, data, slots = pack_for_sampling(design, settings.family)
        data = device_data(data)
    space = Space(model, lone_dispersion(model, design, settings.dispformula))
    named = read_priors(header["priors"], space)
    space = named.space
    names = [n for n in tree.children if n not in (GROUP, "log_likelihood")]
    kept = type(tree).from_dict({n: tree[n].to_dataset() for n in names})
    _check_draws(kept, design, space)
    seconds = {str(k): float(v) for k, v in header["seconds"].items()}
    notes = tuple(map(str, header["notes"]))
    return PosteriorFit(settings, design, space, slots, data, named, kept, notes, seconds)


def _settings(header: dict[str, Any], curved: bool) -> "BayesSettings":
    from ._bayes import BayesSettings, resolve_marginal
    from ._store import family_from_json

    marginal, length = header["marginal"], header["length"]
    method = method_from_json(header["method"], EXPLORERS)
    if method.is_approximate:
        length = {"chains": None, "draws": length["draws"], "warmup": None}
    settings = BayesSettings(
        family=family_from_json(header["family"]),
        method=method,
        length=resolve_length(method, length["chains"], length["draws"], length["warmup"]),
        marginal=resolve_marginal(False if marginal is None else method_from_json(marginal)),
        **{name: header["settings"][name] for name in PLAIN},
    )
    check_formulas(settings, curved)  # pyright: ignore[reportArgumentType]
    return settings


def _check_draws(tree: Any, design: Design, space: Space) -> None:
    """The draws have the shapes that the design says."""
    shape = tree["sample_stats"]["lp"].shape
    wanted: dict[tuple[str, str], tuple[int, ...]] = {("unconstrained", "q"): (space.size,)}
    for term in design.terms:
        name = ("posterior", f"r_{term.group}")
        q = sum(len(t.effects) for t in design.terms if t.group == term.group)
        wanted[name] = (len(term.levels), q)
    for (group, name), tail in wanted.items():
        if tree[group][name].shape != (*shape, *tail):
            raise DataError(f"{name!r} has another shape than the model's")
