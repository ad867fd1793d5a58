"""Whole processes: importing, and one command from the shell to the printed answer."""

import statistics
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .peers import R
from .peers._r import write_csv
from .timing import Done, cache_folder, clean_environment, python
from .workloads import WORKLOADS

IMPORTS = {"nothing": "pass", "jax, equinox": "import jax, equinox", "glmmjax": "import glmmjax"}
# What `gj.glmm` loads on its first call, beyond the bare import.
FACADE = "import glmmjax as gj; gj.glmm; import pandas, formulaic, scipy, narwhals"
FORMULA = "cbind(incidence, size - incidence) ~ {factor}(period) + (1 | herd)"


def imports(count: int = 5) -> dict[str, float]:
    """Median seconds of fresh processes that import; taken in turn, so that noise is shared."""
    env = clean_environment()
    seconds: dict[str, list[float]] = {name: [] for name in (*IMPORTS, "all that a fit needs")}
    for _ in range(count):
        for name, code in (*IMPORTS.items(), ("all that a fit needs", FACADE)):
            seconds[name].append(python("-c", code, env=env).seconds)
    return {name: statistics.median(times) for name, times in seconds.items()}


def commands(r: R | None, count: int = 5) -> dict[str, Any]:
    """Seconds of `python -m glmmjax fit` on cbpp, first ever and later, and of Rscript."""
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        path = Path(folder) / "cbpp.csv"
        write_csv(WORKLOADS["cbpp-laplace"], path)
        with cache_folder(own=_has_cli()) as env:
            ours = [python(*_ours(path), env=env) for _ in range(count + 1)]
        peer = [] if r is None else [_rscript(r, path) for _ in range(count)]
    answer = {"how": "python -m glmmjax fit" if _has_cli() else "python -c (no command line yet)"}
    answer |= {"error": next((d.error for d in (*ours, *peer) if d.error), None)}
    answer |= {"first": ours[0].seconds, "second": _median(ours[1:])}
    return answer | ({"lme4": _median(peer)} if peer else {})


def _median(runs: list[Done]) -> float:
    return statistics.median(run.seconds for run in runs)


def _has_cli() -> bool:
    return find_spec("glmmjax.cli") is not None and find_spec("glmmjax.__main__") is not None


def _ours(path: Path) -> list[str]:
    formula = FORMULA.format(factor="C")
    if _has_cli():
        return ["-m", "glmmjax", "fit", str(path), formula, "--family", "binomial"]
    code = (
        "import glmmjax as gj, pandas as pd\n"
        f"print(gj.glmm({formula!r}, pd.read_csv({str(path)!r}), 'binomial'))"
    )
    return ["-c", code]


def _rscript(r: R, path: Path) -> Done:
    formula = FORMULA.format(factor="factor")
    code = f"d <- read.csv('{path}'); m <- lme4::glmer({formula}, d, binomial); print(summary(m))"
    return r.script("-e", code)
