"""`python -m bench.nonlinear [--big]`: nonlinear mixed models beside nlme and lme4's nlmer.

Orange and Theoph, warm, best of several fits a program, standard errors included. Each pair
maximises one objective: nlme and `method="linearize"` the likelihood of the linearised model,
nlmer and `method="foce"` Laplace's with the Gauss-Newton curvature. The R packages stop at their
default tolerances, so a log-likelihood of theirs may be a little lower. All start at the same
values; "by itself" is our fit from starting values of its own.

--big adds 1,000 simulated subjects with ten observations of a one-compartment oral model, three
random parameters: Laplace, and the pair with nlme.
"""

import sys
import time
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import glmmjax as gj

from .facts import facts
from .peers import find_r

FOL = "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)"
FOL_START = {"lKe": -2.4, "lKa": 0.45, "lCl": -3.2}


class Case(NamedTuple):
    """One of our fits, and the call in R that maximises the same."""

    data: str
    formula: str
    random: str
    start: dict[str, float]
    method: str
    call: str
    repeats: int = 9


def vector(start: dict[str, float]) -> str:
    """A named vector of R."""
    return f"c({', '.join(f'{k} = {v}' for k, v in start.items())})"


def cases(big: bool) -> list[Case]:
    """Orange and Theoph; with `big` the simulated table too."""
    growth = "circumference ~ SSlogis(age, Asym, xmid, scal)"
    first = {"Asym": 190.0, "xmid": 700.0, "scal": 350.0}
    orange = ("Orange", growth, "Asym ~ 1 | Tree", first)
    theoph = ("Theoph", FOL, "diag(lKa + lCl ~ 1 | Subject)", FOL_START)
    found = [
        Case(*orange, "linearize", f"nlme({growth}, d, Asym + xmid + scal ~ 1, Asym ~ 1 | Tree, "
                                   f"start = {vector(first)})"),
        Case(*orange, "foce", f"nlmer({growth} ~ Asym | Tree, d, start = {vector(first)})"),
        Case(*theoph, "linearize", f"nlme({FOL}, d, lKe + lKa + lCl ~ 1, pdDiag(lKa + lCl ~ 1), "
                                   f"groups = ~ Subject, start = {vector(FOL_START)})"),
        Case(*theoph, "foce", f"nlmer({FOL} ~ (0 + lKa | Subject) + (0 + lCl | Subject), d, "
                              f"start = {vector(FOL_START)})"),
    ]  # fmt: skip
    if big:
        simulated = ("1,000 subjects", FOL, "diag(lKe + lKa + lCl ~ 1 | id)", FOL_START)
        found += [
            Case(*simulated, "laplace", "", 3),
            Case(*simulated, "linearize", f"nlme({FOL}, d, lKe + lKa + lCl ~ 1, pdDiag(lKe + lKa "
                 f"+ lCl ~ 1), groups = ~ id, start = {vector(FOL_START)})", 3),
        ]  # fmt: skip
    return found


def simulated() -> pd.DataFrame:
    """1,000 subjects, ten times each, log-normal parameters."""
    rng = np.random.default_rng(1)
    time = np.array([0.25, 0.5, 1, 2, 3.5, 5, 7, 9, 12, 24])
    b = rng.standard_normal((1000, 3)) * [0.2, 0.5, 0.25]
    ke, ka, cl = (v[:, None] for v in np.exp([-2.4, 0.5, -3.2] + b).T)
    dose = rng.uniform(3, 6, (1000, 1)).round(2)
    mean = dose * ke * ka / cl / (ka - ke) * (np.exp(-ke * time) - np.exp(-ka * time))
    conc = mean + 0.5 * rng.standard_normal(mean.shape)
    columns = {"id": np.arange(1000)[:, None], "Time": time[None], "Dose": dose, "conc": conc}
    return pd.DataFrame({k: np.broadcast_to(v, conc.shape).ravel() for k, v in columns.items()})


R_CODE = """
a <- commandArgs(TRUE); suppressMessages({library(nlme); library(lme4)})
d <- read.csv(a[1]); call <- parse(text = a[2])[[1]]; best <- Inf
for (i in 1:as.integer(a[3]))
  best <- min(best, system.time(f <- suppressWarnings(eval(call)))[["elapsed"]])
cat(best, format(c(logLik(f)), digits = 12), "\\n")
"""


def main(big: bool) -> None:
    print("# Nonlinear mixed models\n")
    for name, value in facts(None).items():
        if name in ("processor", "cores", "load before the run", "glmmjax", "jax"):
            print(f"* {name}: {value}")
    head = (
        "data | method | first | warm | by itself | peer | its time | ours / its | log-lik. | its"
    )
    print(f"\n| {head} |\n|{'---|' * 10}")
    for case in cases(big):
        frame = simulated() if "subjects" in case.data else gj.datasets.load(case.data)
        first, warm, fit = _ours(case, frame, case.start)
        _, alone, _ = _ours(case, frame, None)
        name, seconds, loglik = _peer(frame, case)
        ratio = f"1/{seconds / warm:.1f}" if seconds else ""
        print(f"| {case.data} | {case.method} | {first:.2f} s | {_text(warm)} | {_text(alone)} | "
              f"{name} | {_text(seconds)} | {ratio} | {fit.loglik:.6f} | {loglik} |")  # fmt: skip


def _text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds > 1 else f"{seconds * 1e3:.1f} ms"


def _ours(case: Case, frame: Any, start: Any) -> tuple[float, float, gj.Fit]:
    """(seconds of the first fit, least of the others, the last fit), standard errors included."""

    def once() -> tuple[float, gj.Fit]:
        began = time.perf_counter()
        fit = gj.nlmm(case.formula, frame, random=case.random, method=case.method, start=start)
        _ = fit.bse
        return time.perf_counter() - began, fit

    found = [once() for _ in range(case.repeats + 1)]
    return found[0][0], min(seconds for seconds, _ in found[1:]), found[-1][1]


def _peer(frame: Any, case: Case) -> tuple[str, float | None, str]:
    """(name, seconds, log-likelihood) of the call in R; an error in the place of the last."""
    name, r = case.call.split("(")[0], find_r()
    if not case.call or r is None:
        return name, None, "" if not case.call else "no R"
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        path = f"{folder}/data.csv"
        frame.to_csv(path, index=False)
        done = r.script("-e", R_CODE, path, case.call, str(max(1, case.repeats // 3)))
    if done.error:
        return name, None, done.error
    seconds, loglik = done.out.split()[-2:]
    return name, float(seconds), f"{float(loglik):.6f}"


if __name__ == "__main__":
    main("--big" in sys.argv[1:])
