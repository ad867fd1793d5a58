"""Saved and loaded: the same in every respect, and nothing unexpected gets in."""

import contextlib
import json
import pickle
import zipfile
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import glmmjax as gj
from glmmjax import families
from glmmjax.infer import _archive

FITS = "cbpp_fit cbpp_agq_fit sleepstudy_fit owls_fit pastes_fit singular_fit".split()


@pytest.fixture(params=FITS)
def pair(request, tmp_path):
    """(a fit, the same after a trip through a file)."""
    fit = request.getfixturevalue(request.param)
    fit.save(tmp_path / "fit.npz")
    return fit, gj.load(tmp_path / "fit.npz")


def test_everything_reads_the_same(pair):
    fit, loaded = pair
    assert loaded.settings == fit.settings and loaded.model == fit.model
    assert str(loaded.summary()) == str(fit.summary()) and repr(loaded) == repr(fit)
    for name in ("params", "bse", "varcorr"):
        assert getattr(loaded, name).equals(getattr(fit, name))
    assert loaded.tidy().equals(fit.tidy()) and loaded.glance().equals(fit.glance())
    assert loaded.ranef(se=True).equals(fit.ranef(se=True))
    assert loaded.augment().equals(fit.augment())
    assert_array_equal(loaded.simulate(2, seed=3), fit.simulate(2, seed=3))
    assert loaded.ngroups == fit.ngroups and loaded.loglik == fit.loglik


def test_refit_continues_from_the_file(pair):
    fit, loaded = pair
    y = np.array(fit.design.y)
    if y.ndim == 2:
        y = y[:, 0]
    y[:2] = y[1::-1]  # another response of the same kind
    first, second = fit.refit(y), loaded.refit(y)
    assert_allclose(second.loglik, first.loglik, rtol=1e-12)
    assert_allclose(second.params, first.params, rtol=1e-9)


def test_predicts_new_data(cbpp, cbpp_fit, tmp_path):
    cbpp_fit.save(tmp_path / "fit")  # the suffix is added, and found again
    loaded = gj.load(tmp_path / "fit")
    new = cbpp.iloc[[3, 9, 40]]
    assert_array_equal(loaded.predict(new), cbpp_fit.predict(new))
    with pytest.raises(gj.DataError):
        loaded.predict(new.assign(herd="nobody"))


def test_learned_transforms_survive(sleepstudy, tmp_path):
    fit = gj.lmm("Reaction ~ scale(Days) + (1 | Subject)", sleepstudy)
    fit.save(tmp_path / "fit.npz")
    new = sleepstudy.iloc[:3].assign(Days=[20.0, 30.0, 40.0])
    assert_array_equal(gj.load(tmp_path / "fit.npz").predict(new), fit.predict(new))


def test_weights_notes_and_odd_names_survive(tmp_path, rng):
    g = np.repeat(["é", "a:b", "|", "[T.x]", "名"], 6)
    y = rng.normal(size=30) + 2 * np.repeat(rng.normal(size=5), 6)
    y[3] = np.nan
    data = {"y": y, "g g": g, "w": rng.uniform(1, 2, 30)}
    with pytest.warns(gj.DataWarning):
        fit = gj.lmm("y ~ 1 + (1 | Q('g g'))", data, weights="w", weights_kind="precision")
    fit.save(tmp_path / "fit.npz")
    loaded = gj.load(tmp_path / "fit.npz")
    assert loaded.design.notes == fit.design.notes != ()
    assert loaded.settings.weights_kind == "precision"
    assert loaded.ranef().equals(fit.ranef())
    assert_array_equal(loaded.design.rows, fit.design.rows)


class Odd(families.AbstractLink):
    """A logit under another name."""

    name: ClassVar[str] = "odd"

    def __call__(self, mu):
        return families.links.get("logit")(mu)

    def inverse(self, eta):
        return families.links.get("logit").inverse(eta)


def test_a_family_of_the_users_own_is_refused(cbpp_fit, tmp_path):
    family = families.Binomial(link=Odd())
    fit = replace(cbpp_fit, settings=replace(cbpp_fit.settings, family=family))
    with pytest.raises(gj.NotSupportedError, match="not one of glmmjax's own"):
        fit.save(tmp_path / "fit.npz")
    assert not list(tmp_path.iterdir())


# ---- hostile and damaged files --------------------------------------------------------------


@pytest.fixture
def parts(cbpp_fit, tmp_path):
    """(header, arrays, path) of a good file, to be spoiled and written again."""
    path = tmp_path / "fit.npz"
    cbpp_fit.save(path)
    header, arrays = _archive.read_archive(path)
    return header, dict(arrays), path


def refused(path, match=""):
    with pytest.raises(gj.DataError, match=match or None):
        gj.load(path)


def set_in(header, route, value):
    *way, last = route
    for key in way:
        header = header[key]
    header[last] = value


SPOILED_HEADERS = [
    (["schema"], "something else", "no glmmjax fit"),
    (["version"], 99, "99"),
    (["family", "name"], "nonsense", "unknown family"),
    (["family", "name"], "poisson", ""),
    (["family", "link"], "nonsense", "unknown link"),
    (["family"], [], ""),
    (["settings", "formula"], "y ~ I(__import__('os').system('true')) + (1 | g)", "refused"),
    (["settings", "formula"], "a ~ b + (1 | herd)", "another formula"),
    (["settings", "formula"], 7, "no text"),
    (["settings", "ziformula"], "~ exec('1')", "refused"),
    (["method", "name"], "nonsense", "unknown method"),
    (["method", "reml"], "many", "reml"),
    (["settings", "weights_kind"], "nonsense", "weights_kind"),
    (["design", "recipe", "version"], 99, "version"),
    (["design", "recipe", "formula"], "y ~ __import__('os') + (1 | g)", ""),
    (["design", "recipe", "terms"], [], ""),
    (["design", "recipe", "predictors"], [], ""),
    (["design", "recipe", "state"], None, ""),
    (["design", "notes"], 3, ""),
    (["estimate", "loglik"], "high", ""),
    (["estimate"], None, ""),
    (["seconds"], None, ""),
]


@pytest.mark.parametrize(("route", "value", "match"), SPOILED_HEADERS)
def test_spoiled_headers_are_refused(parts, route, value, match):
    header, arrays, path = parts
    set_in(header, route, value)
    _archive.write_archive(path, header, arrays)
    refused(path, match)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("y", lambda a: a[:-1], ""),
        ("y", lambda a: -a, "negative"),
        ("y", lambda a: a[:, ::-1], "more successes than trials"),
        ("y", lambda a: a * np.nan, "not finite"),
        ("X.0", lambda a: a[:, 1:], "X.0"),
        ("X.0", lambda a: a / 0, "not finite"),
        ("codes.0", lambda a: a + 1, "level that is not there"),
        ("codes.0", lambda a: a - 1, "level that is not there"),
        ("codes.0", lambda a: a.astype(float), "codes.0"),
        ("weight", lambda a: -a, "negative"),
        ("beta", lambda a: a[:2], "beta"),
        ("theta", lambda a: np.r_[a, a], "theta"),
        ("cov", lambda a: a[1:], "cov"),
        ("pinned", lambda a: a.astype(float), "pinned"),
        ("mode.u.0", lambda a: a[:, :0], "mode.u.0"),
        ("mode.b", lambda a: np.zeros(3), "mode.b"),
        ("start.T", lambda a: a * np.nan, "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_spoiled_arrays_are_refused(parts, name, change, match):
    header, arrays, path = parts
    arrays[name] = change(arrays[name])
    _archive.write_archive(path, header, arrays)
    refused(path, match)


def test_missing_arrays_are_refused(parts):
    header, arrays, path = parts
    for name in arrays:
        _archive.write_archive(path, header, {k: v for k, v in arrays.items() if k != name})
        refused(path)


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_refused_and_not_run(parts, tmp_path):
    header, arrays, path = parts
    touched = tmp_path / "touched"
    path.write_bytes(pickle.dumps(Bomb(touched)))
    refused(path, "no .npz archive")
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays["y"] = np.array([Bomb(touched)], object)
    np.savez(path, header=text, **arrays)
    refused(path, "object")
    assert not touched.exists()


def test_what_is_no_archive_is_refused(parts, tmp_path):
    path = parts[2]
    good = path.read_bytes()
    for bad in (b"", b"hello", good[: len(good) // 2], b"\x93NUMPY" + good[6:]):
        path.write_bytes(bad)
        refused(path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    refused(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError):
        gj.load(tmp_path / "nowhere.npz")


def test_flipped_bytes_never_do_anything_but_refuse(parts, rng):
    path = parts[2]
    good = path.read_bytes()
    for _ in range(60):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), 3):
            bad[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(bad))
        with contextlib.suppress(gj.DataError):
            gj.load(path)  # the bytes that changed may be such as nobody reads


def member(path, name, content):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)


def test_other_members_are_refused(parts):
    path = parts[2]
    member(path, "code.py", "print()")
    refused(path, "no array")


def test_a_lying_size_is_refused(parts):
    # A header of a few bytes asks for 8 TB.
    path = parts[2]
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header = header.ljust(117) + b"\n"
    member(path, "big.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(path, "another size")


def test_caps(parts, monkeypatch):
    path = parts[2]
    for name, cap, match in (
        ("MAX_ARRAYS", 3, "too many arrays"),
        ("MAX_TOTAL", 100, "would fill"),
        ("MAX_HEADER", 100, "header is too large"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(_archive, name, cap)
            refused(path, match)


@pytest.mark.parametrize("text", [b"not json", b"[1, 2]", b"[" * 100_000, b"\xff\xfe"])
def test_headers_that_are_no_object_are_refused(parts, text):
    _, arrays, path = parts
    np.savez(path, header=np.frombuffer(text, np.uint8), **arrays)
    refused(path, "header")
