"""What the numbers were measured on: processor, cores, versions. No names of hosts or folders."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .peers import R

PACKAGES = ("glmmjax", "jax", "jaxlib", "equinox", "numpy", "scipy", "pandas", "formulaic", "glmm")


def facts(r: R | None) -> dict[str, str]:
    found = {
        "processor": _processor(),
        "cores": str(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "load before the run": " ".join(f"{x:.2f}" for x in os.getloadavg()),
        "Python": platform.python_version(),
    }
    found |= {name: _version(name) for name in PACKAGES}
    if r is None:
        return found | {"R": "not found"}
    found |= {"R": r.version, "R's BLAS": r.blas}
    return found | r.packages


def cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        if name != "glmmjax":
            return "not installed"
    import glmmjax

    return glmmjax.__version__
