"""R: where it is, what linear algebra it stands on, and the timing of one call in it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..timing import Done, process, summary
from ..workloads import Workload, new_responses

SCRIPT = Path(__file__).with_name("fits.R")
OPENBLAS = "*/openblas*/libblas.so.3"  # where Debian puts it, below /usr/lib
QUICK = ("openblas", "mkl", "blis", "atlas", "accelerate", "flexiblas")
ASK = """
cat(R.version$major, ".", R.version$minor, "\\n", sep = "")
cat(extSoftVersion()[["BLAS"]], "\\n", sep = "")
for (p in c("lme4", "glmmTMB", "MASS")) if (requireNamespace(p, quietly = TRUE))
  cat(p, as.character(packageVersion(p)), "\\n")
"""


@dataclass(frozen=True)
class R:
    """An R that answers."""

    rscript: str
    version: str
    blas: str  # the library, without the folders above it
    packages: dict[str, str]
    env: dict[str, str]

    @property
    def quick(self) -> bool:
        """Is its BLAS a tuned one? The reference BLAS would flatter whoever is compared."""
        return any(name in self.blas.lower() for name in QUICK)

    def script(self, *arguments: str) -> Done:
        return process([self.rscript, "--vanilla", *arguments], self.env)

    def run(self, workload: Workload, peer: str, budget: float) -> dict[str, Any] | None:
        """Times and log-likelihood, {"error": ...}, or None where the package is not installed."""
        if peer not in self.packages:
            return None
        with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
            arguments = _arguments(workload, peer, Path(folder))
            again = [str(budget)] + (["^response[0-9]+$"] if workload.refit else [])
            many = self.script(str(SCRIPT), *arguments, *again)
            if many.error or workload.refit:
                return many.answer() if many.error else _read(many.out)
            return {"process": self.script(str(SCRIPT), *arguments, "0").seconds} | _read(many.out)


def find_r() -> R | None:
    """R with a tuned BLAS if there is one: its own, or OpenBLAS put in front by the loader."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return None
    env = dict(os.environ)
    found = _ask(rscript, env)
    if found is None or found.quick:
        return found
    return next((r for p in _preloads() if (r := _ask(rscript, env | p)) is not None), found)


def _preloads() -> Iterator[dict[str, str]]:
    """Settings that put an OpenBLAS before R's own; R's start-up script undoes LD_LIBRARY_PATH."""
    for blas in sorted(Path("/usr/lib").glob(OPENBLAS)):
        lapack = blas.with_name("liblapack.so.3")
        yield {"LD_PRELOAD": " ".join(str(p) for p in (blas, lapack) if p.exists())}


def _ask(rscript: str, env: dict[str, str]) -> R | None:
    done = process([rscript, "--vanilla", "-e", ASK], env)
    if done.error:
        return None
    version, blas, *packages = done.out.strip().splitlines()
    pairs = dict(line.split() for line in packages)
    return R(rscript, version, "/".join(Path(blas).parts[-2:]), pairs, env)


def write_csv(workload: Workload, path: Path) -> list[str]:
    """Write the data for R; return the names of its factors."""
    frame = workload.frame()
    if workload.refit:
        new = new_responses(frame)
        frame = frame.assign(**{f"response{i}": y for i, y in enumerate(new.T)})
    frame.to_csv(path, index=False)
    return [c for c in frame.columns if frame[c].dtype.name == "category"]


def _arguments(workload: Workload, peer: str, folder: Path) -> list[str]:
    path = folder / "data.csv"
    factors = write_csv(workload, path)
    return [str(path), ",".join(factors), workload.r_call(peer)]


def _read(out: str) -> dict[str, Any]:
    values = {}
    for line in out.strip().splitlines():
        key, *numbers = line.split()
        values[key] = [float(number) for number in numbers]
    number = "scale" if "scale" in values else "loglik"
    return {
        "first": values["first"][0],
        number: values[number],
        "warm": summary(values["warm"]),
    }
