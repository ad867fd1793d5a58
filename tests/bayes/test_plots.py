"""Pictures of posteriors, read back from the Axes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.posteriors import CBPP, PRIORS

import glmmjax as gj
from glmmjax import DataError, NotSupportedError
from glmmjax.plots._posterior import _edges


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_trace_has_a_line_a_chain(slopes):
    axes = gj.plot.trace(slopes)
    assert [ax.get_title() for ax in axes] == list(slopes.table.index)
    lines = axes[1].get_lines()
    days = slopes.posterior["b"].sel(coef="Days").values
    np.testing.assert_array_equal([line.get_ydata() for line in lines], days)


def test_a_trace_of_an_approximation_is_that_of_its_search(cbpp):
    fit = gj.bayes(CBPP, cbpp, "binomial", priors=PRIORS, method=gj.Pathfinder(paths=2), draws=2000)
    log_prob, elbo = gj.plot.trace(fit)
    assert (log_prob.get_title(), elbo.get_title()) == ("log_prob", "elbo")
    first = fit.trace[fit.trace["path"] == 0]
    assert len(elbo.get_lines()) == 2
    np.testing.assert_array_equal(elbo.get_lines()[0].get_ydata(), first["elbo"])


def segments(ax):
    """Ends of the thin and of the thick lines."""
    return [np.array([s[:, 0] for s in lines.get_segments()]) for lines in ax.collections[:2]]


def test_a_forest_of_parameters(fit):
    ax = gj.plot.forest(fit, level=0.8)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == list(fit.table.index)
    b = fit.posterior["b"].values.reshape(300, 4)
    thin, thick = segments(ax)
    np.testing.assert_allclose(thin[:4].T, np.quantile(b, (0.1, 0.9), axis=0), rtol=1e-12)
    np.testing.assert_allclose(thick[:4].T, np.quantile(b, (0.25, 0.75), axis=0), rtol=1e-12)
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), fit.table["q50"], rtol=1e-12)


def test_a_forest_of_effects(slopes):
    ax = gj.plot.forest(slopes, ["309: Days", "308: Intercept"], group="Subject")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["309: Days", "308: Intercept"]
    own = slopes.posterior["r_Subject"].sel(level="309", effect="Days").values
    np.testing.assert_allclose(segments(ax)[0][0], np.quantile(own, (0.05, 0.95)), rtol=1e-12)


def test_densities_of_a_continuous_response(slopes):
    ax = gj.plot.ppc(slopes, draws=20)
    *predicted, observed = ax.get_lines()
    assert len(predicted) == 20 and observed.get_label() == "observed"
    x, density = observed.get_data()
    np.testing.assert_allclose(np.trapezoid(density, x), 1.0, atol=0.05)
    mean = np.trapezoid(x * density, x)
    assert abs(mean - slopes.design.y.mean()) < 5
    assert ax.get_xlabel() == "Reaction"


def test_a_histogram_of_proportions(fit, cbpp):
    ax = gj.plot.ppc(fit)
    heights = [bar.get_height() for bar in ax.patches]
    share = cbpp["incidence"] / cbpp["size"]
    expected = np.histogram(share, np.linspace(-0.025, 1.025, 22))[0]
    np.testing.assert_array_equal(heights, expected)
    (middle,) = (line.get_ydata() for line in ax.get_lines() if len(line.get_xdata()) == 21)
    assert abs(middle.sum() - 56) < 6


def test_bars_of_counts():
    counts = np.array([0.0, 3.0, 7.0])
    np.testing.assert_array_equal(_edges("count", counts, counts[None]), np.arange(-0.5, 8))
    wide = _edges("count", 100 * counts, counts[None])
    assert wide[0] == -0.5 and wide[-1] > 700 and len(wide) <= 41
    both = np.array([0.0, 1.0])
    np.testing.assert_array_equal(_edges("binomial", both, both[None]), [-0.5, 0.5, 1.5])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda f: gj.plot.forest(f, ["nothing"]), DataError, "no 'nothing' among 'Intercept'"),
        (lambda f: gj.plot.forest(f, "Intercept"), DataError, "names is a list"),
        (lambda f: gj.plot.forest(f, group="g"), DataError, "no grouping factor; it has herd"),
        (lambda f: gj.plot.forest(f, level=0.2), DataError, "level is a number"),
        (lambda f: gj.plot.ppc(f, draws=0), DataError, "draws is a whole number"),
        (lambda f: gj.plot.ppc(f.design), NotSupportedError, "a fit by gj.bayes, not a Design"),
        (lambda f: gj.plot.forest(3), NotSupportedError, "not a int"),
        (lambda f: gj.plot.trace(3), NotSupportedError, "method='int' has no trace"),
        (lambda f: gj.plot.curves(f), NotSupportedError, "draws a mixed model"),
    ],
)
def test_what_is_refused(fit, call, error, text):
    with pytest.raises(error, match=text):
        call(fit)
