"""Folders of parts: what is found again is what would be fitted, and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import glmmjax as gj
from glmmjax.infer._archive import read_archive, write_archive
from glmmjax.lanes import _folder

from .conftest import predictor

FORMULA = "cbind(s, n - s) ~ x + (1 | group)"


@pytest.fixture(scope="module")
def data(frame):
    return frame.assign(n=8.0)


@pytest.fixture(scope="module")
def successes(frame):
    p = 1 / (1 + np.exp(-predictor(frame, 3)))
    return np.random.default_rng(20).binomial(8, p).astype(float)


@pytest.fixture(scope="module")
def fresh(data, successes):
    return gj.batch(FORMULA, data, responses=successes)


def parts(folder):
    return sorted(folder.glob("part-*.npz"))


@pytest.fixture
def folder(tmp_path, data, successes):
    gj.batch(FORMULA, data, responses=successes, out=tmp_path / "parts", chunk=2)
    return tmp_path / "parts"


def again(folder, data, successes, formula=FORMULA, **arguments):
    call = {"responses": successes, "out": folder, "chunk": 2} | arguments
    return gj.batch(formula, data, **call)


def test_other_columns_of_the_left_side_are_other_data(folder, data, successes, fresh):
    np.testing.assert_array_equal(again(folder, data, successes).loglik, fresh_in(folder))
    np.testing.assert_allclose(again(folder, data, successes).loglik, fresh.loglik, atol=1e-9)
    with pytest.raises(gj.DataError, match="empty folder"):
        again(folder, data.assign(n=13.0), successes)


def fresh_in(folder):
    """The log-likelihoods that the files hold."""
    return np.concatenate([np.load(f)["loglik"] for f in parts(folder)])


def test_other_trials_are_other_data(tmp_path, data, successes):
    call = {"formula": "s ~ x + (1 | group)", "trials": data["n"].to_numpy()}
    again(tmp_path, data, successes / 8, **call)
    call["trials"] = 10 * call["trials"]
    with pytest.raises(gj.DataError, match="empty folder"):
        again(tmp_path, data, successes / 8, **call)


def test_other_weights_of_a_lane_are_other_data(folder, data, successes):
    with pytest.raises(gj.DataError, match="empty folder"):
        again(folder, data, successes, weights=np.full(successes.shape, 2.0))


def test_threads_do_not_cut_a_folder(tmp_path, frame):
    y = predictor(frame, 150) + np.random.default_rng(25).normal(size=(72, 150))
    call = {"responses": y, "out": tmp_path / "parts", "chunk": 100}
    two = gj.batch("y ~ x + (1 | group)", frame, "gaussian", threads=2, **call)
    assert [f.stem[-6:] for f in parts(tmp_path / "parts")] == ["000100", "000050"]
    stamps = [f.stat().st_mtime_ns for f in parts(tmp_path / "parts")]
    three = gj.batch("y ~ x + (1 | group)", frame, "gaussian", threads=3, **call)
    assert [f.stat().st_mtime_ns for f in parts(tmp_path / "parts")] == stamps
    np.testing.assert_array_equal(two.loglik, three.loglik)


OTHER = {
    "chunk 2, not 1": {"chunk": 1},
    "lanes 3, not 2": {"responses": np.ones((72, 2))},
    "family 'binomial', not 'poisson'": {
        "formula": "s ~ x + (1 | group)", "family": "poisson", "responses": np.eye(72)[:, :3]
    },
    "another design": {"weights": np.full(72, 2.0)},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER)
def test_a_folder_of_another_call_says_what_differs(tmp_path, data, successes, what):
    formula, first = "s ~ x + (1 | group)", (successes > 5).astype(float)
    again(tmp_path, data, first, formula)
    call = {"formula": formula} | OTHER[what]
    with pytest.raises(gj.DataError, match=f"{what}.*the same arguments.*give an empty folder"):
        again(tmp_path, data, first, **call)


def test_blocks_of_other_sizes_are_not_mixed(folder, data, successes):
    with pytest.raises(gj.DataError, match="holds a part of lanes 0 to 1, and not one of"):
        again(folder, data, (successes[:, k : k + 1] for k in range(3)))


def test_a_manifest_is_needed(folder, data, successes):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(gj.DataError, match=r"manifest\.json cannot be read"):
        again(folder, data, successes)
    (folder / "manifest.json").unlink()
    with pytest.raises(gj.DataError, match=r"without a manifest\.json"):
        again(folder, data, successes)


def cut(file):
    file.write_bytes(file.read_bytes()[:700])


def rewritten(change):
    def damage(file):
        header, arrays = read_archive(file)
        change(header, arrays)
        write_archive(file, header, arrays)

    return damage


DAMAGE = {
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "a lane less": rewritten(lambda h, a: a.update({k: v[:1] for k, v in a.items()})),
    "no reason": rewritten(lambda h, a: a["reason"].__setitem__(0, 500)),
    "no array": rewritten(lambda h, a: a.pop("se")),
    "notes": rewritten(lambda h, a: h.update(notes=5)),
    "no notes": rewritten(lambda h, a: h.pop("notes")),
    "a note too many": rewritten(lambda h, a: h.update(notes={"7": "?"})),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_part_is_fitted_again(folder, data, successes, fresh, what):
    DAMAGE[what](parts(folder)[0])
    with pytest.warns(gj.GlmmjaxWarning, match=r"part-000000000-000002\.npz is damaged.*again"):
        batch = again(folder, data, successes)
    np.testing.assert_allclose(batch.loglik, fresh.loglik, atol=1e-9)
    np.testing.assert_array_equal(again(folder, data, successes).loglik, batch.loglik)


def test_a_file_is_no_folder(tmp_path, data, successes):
    (tmp_path / "file").write_text("")
    with pytest.raises(gj.DataError, match="out= is a folder"):
        again(tmp_path / "file", data, successes)


def test_two_at_once_in_one_folder(tmp_path, data, successes, fresh, monkeypatch):
    """Two calls write the same parts at the same time, as two processes do."""
    both, write = threading.Barrier(2), _folder.write_archive

    def slow(path, header, arrays):
        both.wait(60)
        write(path, header, arrays)
        both.wait(60)

    monkeypatch.setattr(_folder, "write_archive", slow)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(again, tmp_path, data, successes, threads=1) for _ in range(2)]
        for call in calls:
            np.testing.assert_allclose(call.result().loglik, fresh.loglik, atol=1e-9)
    assert len(list(tmp_path.iterdir())) == len(parts(tmp_path)) + 1 == 3


def test_an_interrupt_gives_up_what_is_being_fitted(tmp_path, data, successes, monkeypatch):
    """Ctrl-C after the first chunk: the second, in its search by then, ends at its next call."""
    from glmmjax.lanes import _objective

    begun, gone, call = threading.Event(), [], _objective.check_stop

    def slow():
        if threading.current_thread().name.endswith("_1"):
            begun.set()
            sleep_until(stopped)
            try:
                call()
            except BaseException as error:
                gone.append(type(error).__name__)
                raise
        call()

    stopped = threading.Event()
    monkeypatch.setattr(_objective, "check_stop", slow)

    def interrupt(done, failed):
        begun.wait(60)
        threading.Timer(0.3, stopped.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"parts; the same call goes on from there"):
        again(tmp_path / "parts", data, successes, threads=2, chunk=1, progress=interrupt)
    assert gone == ["Stopped"]
    assert len(parts(tmp_path / "parts")) < 3


def sleep_until(event):
    assert event.wait(60)
