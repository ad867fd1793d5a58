"""`python -m bench.nonlinear`: nonlinear mixed models beside nlme and lme4's nlmer.

Orange and Theoph, warm, best of several fits a program. Each program maximises its own objective:
nlme and `method="linearize"` the likelihood of the linearised model; nlmer Laplace's with the
Gauss-Newton curvature, `method="laplace"` with the true one. So compare times within a pair, and
log-likelihoods between "linearize" and nlme alone, which stops at its default tolerances.
"""

import time
from tempfile import TemporaryDirectory
from typing import Any

import glmmjax as gj

from .facts import facts
from .peers import find_r

CASES = {
    "Orange": (
        "circumference ~ SSlogis(age, Asym, xmid, scal)", "Asym ~ 1 | Tree",
        "nlme(circumference ~ SSlogis(age, Asym, xmid, scal), d, Asym + xmid + scal ~ 1, "
        "Asym ~ 1 | Tree, start = c(Asym = 190, xmid = 700, scal = 350))",
        "nlmer(circumference ~ SSlogis(age, Asym, xmid, scal) ~ Asym | Tree, d, "
        "start = c(Asym = 190, xmid = 700, scal = 350))",
    ),
    "Theoph": (
        "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)", "diag(lKa + lCl ~ 1 | Subject)",
        "nlme(conc ~ SSfol(Dose, Time, lKe, lKa, lCl), d, lKe + lKa + lCl ~ 1, "
        "pdDiag(lKa + lCl ~ 1), groups = ~ Subject, start = c(lKe = -2.4, lKa = 0.45, lCl = -3.2))",
        "nlmer(conc ~ SSfol(Dose, Time, lKe, lKa, lCl) ~ (0 + lKa | Subject) + "
        "(0 + lCl | Subject), d, start = c(lKe = -2.4, lKa = 0.45, lCl = -3.2))",
    ),
}  # fmt: skip
R_CODE = """
a <- commandArgs(TRUE); suppressMessages({library(nlme); library(lme4)})
d <- read.csv(a[1]); call <- parse(text = a[2])[[1]]; best <- Inf
for (i in 1:5) best <- min(best, system.time(f <- suppressWarnings(eval(call)))[["elapsed"]])
cat(best, format(c(logLik(f)), digits = 12), "\\n")
"""
METHODS = ("linearize", "laplace")


def main() -> None:
    print("# Nonlinear mixed models\n")
    for name, value in facts(None).items():
        if name in ("processor", "cores", "load before the run", "glmmjax", "jax"):
            print(f"* {name}: {value}")
    print("\n| data | program | first | warm | log-likelihood |\n|---|---|---|---|---|")
    for data, (formula, random, *calls) in CASES.items():
        frame = gj.datasets.load(data)
        for method in METHODS:
            seconds, fit = _ours(formula, frame, random, method)
            print(f"| {data} | {method} | {seconds[0]:.2f} s | {min(seconds[1:]) * 1e3:.0f} ms "
                  f"| {fit.loglik:.6f} |")  # fmt: skip
        for call in calls:
            print(f"| {data} | {call.split('(')[0]} | | {_peer(frame, call)} |")


def _ours(formula: str, frame: Any, random: str, method: str) -> tuple[list[float], gj.Fit]:
    """(seconds of each of six fits, standard errors included, the last fit)."""

    def once() -> tuple[float, gj.Fit]:
        began = time.perf_counter()
        fit = gj.nlmm(formula, frame, random=random, method=method)
        _ = fit.bse
        return time.perf_counter() - began, fit

    found = [once() for _ in range(6)]
    return [seconds for seconds, _ in found], found[-1][1]


def _peer(frame: Any, call: str) -> str:
    """Cells "warm | log-likelihood" of a call in R, or why there are none."""
    r = find_r()
    if r is None:
        return "no R |"
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        path = f"{folder}/data.csv"
        frame.to_csv(path, index=False)
        done = r.script("-e", R_CODE, path, call)
    if done.error:
        return f"{done.error} |"
    seconds, loglik = done.out.split()[-2:]
    return f"{float(seconds) * 1e3:.0f} ms | {float(loglik):.6f}"


if __name__ == "__main__":
    main()
