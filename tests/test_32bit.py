"""A process whose JAX was left in 32 bits: the façade computes in float64, the core refuses.

One process of its own runs every check and prints what it found as JSON.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import glmmjax as gj

ROOT = Path(__file__).resolve().parent.parent
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEP = "Reaction ~ Days + (Days | Subject)"

SCRIPT = """
    import json, sys
    from concurrent.futures import ThreadPoolExecutor
    import jax, jax.numpy as jnp, numpy as np
    import glmmjax as gj

    out = {"x64 at first": bool(jax.config.jax_enable_x64)}
    cbpp, sleep = gj.datasets.load("cbpp"), gj.datasets.load("sleepstudy")
    CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"

    def numbers(fit):
        return [fit.loglik, *fit.params, *fit.bse, *fit.varcorr["sdcor"]]

    fit = gj.glmm(CBPP, cbpp)
    out["glmm"] = numbers(fit)
    out["agq"] = numbers(gj.glmm(CBPP, cbpp, method="agq", nodes=25))
    out["reml"] = numbers(gj.glmm(CBPP, cbpp, reml=True))
    linear = gj.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    out["lmm"] = numbers(linear)
    out["refit"] = numbers(fit.refit(np.column_stack([cbpp["incidence"], cbpp["size"]])[:, 0]))
    out["predict"] = fit.predict().tolist()
    out["marginal"] = fit.predict(effects="marginal").tolist()
    out["new"] = linear.predict(sleep.head(3), interval=0.9).to_numpy().tolist()
    out["ranef"] = fit.ranef(se=True)[["value", "se"]].to_numpy().tolist()
    out["resid"] = fit.resid("deviance").tolist()
    out["quantile"] = fit.resid("quantile").tolist()
    out["simulate"] = fit.simulate(2, seed=3).tolist()
    out["summary"] = str(fit.summary())
    out["dtypes"] = sorted({str(a.dtype) for a in (
        fit.params, fit.bse, fit.predict(), fit.resid(), fit.simulate(1), fit.cov_params().values)})
    with ThreadPoolExecutor(2) as pool:
        out["threads"] = [numbers(f) for f in pool.map(lambda d: gj.glmm(CBPP, d), [cbpp, cbpp])]

    model, data, params = gj.build(CBPP, cbpp, "binomial")
    out["build"] = sorted({str(a.dtype) for a in jax.tree.leaves((params, data))})
    calls = {
        "eager": lambda: gj.marginal_loglik(params, data, model),
        "jit": lambda: jax.jit(gj.marginal_loglik)(params, data, model),
        "grad": lambda: jax.grad(gj.marginal_loglik)(params, data, model),
        "marginal": lambda: gj.marginal(params, data, model),
    }
    for name, call in calls.items():
        try:
            out["core " + name] = repr(call())
        except gj.PrecisionError as error:
            out["core " + name] = str(error)
    out["x64 at last"] = bool(jax.config.jax_enable_x64)
    out["dtype at last"] = str(jnp.ones(2).dtype)
    json.dump(out, sys.stdout)
"""


@pytest.fixture(scope="module")
def untouched():
    """What the script found in a process that nobody told about 64 bits."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=540,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def cbpp_fit():
    return gj.glmm(CBPP, gj.datasets.load("cbpp"))


def numbers(fit):
    return [fit.loglik, *fit.params, *fit.bse, *fit.varcorr["sdcor"]]


def test_the_setting_of_the_process_is_left_alone(untouched):
    assert untouched["x64 at first"] is untouched["x64 at last"] is False
    assert untouched["dtype at last"] == "float32"


def test_estimates_are_those_of_a_64_bit_process(untouched, cbpp_fit):
    cbpp, sleep = gj.datasets.load("cbpp"), gj.datasets.load("sleepstudy")
    fits = {
        "glmm": cbpp_fit,
        "agq": gj.glmm(CBPP, cbpp, method="agq", nodes=25),
        "reml": gj.glmm(CBPP, cbpp, reml=True),
        "lmm": gj.lmm(SLEEP, sleep),
    }
    for name, fit in fits.items():
        np.testing.assert_allclose(untouched[name], numbers(fit), rtol=1e-10, err_msg=name)


def test_a_refit_is_too(untouched, cbpp_fit):
    np.testing.assert_allclose(untouched["refit"], numbers(cbpp_fit), rtol=1e-6)


def test_what_is_asked_of_a_fit_is_too(untouched, cbpp_fit):
    fit, sleep = cbpp_fit, gj.datasets.load("sleepstudy")
    expected = {
        "predict": fit.predict(),
        "marginal": fit.predict(effects="marginal"),
        "new": gj.lmm(SLEEP, sleep).predict(sleep.head(3), interval=0.9).to_numpy(),
        "ranef": fit.ranef(se=True)[["value", "se"]].to_numpy(),
        "resid": fit.resid("deviance"),
        "quantile": fit.resid("quantile"),
        "simulate": fit.simulate(2, seed=3),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(untouched[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    assert untouched["dtypes"] == ["float64"]
    assert "period[T.2]" in untouched["summary"] and "herd" in untouched["summary"]


def test_worker_threads_compute_in_64_bits_too(untouched):
    for found in untouched["threads"]:
        np.testing.assert_allclose(found, untouched["glmm"], rtol=1e-12)


@pytest.mark.parametrize("call", ["eager", "jit", "grad", "marginal"])
def test_the_core_refuses_and_names_the_line_to_add(untouched, call):
    assert "float64" in untouched["build"]
    assert 'jax.config.update("jax_enable_x64", True)' in untouched[f"core {call}"]
