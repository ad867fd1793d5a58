"""One function a command: read, call the façade, write, and return the exit code.

What needs no JAX (the formula, the data, the place for the result) is checked first, so that a
mistake is reported at once and not after an import.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

from .._errors import DataError, GlmmjaxError
from ._inputs import new_columns, read_model
from ._progress import Progress, Stopwatch
from ._write import records, write_csv, write_frame, write_json


def fit(args: argparse.Namespace) -> int:
    """Fit, write the result to stdout, and keep it where --out says."""
    from ._main import NOT_CONVERGED, OK, say

    clock = Stopwatch()
    _check_place(args.out)
    arguments = read_model(args)
    clock.lap("read")
    start_jax()
    from ..api import glmm

    if args.timings:
        clock.listen()
    clock.lap("import")
    options = {"max_evaluations": args.max_evaluations} if args.max_evaluations else None
    with Progress("compiling and fitting"):
        found = glmm(**arguments, progress=args.progress, options=options)
    clock.lap("fit")
    if args.out:
        found.save(args.out)
        say(f"wrote {args.out}")
    _write_fit(found, args.format)
    clock.lap("write")
    if args.timings:
        import json

        stages = {**clock.report(), "formula": round(found.seconds.get("design", 0.0), 4)}
        print(json.dumps({"seconds": stages}), file=sys.stderr)
    return OK if found.converged else NOT_CONVERGED


def predict(args: argparse.Namespace) -> int:
    """Predictions, one row for each row of the new data (or of the rows used)."""
    with Progress("predicting"):
        found = _load(args.fit)
        new = None if args.data is None else new_columns(found, args.data, args.max_rows)
        result = found.predict(
            new, effects=args.effects, kind=args.kind, new_levels=args.new_levels,
            interval=args.interval,
        )  # fmt: skip
    if args.interval is None:
        columns = {"predict": result.tolist()}
    else:
        columns = {name: result[name].tolist() for name in result.columns}
    rows = found.design.rows.tolist() if new is None else list(range(len(columns["predict"])))
    return _write_columns({"row": rows, **columns}, args.format)


def simulate(args: argparse.Namespace) -> int:
    """New responses: one row for each row used, one column a draw."""
    with Progress("simulating"):
        found = _load(args.fit)
        draws = found.simulate(args.n, seed=args.seed)
    if found.design.recipe.support in ("binomial", "count"):
        draws = draws.astype(int)
    columns = {f"sim_{j + 1}": draws[:, j].tolist() for j in range(args.n)}
    return _write_columns({"row": found.design.rows.tolist(), **columns}, args.format)


def check(args: argparse.Namespace) -> int:
    """What would be fitted."""
    from ._check import describe, report

    found = describe(args, read_model(args))
    if args.format == "json":
        write_json(found)
    else:
        print(report(found))
    return 0


def demo(args: argparse.Namespace) -> int:
    """Real data by every method."""
    start_jax()
    from ._demo import run

    return run()


def version(args: argparse.Namespace) -> int:
    """Versions of what takes part, and the device that would compute."""
    import jax

    from .. import __version__

    device = _devices()[0]
    print(f"glmmjax {__version__}")
    print(f"jax {jax.__version__}")
    print(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    print(f"device {device.platform}: {device.device_kind}")
    return 0


def start_jax() -> None:
    """Find the device (a RuntimeError where there is none), and keep compiled programs.

    Where the folder for them is not safe, say so and do without.
    """
    from .._cache import use_cache
    from ._main import say

    _devices()
    try:
        use_cache()
    except GlmmjaxError as error:
        say(f"{error}; compiling afresh", "warning: ")


def _devices() -> list[Any]:
    """JAX's devices. RuntimeError where there are none, however JAX says so: asked for a platform
    whose plugin is not installed, it fails at an assertion.
    """
    import jax

    try:
        return jax.devices()
    except AssertionError:
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise RuntimeError(f"no backend could be started for JAX_PLATFORMS={asked}") from None


def _load(path: str) -> Any:
    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    start_jax()
    from ..infer._store import load

    return load(path)


def _check_place(out: str | None) -> None:
    """Better to know before an hour of fitting that the result has nowhere to go."""
    if out is None:
        return
    if not out.endswith(".npz"):
        raise DataError(f"--out must end in .npz, not {out!r}")
    folder = Path(out).resolve().parent
    if not folder.is_dir():
        raise DataError(f"--out: there is no folder {folder}")


def _write_fit(found: Any, kind: str) -> None:
    if kind == "text":
        print(found.summary())
    elif kind == "csv":
        write_frame(found.tidy())
    else:
        verdict = found.diagnostics
        write_json({
            "formula": found.settings.formula,
            "ziformula": found.settings.ziformula,
            "dispformula": found.settings.dispformula,
            **records(found.glance())[0],
            "nodes": found.settings.nodes,
            "ngroups": found.ngroups,
            "dispersion": found.dispersion,
            "parameters": records(found.tidy()),
            "varcorr": records(found.varcorr),
            "advice": verdict.advice,
            "notes": list(found.design.notes),
            "seconds": found.seconds,
        })  # fmt: skip


def _write_columns(columns: dict[str, list[Any]], kind: str) -> int:
    rows = zip(*columns.values(), strict=True)
    if kind == "csv":
        write_csv(list(columns), rows)
    else:
        write_json([dict(zip(columns, row, strict=True)) for row in rows])
    return 0
