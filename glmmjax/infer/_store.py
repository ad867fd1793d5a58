"""A fit in a file: one .npz of plain arrays, and a JSON header for everything that is not a number.

A file may come from anywhere, so reading it runs nothing: no pickle; every array's name, kind
and size is checked before it is read; formulas are parsed again by the safe grammar; families,
links and curves are found by name, and a curve's expression is checked node by node. What is read
is then checked against the rest (shapes, ranges of codes), because an index out of range would be
clamped silently later. Whatever does not fit raises DataError.
"""

import os
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .. import families
from .._errors import DataError, NotSupportedError
from ..design._buckets import pack
from ..estimators import Estimate, Space
from ..integrate import Point
from ..model import Data, Model, Params, dimension
from ._archive import read_archive, write_archive
from ._curve_file import curve_from_json, curve_to_json
from ._methods import estimator_for, method_from_json, method_to_json
from ._prior_file import priors_to_json, read_priors
from ._prior_names import lone_dispersion
from ._rebuild import check_design, check_formulas, check_shape, design_arrays, rebuild_design

if TYPE_CHECKING:
    from ._fit import Fit, Settings

SCHEMA, VERSION = "glmmjax fit", 5
BATCH = "glmmjax batch"
SETTINGS = ("formula", "weights_kind", "ziformula", "dispformula")
SCALARS = ("loglik", "converged", "status", "gradient", "min_eigenvalue", "result",
           "evaluations", "iterations", "loglik_se", "loglik_note")  # fmt: skip
FINITE = ("df", "scale", "rho", "rho_shortest")
DETAIL = "detail."  # before the name of an array that one estimator alone has


def save(fit: "Fit", path: str | os.PathLike[str]) -> None:
    """Write the fit; `.npz` is added to a name that lacks it.

    Raises NotSupportedError for a family, link, curve or prior which is not one of the package's
    own: a file cannot hold its code.
    """
    named = fit.settings.priors
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "family": family_to_json(fit.family),
        "curve": curve_to_json(fit.design.curve),
        "settings": {name: getattr(fit.settings, name) for name in SETTINGS},
        "method": method_to_json(fit.settings.how),
        "priors": None if named is None else priors_to_json(named),
        "options": {k: v for k, v in fit.settings.options.items() if _plain(v)},
        "design": {
            "recipe": fit.design.recipe.to_json(),
            "notes": list(fit.design.notes),
            "response_name": fit.design.response_name,
            "correlation": None if fit.design.series is None else fit.design.series.text,
        },
        "estimate": {name: getattr(fit.estimate, name) for name in SCALARS},
        "seconds": fit.seconds,
    }
    write_archive(path, header, {**design_arrays(fit.design), **_estimate_arrays(fit.estimate)})


def load(path: str | os.PathLike[str]) -> Any:
    """Read a fit that `Fit.save` wrote, or a posterior; it can do what the original could.

    Raises DataError for a file that is not such a fit, is damaged, or holds anything unexpected.
    """
    from . import _posterior_store

    if _posterior_store.is_posterior(path):
        return _posterior_store.load(path)
    header, arrays = read_archive(path)
    try:
        if header.get("schema") == BATCH:
            from ..lanes._store import load as load_batch

            return load_batch(header, arrays)
        return _rebuild(header, arrays)
    except (DataError, NotSupportedError) as error:
        raise DataError(f"{os.fspath(path)}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        raise DataError(f"{os.fspath(path)} is no usable glmmjax fit: {error!r}") from None


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


# ---- family ---------------------------------------------------------------------------------


def family_to_json(family: families.AbstractFamily) -> dict[str, Any]:
    """Name, link and zero inflation. Raises NotSupportedError if names do not lead back to it."""
    inflated = isinstance(family, families.ZeroInflated)
    base = family.base if inflated else family
    found: dict[str, Any] = {
        "name": base.name, "link": base.link.name, "zero_inflated": inflated
    }  # fmt: skip
    if (g := getattr(base, "variance_function", None)) is not None:
        found["variance"] = {"name": g.name, "power": g.power}
    try:
        known = family_from_json(found) == family
    except DataError:
        known = False
    if not known:
        raise NotSupportedError(
            f"the family {base!r} is not one of glmmjax's own, and a file cannot hold its code: "
            "save the data and the formula instead, and fit again"
        )
    return found


def family_from_json(found: dict[str, Any]) -> families.AbstractFamily:
    """The family of that name and link. Raises DataError for unknown ones."""
    base = families.get(str(found["name"]), str(found["link"]))
    if found.get("variance") is not None:
        g = families.get_variance(str(found["variance"]["name"]))
        base = families.with_variance(base, type(g)(power=found["variance"]["power"]))  # pyright: ignore
    inflated = found["zero_inflated"] is True
    return families.ZeroInflated(base=base) if inflated else base  # pyright: ignore[reportCallIssue]


# ---- estimate -------------------------------------------------------------------------------


def _estimate_arrays(e: Estimate) -> dict[str, np.ndarray]:
    """Arrays of an estimate, with the coordinates it was searched in (`refit` starts there)."""
    out = {"cov": e.cov, "pinned": e.pinned, "start.T": e.start.T}
    out["start.effect_sd"] = e.start.effect_sd
    for prefix, params in (("", e.params), ("start.", e.start.params)):
        for name in ("beta", "theta", "psi"):
            out[prefix + name] = np.asarray(getattr(params, name), float)
    out["mode.b"] = np.asarray(e.mode.b, float)
    out |= {DETAIL + name: np.asarray(value) for name, value in e.details.items()}
    for k, u in enumerate(e.mode.u):
        out[f"mode.u.{k}"] = np.asarray(u, float)
    return out


def _read_estimate(
    header: dict[str, Any], arrays: dict[str, np.ndarray], model: Model, data: Data
) -> Estimate:
    """The estimate; the start is without a mode, which a search finds again."""
    from ..estimators._coordinates import Start

    scalars = {name: header["estimate"][name] for name in SCALARS}
    P, T = sum(model.columns), model.num_theta
    for prefix in ("", "start."):
        check_shape(arrays, prefix + "beta", (P,))
        check_shape(arrays, prefix + "theta", (T,))
        check_shape(arrays, prefix + "psi", (0,))
    for name, shape in (("cov", (P + T, P + T)), ("start.T", (P + T, P + T))):
        check_shape(arrays, name, shape, finite=name != "cov")
    check_shape(arrays, "pinned", (P + T,), np.bool_)
    check_shape(arrays, "start.effect_sd", (T,))
    u = tuple(
        jnp.asarray(check_shape(arrays, f"mode.u.{k}", (len(b.weight), dimension(model, b.sizes))))
        for k, b in enumerate(data.buckets)
    )
    if arrays["mode.b"].shape not in ((0,), (model.columns[0],)):
        raise DataError("'mode.b' has a wrong shape")
    params, first = (
        Params(*(arrays[prefix + name] for name in ("beta", "theta", "psi")))
        for prefix in ("", "start.")
    )
    return Estimate(
        params=params, cov=arrays["cov"], pinned=arrays["pinned"],
        mode=Point(u, jnp.asarray(arrays["mode.b"])),
        start=Start(first, arrays["start.T"], arrays["start.effect_sd"]),
        loglik=float(scalars["loglik"]), converged=scalars["converged"] is True,
        status=str(scalars["status"]), gradient=float(scalars["gradient"]),
        min_eigenvalue=float(scalars["min_eigenvalue"]), result=int(scalars["result"]),
        evaluations=int(scalars["evaluations"]), iterations=int(scalars["iterations"]),
        loglik_se=float(scalars["loglik_se"]), loglik_note=str(scalars["loglik_note"]),
        details=_read_details(arrays, P + T),
    )  # fmt: skip


def _read_details(arrays: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """What one estimator alone has, each in the shape that tables expect; and no others."""
    found = {k.removeprefix(DETAIL): v for k, v in arrays.items() if k.startswith(DETAIL)}
    steps = len(found["trace"]) if "trace" in found and found["trace"].ndim else 0
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("df", "scale", "scale_se", "rho", "rho_shortest", "ess"), ()),
        "mcse": (size,),
        "trace": (steps, size),
        "trace_loglik": (steps,),
    }
    for name, value in found.items():
        if name in shapes:
            check_shape(arrays, DETAIL + name, shapes[name], finite=name in FINITE)
        elif value.ndim > 1:
            raise DataError(f"{name!r} has a wrong shape")
    for name in ("rho", "rho_shortest"):
        if not abs(float(found.get(name, 0.0))) < 1.0:
            raise DataError(f"{name!r} is no correlation")
    return found


# ---- settings -------------------------------------------------------------------------------


def _read_settings(
    header: dict[str, Any], family: families.AbstractFamily, curved: bool
) -> "Settings":
    """How the fit was asked for, with the estimator that this means."""
    from ._fit import Settings

    found = {name: header["settings"][name] for name in SETTINGS}
    if found["weights_kind"] not in ("frequency", "precision"):
        raise DataError(f"unknown weights_kind {found['weights_kind']!r}")
    for name in ("formula", "ziformula", "dispformula"):
        if not isinstance(found[name], str | None) or (name == "formula" and not found[name]):
            raise DataError(f"{name} is no text")
    how = method_from_json(header["method"])
    correlated = header["design"].get("correlation") is not None
    estimator = estimator_for(
        how, family, found["dispformula"], found["weights_kind"], curved, correlated
    )
    options = {str(k): v for k, v in header["options"].items() if _plain(v)}
    settings = Settings(family=family, how=how, estimator=estimator, options=options, **found)
    check_formulas(settings, curved)
    return settings


# ---- the whole ------------------------------------------------------------------------------


def _rebuild(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Fit":
    """Header and arrays to a Fit: design, packing, estimate, each checked against the others."""
    from ._engine import device_data, with_priors
    from ._fit import Fit, double_precision

    if header.get("schema") != SCHEMA:
        raise DataError("this is no glmmjax fit")
    if header.get("version") != VERSION:
        raise DataError(f"a fit of schema {header.get('version')!r}; this version reads {VERSION}")
    family = family_from_json(header["family"])
    curve = curve_from_json(header["curve"])
    settings = _read_settings(header, family, curve is not None)
    design = rebuild_design(header["design"], arrays, settings, curve)
    check_design(design, family)
    with double_precision():
        model, data, slots = pack(design, family)
        data = device_data(data)
        estimate = _read_estimate(header, arrays, model, data)
    if (rows := header["priors"]) is not None:
        space = Space(model, lone_dispersion(model, design, settings.dispformula))
        settings = with_priors(settings, read_priors(rows, space))
    seconds = {str(k): float(v) for k, v in header["seconds"].items()}
    return Fit(settings, design, model, slots, estimate, data, seconds)
