"""`python -m bench.bayes [--only NAME] [--bambi PYTHON]`: effective draws a second of posteriors.

The least bulk ESS over coefficients, standard deviations, correlations and dispersion, divided by
seconds: 4 chains of 1,000 draws after 1,000 of warm-up, on all cores. Every program runs in a
process of its own, and its draws are judged by one function here.

- glmmjax: `gj.bayes`. cold is the first call in a process without a compilation cache, warm a
  further call, with formula, search of the mode, and tables.
- bambi: its model compiled and sampled by nutpie; cold is building, compiling and sampling, warm is
  sampling alone. --bambi names a Python that has both.
- rstanarm: `stan_glmer`, whose program is compiled when the package is built; one time stands for
  both.

The priors are Normal(0, 2.5) for coefficients, with an intercept at 0 of scale 5, and
Exponential(1) for the sd of an effect. A correlation has LKJ(2) in two programs, rstanarm's
covariances a prior of its own (decov); the negative binomial's size has Exponential(1).
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .facts import cores, facts
from .peers import R, find_r
from .timing import ROOT, clean_environment, process
from .workloads import WORKLOADS

CASES = {
    "cbpp": "cbpp-laplace",
    "owls": "owls-nbinom2",
    "contraception": "contraception-slope-laplace",
    "verbagg": "verbagg-crossed",
}
CHAINS, DRAWS = 4, 1000
R_CODE = """
a <- commandArgs(TRUE)
suppressMessages(library(rstanarm)); options(mc.cores = as.integer(a[5]))
d <- read.csv(a[1], stringsAsFactors = TRUE)
call <- if (a[3] == "nbinom2") quote(stan_glmer.nb) else quote(stan_glmer)
arguments <- list(as.formula(a[2]), data = quote(d), chains = 4, iter = 2000, seed = 1, refresh = 0,
  prior = normal(0, 2.5), prior_intercept = normal(0, 5), prior_covariance = decov())
if (a[3] == "nbinom2") arguments$prior_aux <- exponential(1) else
  arguments$family <- as.name(a[3])
s <- system.time(f <- eval(as.call(c(call, arguments))))
x <- as.array(f); x <- x[, , !grepl("^b\\\\[", dimnames(x)$parameters), drop = FALSE]
writeBin(c(x), a[4]); cat(s[["elapsed"]], dim(x), sum(rstan::get_num_divergent(f$stanfit)), "\\n")
"""


def main() -> None:
    options = _options()
    if options.run:
        runner = {"glmmjax": _glmmjax, "bambi": _bambi}[options.run]
        print(json.dumps(runner(options.case, _read(options.data), Path(options.draws))))
        return
    found = {case: _measure(case, options) for case in CASES if (options.only or "") in case}
    _print(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.bayes", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="cases whose name contains NAME")
    parser.add_argument("--bambi", default=sys.executable, metavar="PYTHON")
    for hidden in ("--run", "--case", "--data", "--draws"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(case: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each program's seconds, draws judged."""
    results, r = {}, find_r()
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        data = Path(folder) / "data.csv"
        WORKLOADS[CASES[case]].frame().to_csv(data, index=False)
        for name, interpreter in (("glmmjax", sys.executable), ("bambi", options.bambi)):
            print(f"{case}: {name} ...", file=sys.stderr)
            path = Path(folder) / f"{name}.npy"
            arguments = ["--run", name, "--case", case]
            arguments += ["--data", str(data), "--draws", str(path)]
            env = clean_environment() | {"PYTHONPATH": str(ROOT)}
            answer = process([interpreter, "-m", "bench.bayes", *arguments], env).answer()
            results[name] = answer if "error" in answer else answer | _judge(np.load(path))
        if r is not None:
            print(f"{case}: rstanarm ...", file=sys.stderr)
            results["rstanarm"] = _rstanarm(r, case, data)
    return results


def _read(path: str) -> Any:
    import pandas as pd

    frame = pd.read_csv(path)
    numbers = frame.select_dtypes("number").columns
    text = [c for c in frame if c not in numbers or c in ("herd", "period", "district", "id")]
    return frame.astype(dict.fromkeys(text, "category"))


def _judge(draws: np.ndarray) -> dict[str, float]:
    """Least bulk ESS and largest R-hat of (chains, draws, parameters)."""
    from arviz_stats.base import array_stats

    columns = np.moveaxis(draws, -1, 0)
    ess = [float(array_stats.ess(c, chain_axis=0, draw_axis=1, method="bulk")) for c in columns]
    rhat = [float(array_stats.rhat(c, chain_axis=0, draw_axis=1)) for c in columns]
    return {"ess": min(ess), "rhat": max(rhat), "parameters": len(ess)}


def _glmmjax(case: str, frame: Any, path: Path) -> dict[str, Any]:
    import glmmjax as gj

    work = WORKLOADS[CASES[case]]
    pr = gj.priors
    priors = {"b": pr.Normal(0, 2.5), "Intercept": pr.Normal(0, 5), "sd": pr.Exponential(1)}
    if work.family == "nbinom2":
        priors["dispersion"] = pr.Exponential(1)
    seconds, fit = [], None
    for seed in range(3):
        began = time.perf_counter()
        fit = gj.bayes(work.formula, frame, work.family, priors=priors, seed=seed, draws=DRAWS)
        assert len(fit.table)
        seconds.append(time.perf_counter() - began)
    assert fit is not None
    post = fit.posterior
    names = ["b", *[v for v in post.data_vars if str(v).startswith(("sd_", "disp"))]]
    parts = [post[v].values.reshape(CHAINS, DRAWS, -1) for v in names]
    parts += [post[v].values[..., *np.tril_indices(post[v].shape[-1], -1)]
              for v in post.data_vars if str(v).startswith("cor_")]  # fmt: skip
    np.save(path, np.concatenate(parts, -1))
    return {
        "cold": seconds[0], "warm": min(seconds[1:]), "divergences": fit.diagnostics.divergences,
    }  # fmt: skip


def _bambi(case: str, frame: Any, path: Path) -> dict[str, Any]:
    import bambi as bmb  # pyright: ignore[reportMissingImports]
    import nutpie  # pyright: ignore[reportMissingImports]

    work = WORKLOADS[CASES[case]]
    formula = work.formula.replace("cbind(incidence, size - incidence)", "p(incidence, size)")
    family = {"nbinom2": "negativebinomial"}.get(work.family, work.family)
    family = "bernoulli" if family == "binomial" and "p(" not in formula else family
    began = time.perf_counter()
    sd = bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Exponential", lam=1))
    priors: dict[str, Any] = {
        "common": bmb.Prior("Normal", mu=0, sigma=2.5), "group_specific": sd,
        "Intercept": bmb.Prior("Normal", mu=0, sigma=5),
    }  # fmt: skip
    if work.family == "nbinom2":
        priors["alpha"] = bmb.Prior("Exponential", lam=1)
    model = bmb.Model(formula, frame, family=family, priors=priors, center_predictors=False)
    model.build()
    compiled = nutpie.compile_pymc_model(model.backend.model)
    half = time.perf_counter()
    tree = nutpie.sample(
        compiled, draws=DRAWS, tune=1000, chains=CHAINS, cores=cores(), seed=1, progress_bar=False
    )
    done = time.perf_counter()
    post = tree["posterior"]
    groups = tuple(f"{t}" for t in post.data_vars if "|" in str(t) and "_sigma" not in str(t))
    keep = [v for v in post.data_vars if str(v) not in groups and "_offset" not in str(v)]
    keep = [v for v in keep if str(v) not in ("p", "mu")]
    np.save(path, np.concatenate([post[v].values.reshape(CHAINS, DRAWS, -1) for v in keep], -1))
    divergences = int(tree["sample_stats"]["diverging"].values.sum())
    return {"cold": done - began, "warm": done - half, "divergences": divergences}


def _rstanarm(r: R, case: str, data: Path) -> dict[str, Any]:
    work = WORKLOADS[CASES[case]]
    draws = data.with_name("draws.bin")
    arguments = [str(data), work.formula, work.family, str(draws), str(min(cores(), CHAINS))]
    done = r.script("-e", R_CODE, *arguments)
    if done.error:
        return {"error": done.error}
    seconds, *shape, divergences = done.out.split()
    values = np.fromfile(draws).reshape([int(s) for s in shape[::-1]]).T  # draws, chains, ...
    found = _judge(values.swapaxes(0, 1))
    return {"cold": float(seconds), "warm": float(seconds), "divergences": int(divergences)} | found


def _print(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    print("# Posteriors: effective draws a second\n")
    for name, value in facts(None).items():
        if name in ("processor", "cores", "load before the run", "glmmjax", "jax"):
            print(f"* {name}: {value}")
    head = "model | program | cold | warm | least ESS | ESS/s cold | ESS/s warm | R-hat | divergent"
    print(f"\n| {head} |\n|{'---|' * 9}")
    for case, results in found.items():
        for name, v in results.items():
            if "error" in v:
                print(f"| {case} | {name} | {v['error']} |{' |' * 6}")
                continue
            rates = [f"{v['ess'] / v[k]:.0f}" for k in ("cold", "warm")]
            print(f"| {case} | {name} | {v['cold']:.1f} s | {v['warm']:.2f} s | {v['ess']:.0f} | "
                  f"{rates[0]} | {rates[1]} | {v['rhat']:.3f} | {v['divergences']} |")  # fmt: skip


if __name__ == "__main__":
    main()
