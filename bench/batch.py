"""`python -m bench.batch [--big] [--r]`: many responses on one design, and one after another.

Four workloads are simulated: logistic with correlated intercepts and slopes (50 groups of 8 rows),
the same by PQL, Poisson with intercepts (100 groups of 5) and a linear mixed model by REML (50
groups of 20).
Standard errors and verdicts are included, and responses are all different. `wall` is elapsed time,
`CPU` what the process used on all cores: on a machine that does other things as well only the
second can be compared. "cold" is the first call of a process, which compiles.

The last workload is many data sets: logistic with correlated intercepts and slopes again, in
each 20 to 60 groups of 4 to 12 rows, beside gj.glmm of the first of them, one after another.

Beside it: gj.glmm, and `refit` of its fit, response after response, and with `--r` lme4's `refit`
and glmmTMB. Each answers for the same first responses, and the largest differences stand beside.
--big goes on to 10^5 responses of the linear model.
"""

import sys
import time
import warnings
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import glmmjax as gj

from .facts import facts
from .peers import find_r

SINGLES = 20  # fits of one after another


class Workload(NamedTuple):
    """A design, and how its responses are drawn."""

    family: str
    formula: str
    groups: int
    rows: int
    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    beta: tuple[float, float, float]
    sd: tuple[float, ...]
    reml: bool = False
    method: str = "laplace"

    def frame(self) -> pd.DataFrame:
        rng, group = np.random.default_rng(0), np.repeat(np.arange(self.groups), self.rows)
        return pd.DataFrame({
            "group": [f"g{k}" for k in group], "x": rng.normal(size=len(group)),
            "trt": (group % 2).astype(float),
        })  # fmt: skip

    def responses(self, K: int, seed: int = 1) -> np.ndarray:
        rng, frame = np.random.default_rng(seed), self.frame()
        group = np.repeat(np.arange(self.groups), self.rows)
        X = np.column_stack([np.ones(len(frame)), frame["x"], frame["trt"]])
        eta = np.repeat((X @ self.beta)[:, None], K, 1)
        for k, sd in enumerate(self.sd):
            eta += X[:, [k]] * rng.normal(scale=sd, size=(self.groups, K))[group]
        return self.draw(rng, eta)

    def fit(self, Y: np.ndarray, **options: Any) -> gj.BatchFit:
        frame = self.frame()
        how = {"method": self.method, "reml": self.reml, **options}
        return gj.batch(self.formula, frame, self.family, responses=Y, **how)


def _bernoulli(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)


LOGISTIC = Workload("binomial", "y ~ x + trt + (1 + x | group)", 50, 8, _bernoulli,
                    (-0.4, 0.9, 0.5), (0.9, 0.6))  # fmt: skip
WORKLOADS = {
    "logistic": LOGISTIC,
    "PQL": LOGISTIC._replace(method="pql"),
    "poisson": Workload("poisson", "y ~ x + trt + (1 | group)", 100, 5,
                        lambda rng, eta: rng.poisson(np.exp(eta)).astype(float),
                        (0.5, 0.3, -0.4), (0.6,)),
    "linear": Workload("gaussian", "y ~ x + trt + (1 | group)", 50, 20,
                       lambda rng, eta: eta + rng.normal(size=eta.shape),
                       (0.5, 0.3, -0.4), (0.6,), True),
}  # fmt: skip


class Timing(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float


def timed(call: Callable[[], Any]) -> tuple[Timing, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu), out


def line(name: str, K: int, how: str, t: Timing, batch: gj.BatchFit) -> str:
    counts = ", ".join(f"{v} {n}" for v, n in batch.counts().items() if n)
    evaluations = batch.part.evaluations.mean()
    cells = (name, f"{K:,}", how, f"{t.wall:.2f} s", f"{K / t.wall:,.0f}",
             f"{1e6 * t.cpu / K:,.0f}", f"{evaluations:.1f}", counts)  # fmt: skip
    return f"| {' | '.join(cells)} |"


def ragged(K: int) -> pd.DataFrame:
    """K data sets below each other, told apart by `site`."""
    rng, frames = np.random.default_rng(2), []
    work = WORKLOADS["logistic"]
    for k in range(K):
        groups = int(rng.integers(20, 61))
        group = np.repeat(np.arange(groups), rng.integers(4, 13, groups))
        x, trt = rng.normal(size=len(group)), (group % 2).astype(float)
        b = rng.normal(size=(groups, 2)) * work.sd
        eta = np.column_stack([np.ones(len(x)), x, trt]) @ work.beta + b[group, 0] + b[group, 1] * x
        frames.append(pd.DataFrame({"site": k, "group": [f"g{j}" for j in group], "x": x,
                                    "trt": trt, "y": _bernoulli(rng, eta)}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def many_data_sets(K: int) -> list[str]:
    """Prints the rows of K data sets; rates of one after another, and how far they are apart."""
    from glmmjax.lanes._objective import _SEEN as programs

    frame, formula = ragged(K), WORKLOADS["logistic"].formula
    before, batch = len(programs), None
    for how in ("cold", "warm"):
        t, batch = timed(lambda: gj.batch(formula, frame, by="site"))
        print(line("data sets", K, how, t, batch), flush=True)
    assert batch is not None and batch.plan is not None
    sets = [part for _, part in frame[frame["site"] <= SINGLES].groupby("site", sort=False)]
    gj.glmm(formula, sets[-1])
    t, fits = timed(lambda: [gj.glmm(formula, part) for part in sets[:SINGLES]])
    far = max(float(np.abs(f.params - batch.params.iloc[k]).max()) for k, f in enumerate(fits))
    return [
        f"data sets: {len(frame):,} rows in {len(batch.plan.tasks)} class(es) of shapes, "
        f"{len(programs) - before} programs",
        f"data sets: gj.glmm: {SINGLES / t.wall:,.1f} a second, CPU {1e3 * t.cpu / SINGLES:.1f} ms "
        f"a fit; coefficients differ by {far:.0e} at most",
    ]


def one_by_one(work: Workload, Y: np.ndarray, batch: gj.BatchFit) -> list[str]:
    """Rates of gj.glmm and of refit, and how far their estimates are from the batch's."""
    frame, out = work.frame(), []
    first = batch[0]
    calls = {
        "gj.glmm": lambda k: gj.glmm(work.formula, frame.assign(y=Y[:, k]), work.family,
                                     method=work.method, reml=work.reml),
        "Fit.refit": lambda k: first.refit(Y[:, k]),
    }  # fmt: skip
    for name, call in calls.items():
        call(1)
        t, fits = timed(lambda call=call: [call(k) for k in range(SINGLES)])
        far = max(float(np.abs(f.params - batch.params.iloc[k]).max()) for k, f in enumerate(fits))
        out.append(
            f"{name}: {SINGLES / t.wall:,.1f} a second, CPU {1e3 * t.cpu / SINGLES:.1f} ms a fit; "
            f"coefficients differ by {far:.0e} at most"
        )
    return out


R_CALLS = {
    "lme4": "{f} <- function(y) {{ d$y <- y; m <- refit(first, y); c(fixef(m), logLik(m)) }}",
    "glmmTMB": "{f} <- function(y) {{ d$y <- y; m <- glmmTMB({formula}, d, family = {family}, "
    "REML = {reml}); c(fixef(m)$cond, logLik(m)) }}",
}


def in_r(work: Workload, Y: np.ndarray, batch: gj.BatchFit) -> list[str]:
    """The same by R, if it is there."""
    r, out = find_r(), []
    if r is None:
        return ["R: not found"]
    K = SINGLES
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        work.frame().to_csv(f"{folder}/d.csv", index=False)
        pd.DataFrame(Y[:, :K]).to_csv(f"{folder}/y.csv", index=False)
        for package, call in R_CALLS.items():
            maker = "lmer" if work.family == "gaussian" else "glmer"
            family = "" if work.family == "gaussian" else f", family = {work.family}"
            script = f"""
            suppressMessages(library({package})); d <- read.csv("{folder}/d.csv")
            Y <- as.matrix(read.csv("{folder}/y.csv")); d$y <- Y[, 1]
            if ("{package}" == "lme4") first <- {maker}({work.formula}, d{family})
            """ + call.format(f="fit", formula=work.formula, family=work.family,
                              reml=str(work.reml).upper()) + f"""
            options(warn = -1); suppressMessages(fit(Y[, 1]))
            t <- system.time(z <- suppressMessages(apply(Y, 2, fit)))[["elapsed"]]
            write.csv(data.frame(t(z), elapsed = t), "{folder}/out.csv", row.names = FALSE)
            """  # fmt: skip
            path = f"{folder}/run.R"
            with open(path, "w", encoding="utf-8") as file:
                file.write(script)
            try:
                _rscript(path)
            except Exception as error:
                out.append(f"{package}: {error}")
                continue
            found = pd.read_csv(f"{folder}/out.csv")
            loglik = found.iloc[:, 3].to_numpy() - batch.loglik[:K]
            far = np.nanmax(np.abs(found.iloc[:, :3].to_numpy() - batch.params[:K].to_numpy()))
            out.append(
                f"{package}: {K / found['elapsed'][0]:,.1f} a second; coefficients differ by "
                f"{far:.0e}, its log-likelihood is up to {np.nanmax(loglik):.0e} higher and "
                f"{-np.nanmin(loglik):.0e} lower"
            )
    return out


def _rscript(path: str) -> None:
    import subprocess

    done = subprocess.run(["Rscript", path], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def main(arguments: list[str]) -> None:
    warnings.simplefilter("ignore", gj.GlmmjaxWarning)
    for name, value in facts(find_r() if "--r" in arguments else None).items():
        print(f"- {name}: {value}")
    print("\n| workload | responses | call | wall | a second | CPU µs a response | evaluations "
          "| verdicts |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    notes = []
    sizes = {"logistic": (100, 1000, 4000), "PQL": (100, 1000, 4000), "poisson": (100, 1000, 4000),
             "linear": (100, 1000, 10_000)}  # fmt: skip
    for name, work in WORKLOADS.items():
        for K in sizes[name]:
            Y = work.responses(K)
            for how in ("cold", "warm") if K == 1000 or K == 100 else ("warm",):
                t, batch = timed(lambda work=work, Y=Y: work.fit(Y))
                print(line(name, K, how, t, batch), flush=True)
            if K == 1000:
                notes += [f"- {name}: {text}" for text in one_by_one(work, Y, batch)]
                if "--r" in arguments and work.method == "laplace":
                    notes += [f"- {name}: {text}" for text in in_r(work, Y, batch)]
    notes += [f"- {text}" for text in many_data_sets(2000)]
    if "--big" in arguments:
        work = WORKLOADS["linear"]
        Y = work.responses(100_000)
        t, batch = timed(lambda: work.fit(Y))
        print(line("linear", 100_000, "warm", t, batch))
    print("\nOne after another, the first", SINGLES, "responses:\n")
    print("\n".join(notes))


if __name__ == "__main__":
    main(sys.argv[1:])
