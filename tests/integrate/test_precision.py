"""The core follows its inputs' precision, and refuses what a 32-bit process would truncate."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from helpers import zoo
from helpers.compiling import by_hand, packed

from glmmjax.integrate import AGQ, Laplace, laplace_value_and_grad, marginal_loglik, origin

ROOT = Path(__file__).resolve().parents[2]


def single(tree):
    """The same with float32 in the place of float64."""

    def cast(a):
        return jax.ShapeDtypeStruct(a.shape, jnp.float32 if a.dtype == jnp.float64 else a.dtype)

    return jax.tree.map(cast, tree)


@pytest.mark.parametrize(
    ("name", "reml"), [("nested", False), ("two_predictors", True), ("zero_inflated", False)]
)
def test_float32_stays_float32_in_a_64_bit_process(name, reml):
    model, data = packed(name)

    def run(p, data):
        found = laplace_value_and_grad(p, data, model, origin(model, p, data, reml), reml)
        value = marginal_loglik(p, data, model, Laplace(reml=reml))
        return *found[:3], value, jax.grad(marginal_loglik)(p, data, model, AGQ(3))

    with jax.numpy_dtype_promotion("strict"):  # and no mixing of precisions on the way
        out = jax.eval_shape(run, single(zoo.case(name).params), single(data))
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}


SCRIPT = """
    import jax, jax.numpy as jnp, numpy as np
    from helpers import zoo
    from glmmjax.integrate import AGQ, laplace_value_and_grad, marginal_loglik, origin
    import glmmjax._errors as errors

    c = zoo.case("poisson_us")
    model, data, _ = c.pack()                    # jnp.asarray makes float32 here
    p = c.params
    value, g, _, codes = jax.jit(
        lambda p, d: laplace_value_and_grad(p, d, model, origin(model, p, d, False), False)
    )(p, data)
    assert value.dtype == g.beta.dtype == jnp.float32, value.dtype
    assert not codes[0].any(), codes
    print(float(value), *map(float, g.beta), *map(float, g.theta))
    wide = jax.tree.map(np.asarray, data)
    wide = jax.tree.map(lambda a: a.astype(float) if a.dtype == np.float32 else a, wide)
    try:
        marginal_loglik(p, wide, model)
    except errors.PrecisionError as error:
        print(error)
"""


def test_a_32_bit_process_computes_in_float32_and_refuses_float64():
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "JAX_ENABLE_X64": "0"},
    )
    assert run.returncode == 0, run.stderr
    numbers, refusal = run.stdout.strip().split("\n")
    value, gradient, _, _ = by_hand("poisson_us")(zoo.case("poisson_us").params)
    expected = [float(value), *gradient.beta.tolist(), *gradient.theta.tolist()]
    assert [float(x) for x in numbers.split()] == pytest.approx(expected, rel=2e-4, abs=2e-4)
    assert 'jax.config.update("jax_enable_x64", True)' in refusal
