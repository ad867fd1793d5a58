"""Two processes with two devices each against the one device of this process."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import glmmjax as gj

ROOT = Path(__file__).resolve().parents[2]
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEP = "Reaction ~ Days + (Days | Subject)"

SCRIPT = """
    import json, sys
    import jax
    jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
    import glmmjax as gj

    def numbers(fit):
        return [fit.loglik, *fit.params, *fit.bse, *fit.varcorr["sdcor"], *fit.ranef()["value"]]

    out = {"devices": [len(jax.devices()), len(jax.local_devices())]}
    CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    cbpp = gj.datasets.load("cbpp")
    out["glmm"] = numbers(gj.glmm(CBPP, cbpp, devices=jax.devices()))
    out["reml"] = numbers(gj.glmm(CBPP, cbpp, devices=4, reml=True))
    slopes = "Reaction ~ Days + (Days | Subject)"
    out["lmm"] = numbers(gj.lmm(slopes, gj.datasets.load("sleepstudy"), devices=4))
    for name, call in {
        "idle": lambda: gj.glmm(CBPP, cbpp, devices=2),
        "far": lambda: gj.batch(
            CBPP, cbpp, responses=cbpp[["incidence"]].to_numpy(),
            devices=[d for d in jax.devices() if d not in jax.local_devices()],
        ),
    }.items():
        try:
            call()
        except gj.DataError as error:
            out[name] = str(error)

    jax.config.update("jax_enable_x64", True)
    model, data, params = gj.build(CBPP, cbpp, "binomial")
    value, g = jax.jit(jax.value_and_grad(gj.marginal_loglik))(params, gj.distribute(data), model)
    out["core"] = [float(value), *g.beta.tolist(), *g.theta.tolist()]
    print(json.dumps(out))
"""


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def found():
    """What the two processes printed."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    environment["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = "gloo"
    address = f"localhost:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), address, str(rank)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    for process, (_, error) in zip(both, said, strict=True):
        assert process.returncode == 0, error
    return [json.loads(text.strip().splitlines()[-1]) for text, _ in said]


def numbers(fit):
    return [fit.loglik, *fit.params, *fit.bse, *fit.varcorr["sdcor"], *fit.ranef()["value"]]


def test_every_process_sees_all_devices(found):
    assert [f["devices"] for f in found] == [[4, 2], [4, 2]]


def test_all_processes_find_what_one_device_finds(found):
    cbpp = gj.datasets.load("cbpp")
    expected = {
        "glmm": numbers(gj.glmm(CBPP, cbpp)),
        "reml": numbers(gj.glmm(CBPP, cbpp, reml=True)),
        "lmm": numbers(gj.lmm(SLEEP, gj.datasets.load("sleepstudy"))),
    }
    for name, values in expected.items():
        for one in found:
            np.testing.assert_allclose(one[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_the_core_gives_every_process_the_sum(found):
    model, data, params = gj.build(CBPP, gj.datasets.load("cbpp"), "binomial")
    value, g = jax.jit(jax.value_and_grad(gj.marginal_loglik))(params, data, model)
    expected = [float(value), *g.beta.tolist(), *g.theta.tolist()]
    for one in found:
        np.testing.assert_allclose(one["core"], expected, rtol=1e-11, atol=1e-11)


def test_devices_that_leave_a_process_out_or_are_of_another(found):
    assert "no device of process 1" in found[0]["idle"]
    assert all("belongs to another process" in one["far"] for one in found)
