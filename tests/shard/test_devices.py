"""Eight devices against one, in a process whose CPU is cut into eight.

The process prints, for each question, the numbers of one device and of several as JSON. It begins
in 32 bits, as users' processes do; the functional core comes last, in 64.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import glmmjax as gj
from glmmjax.shard import list_devices, pad_units

ROOT = Path(__file__).resolve().parents[2]
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"

SCRIPT = """
    import json, re, sys, tempfile
    import jax, numpy as np
    import glmmjax as gj
    from glmmjax import batching
    from glmmjax.infer import _engine
    from glmmjax.integrate import _approximate

    out, CBPP = {}, "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    cbpp, sleep = gj.datasets.load("cbpp"), gj.datasets.load("sleepstudy")
    rng = np.random.default_rng(5)
    U, n = 29, 6
    g, x = np.repeat(np.arange(U), n), rng.standard_normal(U * n)
    eta = 0.3 + x[:, None] + rng.standard_normal((U, 33))[g]
    Y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    frame = {"y": Y[:, 0], "x": x, "g": g}
    other = np.argsort(rng.permutation(U)[g], kind="stable")
    other = {k: v[other] for k, v in frame.items()} | {"g": rng.permutation(U)[g[other]]}

    def numbers(fit):
        return [fit.loglik, *fit.params, *fit.bse, *fit.varcorr["sdcor"]]

    def glmm(formula, data, devices, **more):
        return numbers(gj.glmm(formula, data, devices=devices, **more))

    def error(call, *arguments, **more):
        try:
            call(*arguments, **more)
        except gj.GlmmjaxError as found:
            return type(found).__name__ + ": " + str(found)

    def where(array):
        return sorted(d.id for d in array.devices())

    def watch(module, name, look):
        call, seen = getattr(module, name), []
        setattr(module, name, lambda *a: (seen.append(look(*a)), call(*a))[1])
        return seen

    out["modes"] = watch(_engine, "gather", lambda e, data: where(e.mode.u[0]))
    out["lanes"] = watch(batching, "fit_read", lambda problem, *rest: [
        *where(problem.data.buckets[0].X), *where(jax.numpy.zeros(1))])
    eight = gj.glmm(CBPP, cbpp, devices=8)
    one = gj.glmm(CBPP, cbpp)
    out["laplace"] = numbers(one), numbers(eight)
    out["ranef"] = [f.ranef(se=True)[["value", "se"]].to_numpy().tolist() for f in (one, eight)]
    with tempfile.TemporaryDirectory() as folder:
        eight.save(folder + "/fit.npz")
        out["saved"] = numbers(eight), numbers(gj.load(folder + "/fit.npz"))
    agq = {"method": "agq", "nodes": 7}
    agq1 = glmm("y ~ x + (1 | g)", frame, None, **agq)
    out["agq"] = agq1, glmm("y ~ x + (1 | g)", frame, 8, **agq)
    out["permuted"] = agq1, glmm("y ~ x + (1 | g)", other, 8, **agq)
    slopes = "Reaction ~ Days + (Days | Subject)"
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[5:]), ("anything",))
    out["lmm"] = numbers(gj.lmm(slopes, sleep)), numbers(gj.lmm(slopes, sleep, devices=mesh))
    Z, last = Y + x[:, None], jax.devices()[6:]
    batches = [
        gj.batch("y ~ x + (1 | g)", frame, "gaussian", responses=Z, chunk=12, devices=d)
        for d in (None, last)
    ]
    out["batch"] = [
        np.column_stack([b.loglik, b.params, b.bse, b.verdict == "ok"]).astype(float).tolist()
        for b in batches
    ]
    orange = gj.datasets.load("Orange")
    out["curve"] = [
        numbers(gj.nlmm("circumference ~ SSlogis(age, Asym, xmid, scal)", orange,
                        random="Asym ~ 1 | Tree", devices=d)) for d in (None, 3)
    ]
    crossed = {"y": frame["y"], "x": x, "a": g % 5, "b": np.arange(U * n) % 7}
    out["crossed"] = error(gj.glmm, "y ~ x + (1 | a) + (1 | b)", crossed, devices=2)
    out["too many"] = [
        error(gj.glmm, CBPP, cbpp, devices=9),
        error(gj.batch, "y ~ x + (1 | g)", frame, responses=Y, devices=9),
    ]

    model, data, params = gj.build("y ~ x + (1 | g)", frame, "binomial")
    out["32 bits"] = error(gj.distribute, data)
    jax.config.update("jax_enable_x64", True)
    placed = gj.distribute(data, 8)
    out["shards"] = sorted({len(v.sharding.device_set) for v in jax.tree.leaves(placed)})
    out["units"] = [gj.marginal(params, d, model).tolist() for d in (data, placed)]

    def core(data, *integrator):
        run = jax.jit(jax.value_and_grad(lambda p, d: gj.marginal_loglik(p, d, model, *integrator)))
        run = run.lower(params, data).compile()
        value, g = run(params, data)
        words = re.findall(r" (all-[a-z]+|collective-[a-z]+|reduce-scatter)", run.as_text())
        return [float(value), *g.beta.tolist(), *g.theta.tolist()], sorted(set(words))

    def both(*integrator):
        return core(data, *integrator), core(placed, *integrator)

    out["core"] = both()
    out["traced"] = error(jax.jit(lambda d: gj.distribute(d, 8)), data)
    fits = [gj.estimate(model, d, start=params) for d in (data, placed)]
    out["estimate"] = [[*e.beta.tolist(), *e.theta.tolist()] for e in fits]
    _approximate.NODE_BUDGET = 16 * n * 3
    out["chunks"] = both(gj.AGQ(3))
    json.dump(out, sys.stdout)
"""


@pytest.fixture(scope="module")
def found():
    """What the process with eight devices printed."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT)],
        capture_output=True, text=True, env=environment, timeout=540,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("what", ["laplace", "ranef", "saved", "agq", "permuted", "lmm", "batch"])
def test_several_devices_give_what_one_gives(found, what):
    one, several = found[what]
    assert np.isfinite(one).all()
    np.testing.assert_allclose(several, one, rtol=1e-9, atol=1e-9)


def test_curves_lie_on_several_devices_too(found):
    one, several = found["curve"]
    np.testing.assert_allclose(several[:4], one[:4], rtol=1e-9)
    np.testing.assert_allclose(several[4:], one[4:], rtol=1e-6)


def test_all_devices_have_work(found):
    assert found["modes"][0] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found["modes"][-2:] == [[5, 6, 7], [0, 1, 2]]
    assert found["lanes"][:3] == [[0, 0]] * 3
    assert sorted(found["lanes"][3:5]) == [[6, 6], [7, 7]]


@pytest.mark.parametrize("what", ["core", "chunks"])
def test_the_core_runs_on_all_devices_and_moves_nothing_but_sums(found, what):
    (one, alone), (several, moved) = found[what]
    np.testing.assert_allclose(several, one, rtol=1e-11, atol=1e-11)
    assert (alone, moved) == ([], ["all-reduce"])
    assert found["shards"] == [8]


def test_units_that_were_added_integrate_to_one(found):
    one, several = found["units"]
    np.testing.assert_allclose(several[: len(one)], one, rtol=1e-12)
    assert len(one) == 29 and several[29:] == [0.0] * 3


def test_one_unit_cannot_be_shared(found):
    assert found["crossed"].startswith("NotSupportedError: all rows are one unit")


def test_data_that_are_traced_cannot_be_placed(found):
    assert found["traced"].startswith("DataError: distribute places arrays on devices")


def test_estimates_of_distributed_data_are_those_of_one_device(found):
    one, several = found["estimate"]
    np.testing.assert_allclose(several, one, rtol=1e-9)


def test_data_are_not_truncated(found):
    assert found["32 bits"].startswith("PrecisionError")


def test_more_devices_than_there_are(found):
    for text in found["too many"]:
        assert text.startswith("DataError: devices=9, but there are 8")


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (0, "a number of 1 or more"),
        (True, "not True"),
        ("cpu", "not 'cpu'"),
        ([], "a list of JAX devices"),
        ([0], "a list of JAX devices"),
        ("twice", "names a device twice"),
        ("table", "'a', 'b'"),
    ],
)
def test_what_is_no_device(devices, message):
    [first] = jax.devices()
    devices = {
        "twice": [first, first],
        "table": Mesh(np.asarray([[first]]), ("a", "b")),
    }.get(devices, devices) if isinstance(devices, str) else devices  # fmt: skip
    with pytest.raises(gj.DataError, match=message):
        list_devices(devices)


def test_methods_that_are_no_sum_over_units_refuse():
    with pytest.raises(gj.NotSupportedError, match="devices= is for"):
        gj.glmm(CBPP, gj.datasets.load("cbpp"), method="pql", devices=1)


def test_padding_copies_a_unit_without_its_weight():
    _, data, _ = gj.build(CBPP, gj.datasets.load("cbpp"), "binomial")
    [bucket] = jax.tree.map(np.asarray, data.buckets)
    more = pad_units(bucket, 4)
    assert len(bucket.weight) == 15 and len(more.weight) == 16
    np.testing.assert_array_equal(more.X[15], bucket.X[0])
    assert (more.weight[15] == 0).all() and (more.Z[0][15] == 0).all()
    assert jax.tree.all(jax.tree.map(lambda a, b: (a[:15] == b).all(), more, bucket))
