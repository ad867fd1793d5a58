"""`python -m bench.gee [--big] [--corr NAME] [--statsmodels PYTHON]`: GEE on many small clusters.

Logistic regression with 10 coefficients on 100,000 (`--big`: a million) clusters of five rows, in
one process a program: glmmjax, geepack, and statsmodels where this Python, or the one named, has
it. A table of seconds, ratios, and the largest difference of a coefficient goes to stdout. "memory"
is the growth of the process's peak over what it held before the first fit (the data), in units of
X, the n x 10 matrix in float64.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .facts import facts
from .peers import find_r
from .timing import ROOT, process

SIZE, COLUMNS = 5, 9
FORMULA = "y ~ " + " + ".join(f"x{j}" for j in range(COLUMNS))
R_CODE = """
a <- commandArgs(TRUE); n <- as.integer(a[2])
v <- readBin(a[1], "double", n * 11); dim(v) <- c(n, 11)
d <- as.data.frame(v); names(d) <- c("y", "g", paste0("x", 0:8)); rm(v)
s <- system.time(f <- geepack::geeglm(as.formula(a[3]), data = d, id = g, family = binomial,
  corstr = a[4], control = geepack::geese.control(epsilon = 1e-8)))
cat(s[["elapsed"]], format(coef(f), digits = 17), "\\n")
"""


def main() -> None:
    options = _options()
    if options.run:
        runner = {"glmmjax": _glmmjax, "statsmodels": _statsmodels}[options.run]
        print(json.dumps(runner(_read(Path(options.data)), options.corr)))
        return
    clusters = 1_000_000 if options.big else 100_000
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        path = Path(folder) / "data.bin"
        _simulate(clusters).T.tofile(path)
        results = _measure(path, clusters * SIZE, options)
    _print(results, clusters, options.corr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gee", description=__doc__)
    parser.add_argument("--big", action="store_true", help="a million clusters")
    parser.add_argument("--corr", default="exchangeable", choices=("independence", "exchangeable"))
    parser.add_argument("--statsmodels", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--only", nargs="+", default=["glmmjax", "geepack", "statsmodels"])
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    return parser.parse_args()


def _simulate(clusters: int) -> np.ndarray:
    """Columns y, g, x0 .. x8; a random intercept makes rows of a cluster alike."""
    rng = np.random.default_rng(20)
    g = np.repeat(np.arange(clusters), SIZE)
    x = rng.standard_normal((len(g), COLUMNS))
    eta = -0.5 + x @ np.linspace(-0.3, 0.3, COLUMNS) + 0.8 * rng.standard_normal(clusters)[g]
    y = rng.random(len(g)) < 1 / (1 + np.exp(-eta))
    return np.column_stack([y, g, x])


def _read(path: Path) -> dict[str, np.ndarray]:
    values = np.fromfile(path).reshape(COLUMNS + 2, -1)
    names = ("y", "g", *(f"x{j}" for j in range(COLUMNS)))
    columns = {name: v.copy() for name, v in zip(names, values, strict=True)}
    return columns | {"g": columns["g"].astype(int)}


def _measure(path: Path, n: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for name, interpreter in (("glmmjax", sys.executable), ("statsmodels", options.statsmodels)):
        if name in options.only:
            print(f"{name} ...", file=sys.stderr)
            command = [interpreter, "-m", "bench.gee", "--run", name, "--data", str(path)]
            results[name] = process([*command, "--corr", options.corr]).answer()
    r = find_r() if "geepack" in options.only else None
    if r is not None:
        print("geepack ...", file=sys.stderr)
        done = r.script("-e", R_CODE, str(path), str(n), FORMULA, options.corr)
        numbers = [float(x) for x in done.out.split()] if not done.error else []
        found = {"seconds": numbers[:1], "params": numbers[1:]}
        results["geepack"] = {"error": done.error} if done.error else found
    return results


def _glmmjax(data: dict[str, np.ndarray], corr: str) -> dict[str, Any]:
    import resource
    import time

    import glmmjax as gj

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    before, seconds = peak(), []
    for _ in range(4):
        began = time.perf_counter()
        fit = gj.gee(FORMULA, data, groups="g", family="binomial", corr=corr)
        errors = fit.bse
        seconds.append(time.perf_counter() - began)
        params, parts = fit.params, fit.seconds
        del fit
    grown = (peak() - before) / (len(data["y"]) * (COLUMNS + 1) * 8)
    return {
        "seconds": seconds, "params": params.tolist(), "se": errors.tolist(), "memory": grown,
        "parts": parts,
    }  # fmt: skip


def _statsmodels(data: dict[str, np.ndarray], corr: str) -> dict[str, Any]:
    import time

    import pandas as pd
    import statsmodels.api as sm  # pyright: ignore[reportMissingImports]

    frame, began = pd.DataFrame(data), time.perf_counter()
    structure = {
        "exchangeable": sm.cov_struct.Exchangeable, "independence": sm.cov_struct.Independence
    }[corr]()  # fmt: skip
    model = sm.GEE.from_formula(
        FORMULA, "g", frame, family=sm.families.Binomial(), cov_struct=structure
    )
    fit = model.fit()
    return {"params": fit.params.tolist(), "seconds": [time.perf_counter() - began]}


def _print(results: dict[str, dict[str, Any]], clusters: int, corr: str) -> None:
    print(f"# GEE: {clusters:,} clusters of {SIZE}, {COLUMNS + 1} coefficients, logit, {corr}\n")
    for name, value in facts(None).items():
        if name in ("processor", "cores", "load before the run", "glmmjax", "jax"):
            print(f"* {name}: {value}")
    ours = results.get("glmmjax", {})
    warm = min(ours.get("seconds", [np.nan])[1:], default=np.nan)
    print("\n| program | first | warm | times ours | largest difference | memory, in X |")
    print("|---|---|---|---|---|---|")
    for name, found in results.items():
        if "error" in found:
            print(f"| {name} | {found['error']} | | | | |")
            continue
        best = min(found["seconds"][1:], default=found["seconds"][0])
        gap = np.max(np.abs(np.subtract(found["params"], ours.get("params", np.nan))))
        memory = f"{found['memory']:.2f}" if "memory" in found else ""
        first = found["seconds"][0]
        print(
            f"| {name} | {first:.2f} s | {best:.2f} s | {best / warm:.1f} | {gap:.1e} | {memory} |"
        )
    if "parts" in ours:
        print("\nLast warm fit:", ", ".join(f"{k} {v:.2f} s" for k, v in ours["parts"].items()))


if __name__ == "__main__":
    assert ROOT.exists()
    main()
