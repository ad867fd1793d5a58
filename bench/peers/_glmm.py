"""The Python package glmm, in processes of its own."""

from importlib.util import find_spec
from typing import Any

from ..timing import clean_environment, python
from ..workloads import Workload


def run_glmm(workload: Workload, budget: float) -> dict[str, Any] | None:
    """Times and log-likelihood, {"error": ...}, or None where the package is not installed."""
    if find_spec("glmm") is None:
        return None
    env, child = clean_environment(), ("-m", "bench.peers.glmm_fit", workload.name)
    many = python(*child, str(budget), env=env).answer()
    if "error" in many or workload.refit:
        return many
    return {"process": python(*child, env=env).seconds} | many
