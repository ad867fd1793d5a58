"""`python -m bench.devices [--counts 1 2 4 8] [--units N] [--responses K]`: one against several.

A process for each number of devices, which are cut out of this machine's CPU. Two things are
timed: one value and gradient of a logistic model with a random intercept and slope of many units
(Laplace; the median of warm calls), and a batch of logistic models, its first call, which compiles
for every device, and its second, in which a device may still meet a size of call that is new to it.
Forced devices share the cores: where there are fewer cores than devices, the table shows what
cutting costs, not what more hardware gives.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from .facts import facts
from .timing import clean_environment, python, repeat, summary

ROWS = 8


def main() -> None:
    options = _options()
    if options.run:
        print(json.dumps(_measure(options.run, options.units, options.responses)))
        return
    found = {}
    for count in options.counts:
        print(f"bench: {count} devices", file=sys.stderr, flush=True)
        sizes = ("--units", str(options.units), "--responses", str(options.responses))
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
        env = clean_environment() | flags | {"JAX_PLATFORMS": "cpu"}
        found[count] = python("-m", "bench.devices", "--run", str(count), *sizes, env=env).answer()
    _print(found, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.devices", description=__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--units", type=int, default=40_000)
    parser.add_argument("--responses", type=int, default=1024)
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _simulate(units: int, responses: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(units), ROWS), rng.standard_normal(units * ROWS)
    b = rng.standard_normal((2, units, responses))[:, g]
    eta = -0.3 + 0.5 * x[:, None] + b[0] + 0.5 * b[1] * x[:, None]
    y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    return {"y": y[:, 0], "x": x, "g": g}, y


def _measure(count: int, units: int, responses: int) -> dict[str, Any]:
    import glmmjax as gj

    frame, _ = _simulate(units, 1)
    value, seconds = _evaluations(frame, count)
    frame, y = _simulate(50, responses)
    calls, loglik = [], np.zeros(0)
    for _ in range(2):
        began = time.perf_counter()
        fits = gj.batch("y ~ x + (x | g)", frame, responses=y, devices=count, chunk=128)
        calls.append(time.perf_counter() - began)
        loglik = fits.loglik
    return {
        "value": value, "evaluation": summary(seconds), "batch": calls,
        "loglik": float(np.nansum(loglik)),
    }  # fmt: skip


def _evaluations(frame: dict[str, np.ndarray], count: int) -> tuple[float, list[float]]:
    """(log-likelihood, seconds of its value and gradient, modes searched from the origin)."""
    import jax

    import glmmjax as gj

    jax.config.update("jax_enable_x64", True)
    model, data, params = gj.build("y ~ x + (x | g)", frame, "binomial")
    placed = gj.distribute(data, count)
    run = jax.jit(jax.value_and_grad(gj.marginal_loglik)).lower(params, placed, model).compile()
    value, _ = run(params, placed, model)
    return float(value), repeat(lambda: jax.block_until_ready(run(params, placed, model)), 5.0)


def _print(found: dict[int, dict[str, Any]], options: argparse.Namespace) -> None:
    here = facts(None)
    print(f"{options.units:,} units of {ROWS} rows; {options.responses:,} responses of 400 rows.")
    print(f"Devices are cut out of one CPU, which has {here['cores']} real cores, so that more")
    print("devices than that cannot be faster; `difference` is relative, of the log-likelihoods.")
    print("; ".join(f"{k} {here[k]}" for k in ("processor", "load before the run", "jax")) + "\n")
    print("| devices | evaluation (ms) | ratio | batch, first (s) | batch (s) | difference |")
    print("|---:|---:|---:|---:|---:|---:|")
    one = next((v for v in found.values() if "error" not in v), {})
    for count, v in found.items():
        if "error" in v:
            print(f"| {count} | {v['error']} | | | | |")
            continue
        ms, base = (1e3 * r["evaluation"]["median"] for r in (v, one))
        off = max(abs(v[k] / one[k] - 1) for k in ("value", "loglik"))
        first, second = v["batch"]
        print(f"| {count} | {ms:.1f} | {ms / base:.2f} | {first:.1f} | {second:.1f} | {off:.0e} |")


if __name__ == "__main__":
    main()
