"""What `print` and `summary()` say, as text and as HTML."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import glmmjax as gj
from glmmjax.infer._report import Lines, Summary, Table, numbers, p_value


def test_short_is_a_few_lines(cbpp_fit, capsys):
    print(cbpp_fit)
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 12
    for word in ("binomial", "logit", "Laplace", "herd", "-92.0263", "0.6423", "period[T.4]"):
        assert word in text


def test_short_says_what_is_wrong(singular_fit):
    assert "singular: The fit is singular" in repr(singular_fit)


def test_summary_of_a_glmm(cbpp_fit):
    text = str(cbpp_fit.summary())
    for word in (
        "Formula: cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "Family: binomial, link: logit",
        "maximum likelihood (Laplace approximation)",
        "56 rows; herd: 15 levels",
        "log-likelihood -92.0263 (5 parameters), AIC 194.0526, BIC 204.1793",
        "Random effects",
        "Fixed effects",
        "ok: The search converged",
    ):
        assert word in text
    row = next(line for line in text.splitlines() if "period[T.2]" in line)
    assert row.split() == ["period[T.2]", "-0.9923", "0.3066", "-3.236", "0.0012"]
    assert "Dispersion" not in text and "REML" not in text and "Notes" not in text


def test_summary_names_the_nodes(cbpp_agq_fit):
    assert "adaptive quadrature with 25 nodes" in str(cbpp_agq_fit.summary())


def test_summary_of_a_reml_fit_warns_against_comparing(sleepstudy_fit, sleepstudy_ml_fit):
    text = str(sleepstudy_fit.summary())
    assert "REML (exact)" in text and "refit with reml=False" in text
    row = next(line for line in text.splitlines() if line.split()[:2] == ["Subject", "Days"])
    assert row.split()[-2:] == ["5.922", "0.07"]
    assert "Dispersion: 25.5918 (residual sd)" in text
    assert "reml" not in str(sleepstudy_ml_fit.summary()).lower()


def test_summary_of_several_components(owls_fit):
    text = str(owls_fit.summary())
    assert "zero-inflated nbinom2, link: log" in text
    assert "Zero-inflation model (logit scale)" in text and "Zero inflation: ~ 1" in text
    assert "Dispersion: 2.22595 (phi, variance mu (1 + mu/phi))" in text
    assert "zi:" not in text


def test_notes_and_weights_are_told(cbpp_fit):
    design = replace(cbpp_fit.design, notes=("dropped 3 rows",), weight=np.full(cbpp_fit.nobs, 2.0))
    text = str(replace(cbpp_fit, design=design).summary())
    assert "Notes\n  dropped 3 rows" in text
    assert "Weights: frequency" in text and "total 112" in text


def test_precision_weights_are_named(sleepstudy):
    frame = sleepstudy.assign(w=np.linspace(0.5, 2.0, 180))
    fit = gj.lmm("Reaction ~ Days + (1 | Subject)", frame, weights="w", weights_kind="precision")
    assert "Weights: precision" in str(fit.summary())


class Balanced(HTMLParser):
    """Collects text; every tag that opens must close, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.mark.parametrize("name", ["cbpp_fit", "sleepstudy_fit", "owls_fit", "singular_fit"])
def test_html_says_the_same(request, name):
    fit = request.getfixturevalue(name)
    parser = Balanced()
    parser.feed(fit._repr_html_())
    assert parser.open == []
    text = str(fit.summary())
    assert all(piece in text for piece in parser.text)


def test_html_escapes_names():
    evil = "<script>alert(1)</script>"
    report = Summary(evil, (Lines(evil, (evil,)), Table(evil, (evil, "x"), ((evil, "&"),))))
    html = report._repr_html_()
    assert "<script" not in html and html.count("&lt;script&gt;") == 6 and "&amp;" in html


def test_terminal_gets_no_control_characters():
    report = Summary("t", (Table("", ("a", "b"), (("\x1b[31mred\x07", "1"),)), Lines("", ("\r",))))
    assert "\x1b" not in str(report) and "\x07" not in str(report) and "\r" not in str(report)
    assert "é" in str(Summary("t", (Lines("", ("é",)),)))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([251.4051, 10.46729], ["251.41", "10.47"]),
        ([0.0, -0.00123456], ["0.000000", "-0.001235"]),
        ([float("nan"), 2.0], ["", "2.000"]),
        ([float("inf"), 2.0], ["inf", "2.000"]),
        ([1e9, 1.0], ["1e+09", "1"]),
        ([1.234567e-7], ["1.235e-07"]),
        ([0.158873, 585900.2], ["0.1589", "5.859e+05"]),
        ([], []),
    ],
)
def test_numbers_of_a_column(values, shown):
    assert numbers(values) == shown


def test_p_values():
    assert [p_value(p) for p in (0.5, 0.04567, 3e-9, float("nan"))] == [
        "0.5000", "0.0457", "<0.0001", "",
    ]  # fmt: skip
