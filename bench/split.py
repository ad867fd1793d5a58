"""Where the time of one fit goes: `python -m bench.split NAME` in a process without any cache.

    import    the modules that a fit needs, JAX among them
    formula   formula and columns to design matrices (NumPy)
    pack      design to padded units, on the device
    start     starting values (a fixed-effects fit)
    trace     Python to jaxpr: value and by-hand gradient of the log-likelihood
    lower     jaxpr to StableHLO
    compile   StableHLO to machine code
    run       one call of the result, median of several
    search    the rest of a fit: outer iterations, standard errors

The last is measured on a second, warm fit. `hlo` counts the lines of the program before and after
XLA's optimisation.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

NAMES = ("cbpp-laplace", "owls-nbinom2-zi")  # one predictor, and three
STEPS = ("import", "formula", "pack", "start", "trace", "lower", "compile", "run", "search")


def main(name: str) -> dict[str, Any]:
    seconds: dict[str, float] = {}

    def clock(step: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = call()
        seconds[step] = time.perf_counter() - began
        return value

    def load() -> Any:
        import formulaic  # noqa: F401
        import pandas  # noqa: F401

        import glmmjax.api
        import glmmjax.infer._engine

        return glmmjax

    gj = clock("import", load)
    from glmmjax import api
    from glmmjax.design import make_design
    from glmmjax.design._buckets import pack
    from glmmjax.estimators import find_start, stack
    from glmmjax.estimators._likelihood import MarginalObjective
    from glmmjax.infer._engine import device_data
    from glmmjax.infer._fit import double_precision
    from glmmjax.infer._methods import resolve_method

    from .timing import repeat, summary
    from .workloads import WORKLOADS

    warnings.simplefilter("ignore")
    workload = WORKLOADS[name]
    frame = workload.frame()
    options = workload.options()
    family = api._family(workload.family, None, workload.ziformula)
    design = clock(
        "formula",
        lambda: make_design(workload.formula, frame, family, ziformula=workload.ziformula),
    )
    with double_precision():

        def packed() -> tuple[Any, Any]:
            model, arrays, _ = pack(design, family)
            return model, device_data(arrays)

        model, data = clock("pack", packed)
        x = stack(clock("start", lambda: find_start(model, data)).params)
        integrator = resolve_method(options.get("method", "laplace"), options.get("nodes"), False)
        objective = MarginalObjective(model, data, integrator)
        objective.begin(x)
        mode = objective.mode
        assert mode is not None
        inputs = (x[None].repeat(objective.points, 0), objective.leaves, mode.u, mode.b, None)
        traced = clock("trace", lambda: objective.run.trace(*inputs))
        lowered = clock("lower", traced.lower)
        compiled = clock("compile", lowered.compile)
        run = summary(repeat(lambda: compiled(*inputs)[0].block_until_ready(), 1.0))
    seconds["run"] = run["median"]
    gj.glmm(workload.formula, frame, workload.family, **options)
    fit = gj.glmm(workload.formula, frame, workload.family, **options)
    seconds["search"] = fit.seconds["search"]
    hlo = {"stablehlo": _lines(lowered.as_text()), "optimised": _lines(compiled.as_text())}
    return {"seconds": seconds, "hlo": hlo}


def _lines(text: str | None) -> int:
    return len((text or "").splitlines())


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
