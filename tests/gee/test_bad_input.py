"""Every refusal names the trouble and the remedy; nothing becomes NaN, and nothing is reordered."""

import numpy as np
import pytest

import glmmjax as gj

RNG = np.random.default_rng(5)
N = 40


D = {
    "y": RNG.normal(size=4 * N), "x": RNG.normal(size=4 * N), "g": np.repeat(np.arange(N), 4),
    "t": np.tile(np.arange(4.0), N), "k": RNG.poisson(2.0, 4 * N).astype(float),
    "w": np.ones(4 * N), "s": np.tile(["a", "b", "c", "d"], N),
}  # fmt: skip


def frame(**changes) -> dict:
    return D | changes


TWICE = frame(t=np.where(np.arange(4 * N) == 9, 0.0, D["t"]))
LONE = frame(g=np.arange(4 * N))
BROKEN = np.array([[1.0, 0.9, 0.0, 0.0], [0.9, 1.0, 0.9, 0.0], [0, 0.9, 1, 0.9], [0, 0, 0.9, 1]])


def gee(formula="y ~ x", data=D, **options):
    return gj.gee(formula, data, **{"groups": "g", **options})


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"formula": "y ~ x + (1 | g)"}, gj.FormulaError, "may not have bars.*groups='g'"),
        ({"formula": "y ~ 0"}, gj.FormulaError, "no coefficients"),
        ({"groups": None}, gj.DataError, "groups= is needed"),
        ({"groups": "gg"}, gj.DataError, "no column 'gg'"),
        ({"groups": np.arange(3)}, gj.DataError, "groups= has 3 values"),
        ({"groups": np.zeros(4 * N)}, gj.DataError, "one cluster only"),
        ({"corr": "ar1"}, gj.DataError, 'time="rows"'),
        ({"corr": "unstructured"}, gj.DataError, 'time="rows"'),
        ({"corr": np.eye(4)}, gj.DataError, 'time="rows"'),
        ({"corr": "ar2", "time": "t"}, gj.DataError, "unknown corr='ar2'"),
        ({"corr": "ar1", "time": "s"}, gj.DataError, "holds text"),
        ({"corr": "ar1", "time": "tt"}, gj.DataError, "no column 'tt'"),
        ({"corr": "ar1", "time": "t", "data": TWICE}, gj.DataError, "group 2 at time 0.*8 and 9"),
        ({"time": "t", "data": TWICE}, gj.DataError, "same group and time"),
        ({"corr": "ar1", "time": "t", "data": LONE}, gj.DataError, "two or more rows"),
        ({"corr": "ar1", "time": "t", "m": 2}, gj.DataError, "belongs to corr=\"stationary\""),
        ({"corr": "stationary", "time": "t", "m": 0}, gj.DataError, "1 or more"),
        ({"corr": "stationary", "time": "t", "m": 4}, gj.DataError, "use m=3"),
        ({"corr": "stationary", "time": D["t"] ** 2 * 0.7 + D["t"]}, gj.DataError, "whole steps"),
        (
            {"corr": "unstructured", "time": np.arange(4.0 * N)}, gj.DataError,
            "160 distinct times but 40 groups",
        ),
        ({"corr": np.eye(3), "time": "t"}, gj.DataError, "must be 4 x 4"),
        ({"corr": BROKEN, "time": "t"}, gj.DataError, "not positive definite"),
        ({"corr": BROKEN + np.triu(BROKEN), "time": "t"}, gj.DataError, "not symmetric"),
        ({"corr": 2 * np.eye(4), "time": "t"}, gj.DataError, "diagonal that is not 1"),
        ({"weights": -D["w"]}, gj.DataError, "weights are negative"),
        ({"weights": 0 * D["w"]}, gj.DataError, "all weights are zero"),
        ({"weights": "w", "convention": "gee"}, gj.NotSupportedError, "has no weights"),
        ({"convention": "sas"}, gj.DataError, "convention="),
        ({"cov": "hc3"}, gj.DataError, "unknown covariance 'hc3'"),
        ({"scale": -1}, gj.DataError, "positive number"),
        ({"start": {"z": 1.0}}, gj.DataError, "start names 'z'"),
        ({"options": {"steps": 3}}, gj.DataError, "options= knows tol, max_iterations"),
        ({"family": "nbinom2", "formula": "k ~ x"}, gj.NotSupportedError, "quasipoisson"),
        ({"family": "nbinom1", "formula": "k ~ x"}, gj.NotSupportedError, "quasipoisson"),
        ({"family": "poisson", "formula": "I(0 * k) ~ x"}, gj.DataError, "every value is 0"),
        ({"family": "ordinal", "formula": "s ~ x"}, gj.DataError, "no order of its own"),
        ({"family": "ordinal", "formula": "y ~ x"}, gj.DataError, "not whole"),
        ({"family": "ordinal", "link": "log"}, gj.NotSupportedError, "logit link only"),
    ],
)  # fmt: skip
def test_refused(options, error, said):
    with pytest.raises(error, match=said):
        gee(**options)


def test_zero_inflation_is_refused():
    from glmmjax import families

    zero = families.ZeroInflated(families.Poisson())  # pyright: ignore[reportCallIssue]
    with pytest.raises(gj.NotSupportedError, match="quasipoisson"):
        gee("k ~ x", family=zero)


def test_steps_that_are_not_one_are_refused_in_the_convention_of_gee():
    d = frame(t=2.0 ** D["t"])
    with pytest.raises(gj.NotSupportedError, match="one step apart"):
        gee(data=d, corr="ar1", time="t", convention="gee")


@pytest.mark.parametrize("column", ["g", "t"])
def test_missing_groups_and_times_are_dropped_aloud_or_refused(column):
    values = D[column].astype(float).copy()
    values[[3, 17]] = np.nan
    d = frame(**{column: values})
    with pytest.warns(
        gj.DataWarning, match=rf"dropped 2 rows with missing values in {column} \(2\)"
    ):
        fit = gee(data=d, corr="ar1", time="t")
    assert fit.nobs == 4 * N - 2 and not {3, 17} & set(fit.design.rows)
    with pytest.raises(gj.DataError, match=f"missing values in {column}"):
        gee(data=d, corr="ar1", time="t", missing="raise")


def test_negative_correlation_beyond_the_limit_is_a_failed_fit():
    """Pairs of opposite residuals, and one cluster of eight that cannot be so."""
    e = np.repeat(D["y"][:76], 2) * np.tile([1.0, -1.0], 76)
    d = frame(y=np.append(e, D["y"][:8]), g=np.append(np.repeat(np.arange(76), 2), np.full(8, 99)))
    with pytest.warns(gj.ConvergenceWarning, match="of 8 rows allows -0.1429 < alpha"):
        fit = gee(data=d)
    assert fit.diagnostics.verdict == "failed"
    assert gee(data=d, corr="independence").converged


def test_clusters_of_zeros_do_no_harm():
    k = D["k"].copy()
    k[:20] = 0.0
    fit = gee("k ~ x", frame(k=k), family="poisson")
    assert fit.converged and np.isfinite(fit.bse).all()


def test_counts_that_are_not_whole():
    d = frame(k=D["k"] + 0.5)
    with pytest.warns(gj.DataWarning, match="not a whole number"):
        one = gee("k ~ x", d, family="poisson")
    two = gee("k ~ x", d, family="quasipoisson")  # no warning
    assert np.allclose(one.params, two.params, rtol=1e-12)


def test_few_clusters_are_warned_about():
    few = {"g": np.arange(4 * N) % 12}
    with pytest.warns(gj.ConvergenceWarning, match="With 12 clusters"):
        assert gee(data=frame(**few)).diagnostics.verdict == "suspect"
    with pytest.warns(gj.ConvergenceWarning, match="2 clusters for 2 coefficients"):
        gee(data=frame(g=np.arange(4 * N) % 2))


def test_a_cluster_that_alone_decides_a_coefficient_has_no_corrected_covariance():
    only = (D["g"] == 3).astype(float)
    fit = gee("y ~ x + only", frame(only=only), corr="independence")
    assert np.isfinite(fit.bse).all()
    with pytest.raises(gj.NotSupportedError, match="leverage 1"):
        fit.cov_params("md")


def test_separation_is_named():
    z = (D["x"] > 0).astype(float)
    with pytest.warns(gj.ConvergenceWarning, match="separation"):
        fit = gee("z ~ x", frame(z=z), family="binomial", corr="independence")
    assert fit.diagnostics.verdict in ("failed", "suspect")
