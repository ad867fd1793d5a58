"""`python -m bench.bootstrap [--n 1000]`: seconds of parametric bootstrap replicates.

Drawing and fitting n replicates of two small models, in one process:

- cold: the first `fit.bootstrap(n)`, compilation included; warm: the next one, with another seed.
- loop: `fit.refit(y)` for 100 of the same draws (drawing included), scaled to n.
- lme4: `bootMer(nsim = 100)` with fixed effects and theta, scaled to n. It draws random effects
  anew, as we do (use.u = FALSE).
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import glmmjax as gj

from .facts import facts
from .peers import find_r

CASES = {
    "cbpp": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"),
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", "gaussian"),
}
FEW = 100  # replicates of the loop and of lme4
R_CODE = """
a <- commandArgs(TRUE); suppressMessages(library(lme4))
d <- read.csv(a[1], stringsAsFactors = TRUE)
if ("period" %in% names(d)) d$period <- factor(d$period)
m <- if (a[3] == "gaussian") lmer(as.formula(a[2]), d) else
  glmer(as.formula(a[2]), d, family = a[3])
s <- system.time(b <- suppressMessages(suppressWarnings(
  bootMer(m, function(m) c(fixef(m), getME(m, "theta")), nsim = as.integer(a[4]), seed = 1))))
cat(s[["elapsed"]], "\\n")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="seconds of parametric bootstrap replicates")
    parser.add_argument("--n", type=int, default=1000, help="replicates")
    n = parser.parse_args().n
    for name, fact in facts(find_r()).items():
        print(name, fact, sep=": ")
    print(
        f"\n| {n:,} replicates, seconds | cold | warm | loop | lme4 | warm a second | lme4 / warm |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (formula, family) in CASES.items():
        print(*_row(name, formula, family, n), sep=" | ")


def _row(name: str, formula: str, family: str, n: int) -> list[str]:
    data = gj.datasets.load(name)
    fit = gj.lmm(formula, data) if family == "gaussian" else gj.glmm(formula, data, family)
    cold, _ = _timed(lambda: fit.bootstrap(n, seed=1))
    warm, found = _timed(lambda: fit.bootstrap(n, seed=2))
    fit.refit(fit.simulate(1))
    loop, _ = _timed(lambda: [fit.refit(y) for y in fit.simulate(FEW, seed=2).T])
    loop *= n / FEW
    lme4 = _lme4(data, formula, family)
    peer = "" if lme4 is None else f"{lme4 * n / FEW:.1f}"
    ratio = "" if lme4 is None else f"{lme4 * n / FEW / warm:.1f}"
    kind = ", ".join(f"{v} {c}" for v, c in found.counts().items() if c)
    return [f"| {name} ({kind})", f"{cold:.1f}", f"{warm:.2f}", f"{loop:.1f}", peer,
            f"{n / warm:,.0f}", f"{ratio} |"]  # fmt: skip


def _timed(work):
    began = time.perf_counter()
    out = work()
    return time.perf_counter() - began, out


def _lme4(data, formula: str, family: str) -> float | None:
    """Seconds of `FEW` replicates by bootMer; None without R or lme4."""
    r = find_r()
    if r is None or "lme4" not in r.packages:
        return None
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        path, code = Path(folder) / "data.csv", Path(folder) / "boot.R"
        data.to_csv(path, index=False)
        code.write_text(R_CODE, encoding="utf-8")
        done = r.script(str(code), str(path), formula, family, str(FEW))
    if done.error:
        raise RuntimeError(done.error)
    return float(done.out)


if __name__ == "__main__":
    main()
