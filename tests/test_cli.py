"""The command line: exit codes, streams, CSV to the letter, and a fit kept and used again."""

import csv
import gzip
import io
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import glmmjax as gj
from glmmjax.cli import _progress as progress
from glmmjax.cli import main
from glmmjax.cli._read import convert, read_csv
from glmmjax.cli._write import write_csv

ROOT = Path(__file__).resolve().parent.parent
CBPP = str(ROOT / "glmmjax" / "datasets" / "data" / "cbpp.csv.gz")
FORMULA = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)"
MODEL = (CBPP, FORMULA, "--family", "binomial")
LOGLIK = -184.05256373 / 2


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No progress lines, however slow the machine is today."""
    monkeypatch.setattr(progress, "PATIENCE", 1e6)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> str:
    """The file of a fit of cbpp."""
    path = str(tmp_path_factory.mktemp("fits") / "cbpp.npz")
    assert main(["fit", *MODEL, "--out", path, "--format", "csv"]) == 0
    return path


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---- fit ----------------------------------------------------------------------------------------


def test_fit_prints_the_summary_on_stdout_and_nothing_else(capsys):
    assert main(["fit", *MODEL]) == 0
    out, err = capsys.readouterr()
    assert "-92.0263" in out and "herd" in out and "0.6423" in out
    assert "C(period)[T.4]" in out and err == ""


def test_fit_as_json_has_the_published_numbers(capsys):
    assert main(["fit", *MODEL, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loglik"] == pytest.approx(LOGLIK, abs=1e-7)
    assert found["verdict"] == "ok" and found["converged"] is True
    assert found["ngroups"] == {"herd": 15} and found["nobs"] == 56
    rows = {row["term"]: row for row in found["parameters"]}
    assert rows["Intercept"]["estimate"] == pytest.approx(-1.39853214, abs=1e-7)
    assert rows["sd:Intercept"]["estimate"] == pytest.approx(0.64226145, abs=1e-7)
    assert rows["sd:Intercept"]["statistic"] is None  # NaN is no JSON


def test_fit_as_csv_keeps_every_digit(capsys):
    assert main(["fit", *MODEL, "--format", "csv"]) == 0
    rows = table(capsys.readouterr().out)
    fit = gj.glmm(FORMULA, gj.datasets.load("cbpp", "dict") | period(), "binomial")
    assert [row["term"] for row in rows[:4]] == list(fit.params.index)
    assert [float(row["estimate"]) for row in rows[:4]] == pytest.approx(
        fit.params.tolist(), rel=1e-12
    )
    assert rows[4]["group"] == "herd" and rows[4]["statistic"] == ""


def period() -> dict[str, np.ndarray]:
    return {"period": gj.datasets.load("cbpp")["period"].astype(int).to_numpy()}


def test_as_factor_and_proportions_say_the_same_as_C_and_counts(capsys, tmp_path):
    rows = gzip.decompress(Path(CBPP).read_bytes()).decode().splitlines()
    lines = [rows[0] + ",p"]
    for row in rows[1:]:
        _, incidence, size, _ = row.split(",")
        lines.append(f"{row},{int(incidence) / int(size)!r}")
    path = write(tmp_path / "p.csv", "\n".join(lines) + "\n")
    argv = ["fit", path, "p ~ period + (1 | herd)", "--family", "binomial", "--trials", "size"]
    assert main([*argv, "--as-factor", "period", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loglik"] == pytest.approx(LOGLIK, abs=1e-7)
    assert [row["term"] for row in found["parameters"]][1] == "period[T.2]"


def test_a_fit_that_does_not_converge_exits_3_and_is_written(capsys, tmp_path):
    out = tmp_path / "short.npz"
    argv = ["fit", CBPP, "incidence ~ period + (1 | herd)", "--family", "poisson"]
    argv += ["--max-evaluations", "1", "--format", "json", "--out", str(out)]
    assert main(argv) == 3
    text, err = capsys.readouterr()
    assert json.loads(text)["verdict"] == "failed"
    assert "did not converge" in err and out.is_file()


def test_timings_are_one_line_of_json_on_stderr(capsys):
    assert main(["fit", *MODEL, "--timings"]) == 0
    seconds = json.loads(capsys.readouterr().err.splitlines()[-1])["seconds"]
    assert {"read", "import", "formula", "fit", "write", "total"} <= set(seconds)
    assert seconds["total"] >= seconds["fit"] >= 0


def test_dropped_rows_are_one_line_on_stderr(capsys, tmp_path):
    text = gzip.decompress(Path(CBPP).read_bytes()).decode() + "15,,9,4\n15,NA,9,4\n"
    path = write(tmp_path / "gaps.csv", text)
    assert main(["fit", path, FORMULA, "--family", "binomial", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "dropped 2 rows with missing values in incidence (2)" in err
    assert json.loads(out)["loglik"] == pytest.approx(LOGLIK, abs=1e-7)
    assert main(["fit", path, FORMULA, "--family", "binomial", "--missing", "raise"]) == 2


# ---- a kept fit ---------------------------------------------------------------------------------


def test_predictions_of_a_kept_fit_are_those_of_the_fit(capsys, kept):
    fit = gj.load(kept)
    assert main(["predict", kept, CBPP, "--interval", "0.9", "--kind", "link"]) == 0
    rows = table(capsys.readouterr().out)
    expected = fit.predict(interval=0.9, kind="link")
    assert [row["row"] for row in rows] == [str(i) for i in range(56)]
    for name in expected.columns:
        found = [float(row[name]) for row in rows]
        np.testing.assert_allclose(found, expected[name], rtol=1e-12)
    assert main(["predict", kept, "--format", "json", "--effects", "fixed"]) == 0
    rows = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose([r["predict"] for r in rows], fit.predict(effects="fixed"))


def test_predict_needs_no_response_and_minds_unseen_levels(capsys, kept, tmp_path):
    new = write(tmp_path / "new.csv", "period,herd\n1,1\n4,99\n")
    assert main(["predict", kept, new]) == 2
    assert "99" in capsys.readouterr().err
    assert main(["predict", kept, new, "--new-levels", "population"]) == 0
    assert len(table(capsys.readouterr().out)) == 2
    other = write(tmp_path / "other.csv", "period,herd\n5,1\n")
    assert main(["predict", kept, other]) == 2
    assert "5" in capsys.readouterr().err


def test_labels_stay_labels_in_new_data(capsys, tmp_path):
    """Herds 007 and 7 are two; a new file with numbers only must not merge or miss them."""
    rng = np.random.default_rng(1)
    names = ["007", "7", "07", "12", "a"] * 12
    effect = dict(zip(names[:5], (0.0, 1.0, -1.0, 2.0, -2.0), strict=True))
    lines = [f"{effect[g] + rng.normal():.6f},{g},{i % 3}" for i, g in enumerate(names)]
    path = write(tmp_path / "d.csv", "y,g,dose\n" + "\n".join(lines) + "\n")
    out = str(tmp_path / "d.npz")
    argv = ["fit", path, "y ~ dose + (1 | g)", "--reml", "--as-factor", "dose", "--out", out]
    assert main([*argv, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ngroups"] == {"g": 5}
    assert [row["term"] for row in found["parameters"]][1:3] == ["dose[T.1]", "dose[T.2]"]
    new = write(tmp_path / "new.csv", "g,dose\n7,1\n12,2\n")
    assert main(["predict", out, new]) == 0
    seven, twelve = (float(row["predict"]) for row in table(capsys.readouterr().out))
    fit = gj.load(out)
    frame = {"g": np.array(["7", "12"], object), "dose": np.array(["1", "2"], object)}
    np.testing.assert_allclose([seven, twelve], fit.predict(frame), rtol=1e-12)


def test_simulations_are_whole_numbers_and_repeatable(capsys, kept):
    assert main(["simulate", kept, "-n", "3", "--seed", "5"]) == 0
    text = capsys.readouterr().out
    rows = table(text)
    assert len(rows) == 56 and list(rows[0]) == ["row", "sim_1", "sim_2", "sim_3"]
    assert all(row["sim_1"].isdigit() for row in rows)
    assert main(["simulate", kept, "-n", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out == text


# ---- check, demo, version -----------------------------------------------------------------------


def test_check_describes_without_fitting(capsys, monkeypatch):
    monkeypatch.setattr("glmmjax.infer._engine.fit_design", None)
    argv = ["check", *MODEL, "--method", "agq", "--nodes", "9"]
    assert main([*argv, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows_used"], found["units"], found["parameters"]) == (56, 15, 5)
    assert (found["method"], found["nodes"]) == ("agq", 9)
    assert found["coefficients"]["cond"][1] == "C(period)[T.2]"
    assert main(argv) == 0
    assert "agq with 9 nodes" in capsys.readouterr().out
    assert main(["check", *MODEL, "--method", "agq", "--reml"]) == 2


def test_version_names_what_takes_part(capsys):
    assert main(["version"]) == 0
    out = capsys.readouterr().out
    assert f"glmmjax {gj.__version__}" in out and f"jax {jax.__version__}" in out
    assert "python 3." in out and "device " in out


@pytest.mark.slow
def test_demo(capsys):
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    for number in ("-92.0263", "-91.9834", "-875.9697", "-871.8141"):
        assert number in out
    header = next(line for line in out.splitlines() if "Laplace, averaged" in line)
    methods = ("PQL", "Laplace", "AGQ 25", "importance sampling", "MCEM", "SAEM", "GEE")
    assert all(name in header for name in methods)
    assert "-1.3274 (0.2303)" in out and "-91.983" in out and "marginal" in out


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ __import__('os').system('true') + (1 | g)",
        "y ~ ().__class__.__bases__ + (1 | g)",
        "y ~ (a + b + c + d + e + f + g + h)**8 + (1 | g)",
        "y ~ " + "(" * 2000 + "x" + ")" * 2000 + " + (1 | g)",
        "y ~ " + "x:" * 20_000 + "x + (1 | g)",
        "y ~ [x for x in y] + (1 | g)",
        "y ~ x +",
        "",
    ],
)
def test_a_hostile_formula_is_refused_before_the_file_is_read(capsys, formula):
    assert main(["fit", "no-such-file.csv", formula]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("glmmjax: error: ")
    assert "no-such-file" not in err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--family", "poison"], "poisson"),
        (["--link", "logitt"], "logit"),
        (["--method", "lme"], "laplace, agq, pql"),
        (["--method", "agq", "--nodes", "0"], "positive"),
        (["--nodes", "5"], "needs method='agq'"),
        (["--format", "xml"], "invalid choice"),
        (["--max-rows", "10"], "more than 10 rows"),
        (["--as-factor", "perod"], "perod"),
        (["--weights", "wieght"], "no column 'wieght'"),
        (["--out", "fit.txt"], ".npz"),
        (["--out", "/no/such/folder/fit.npz"], "no folder"),
        (["--frobnicate"], "unrecognized"),
        (["--ziformula", "~ 1 +"], "+"),
    ],
)
def test_bad_arguments_exit_2_with_one_line(capsys, extra, message):
    assert main(["fit", *MODEL, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("glmmjax: error: ")
    assert message in err


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"y,g\n", "no rows"),
        (b"y,g\n1,a\n2\n", "line 3: 1 cells where the header has 2"),
        (b'y,g\n1,"a\nb"\n2,c,d\n', "line 4: 3 cells"),
        (b"y,g\n1,a\n2,\xe9\n", "byte 0xe9 in line 3"),
        (b"y,y\n1,2\n", "duplicate column name(s) 'y'"),
        (b"y;g\n1;a\n", "separated by ';'"),
        (b"y,g\n1,\0\n", "null byte in line 2"),
        (b'y,g\n1,"a\n', "unexpected end of data"),
    ],
)
def test_bad_files_exit_2_and_name_the_line(capsys, tmp_path, raw, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(raw)
    assert main(["fit", str(path), "y ~ 1 + (1 | g)"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_file_that_is_missing_or_no_fit(capsys, tmp_path):
    assert main(["fit", str(tmp_path / "none.csv"), "y ~ 1 + (1 | g)"]) == 2
    assert main(["predict", str(tmp_path / "none.npz")]) == 2
    assert main(["predict", write(tmp_path / "x.npz", "no archive")]) == 2
    (tmp_path / "x.csv.gz").write_bytes(b"no gzip")
    assert main(["fit", str(tmp_path / "x.csv.gz"), "y ~ 1 + (1 | g)"]) == 2
    assert capsys.readouterr().err.count("\n") == 4


def test_no_command_is_bad_input_and_help_is_not(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["fit", "--help"]) == 0
    assert "exit codes" in capsys.readouterr().out


# ---- reading and writing CSV --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2", "-3"], np.array([1, 2, -3])),
        (["1", "", "3"], np.array([1, np.nan, 3])),
        (["1.5", "NA", "NaN", "1e3"], np.array([1.5, np.nan, np.nan, 1000])),
        (["a", "NA", ""], ["a", "NA", None]),
        (["007", "7"], ["007", "7"]),
        (["0", "0.5", "-0.25"], np.array([0, 0.5, -0.25])),
        (["1_000", "2"], ["1_000", "2"]),
        (["٣", "4"], ["٣", "4"]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["9007199254740993", "9007199254740992"], np.array([2**53 + 1, 2**53])),
        (["9007199254740993", ""], ["9007199254740993", None]),
        (["", "NA"], np.array([np.nan, np.nan])),
        (["TRUE", "FALSE"], ["TRUE", "FALSE"]),
        (["a\u2028b", " a "], ["a\u2028b", " a "]),
    ],
)
def test_cells_are_kept_to_the_letter_or_are_numbers(tmp_path, cells, expected):
    text = "x,y\n" + "".join(f"{cell},0\n" for cell in cells)
    column = convert(read_csv(write(tmp_path / "x.csv", text)))["x"]
    if isinstance(expected, list):
        assert column.tolist() == expected
    else:
        np.testing.assert_array_equal(column, expected)
        assert column.dtype == expected.dtype


def test_group_names_with_decimals_stay_text(tmp_path):
    cells = read_csv(write(tmp_path / "x.csv", "\ufeffg,x\n1.10,1.10\n1.1,1.1\n"))
    columns = convert(cells, groups=["g"])
    assert columns["g"].tolist() == ["1.10", "1.1"]
    assert columns["x"].tolist() == [1.1, 1.1]


def test_levels_of_a_numeric_factor_are_in_the_order_of_numbers(tmp_path):
    text = "f\n" + "\n".join(map(str, [10, 2, 1, 10])) + "\n"
    column = convert(read_csv(write(tmp_path / "x.csv", text)), factors=["f"])["f"]
    assert list(column.cat.categories) == ["1", "2", "10"]


def test_quoted_newlines_and_blank_lines(tmp_path):
    cells = read_csv(write(tmp_path / "x.csv", 'a,b\r\n"x\ny",1\r\n\r\nz,2\r\n'))
    assert cells == {"a": ("x\ny", "z"), "b": ("1", "2")}


def test_text_that_a_spreadsheet_would_run_is_quoted(capsys):
    rows = [("=1+1", -1.5, None), ("@x", 2, True), ("ok", float("nan"), "-x")]
    write_csv(("+a", "b", "c"), rows)
    out = capsys.readouterr().out
    assert out == "'+a,b,c\n'=1+1,-1.5,\n'@x,2,true\nok,,'-x\n"


# ---- progress, cache, processes -----------------------------------------------------------------


def test_progress_speaks_only_when_it_takes_long(capsys, monkeypatch):
    with progress.Progress("working"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    with progress.Progress("working"):
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 4 and lines[0].startswith("glmmjax: working ... ")


def test_nested_spans_count_once():
    assert progress._union([(0.0, 2.0), (0.5, 1.0), (3.0, 4.0)]) == pytest.approx(3.0)


@pytest.fixture
def cache_settings(monkeypatch):
    """Let a test change JAX's cache, and put it back."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("GLMMJAX_CACHE", raising=False)
    yield
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_the_cache_is_private_and_can_be_turned_off(cache_settings, monkeypatch, tmp_path):
    present = jax.config.jax_compilation_cache_dir
    assert str(gj.use_cache()) == present  # the user's own setting of JAX is left alone
    monkeypatch.setenv("GLMMJAX_CACHE", "0")
    assert gj.use_cache() is None
    monkeypatch.setenv("GLMMJAX_CACHE", str(tmp_path / "a" / "b"))
    folder = gj.use_cache()
    assert folder == (tmp_path / "a" / "b").resolve()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    jax.jit(lambda x: x * 3 + 1)(np.arange(5.0)).block_until_ready()
    assert any(folder.iterdir())


def test_the_cache_folder_of_everybody_is_refused(cache_settings, tmp_path, capsys, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(gj.GlmmjaxError, match="others may write"):
        gj.use_cache(shared)
    monkeypatch.setenv("GLMMJAX_CACHE", str(shared))
    assert main(["simulate", str(tmp_path / "none.npz")]) == 2
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    shared.chmod(0o700)
    with pytest.raises(gj.GlmmjaxError, match="another user"):
        gj.use_cache(shared)


def test_the_default_cache_is_in_the_users_folder(monkeypatch, tmp_path):
    from glmmjax._cache import default_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "glmmjax"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "glmmjax"


def process(*argv: str, code: str | None = None, **environment: str):
    command = [sys.executable, *(("-c", code) if code else ("-m", "glmmjax")), *argv]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_a_process_of_its_own(tmp_path):
    done = process("fit", *MODEL, "--format", "json", GLMMJAX_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loglik"] == pytest.approx(LOGLIK, abs=1e-7)
    assert any((tmp_path / "cache").iterdir())


def test_a_missing_device_exits_4(tmp_path):
    for name in ("nonesuch", "rocm"):  # unknown; known, but without its plugin
        done = process("version", JAX_PLATFORMS=name)
        assert done.returncode == 4
        assert name in done.stderr and "Traceback" not in done.stderr
    done = process("fit", *MODEL, JAX_PLATFORMS="nonesuch")
    assert done.returncode == 4 and done.stdout == ""


def test_a_refusal_does_not_wait_for_jax():
    code = (
        "import sys; from glmmjax.cli import main; "
        "code = main(['fit', 'none.csv', 'y ~ x + (1 | g)']); "
        "print(code, 'jax' in sys.modules, 'pandas' in sys.modules)"
    )
    assert process(code=code).stdout.split() == ["2", "False", "False"]


def test_a_text_fit_loads_no_pandas_and_no_formulaic():
    code = (
        f"import sys; from glmmjax.cli import main; assert main(['fit', *{MODEL!r}]) == 0; "
        "print([m for m in ('pandas', 'formulaic', 'scipy.stats') if m in sys.modules])"
    )
    assert process(code=code).stdout.splitlines()[-1] == "[]"


def test_a_reader_that_stops_early_is_no_failure(kept):
    command = f"'{sys.executable}' -m glmmjax simulate '{kept}' -n 3000 | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("row,sim_1,")
    assert "Error" not in done.stderr and "Exception" not in done.stderr


def test_labels_inside_a_call_stay_labels_in_new_data(tmp_path, kept, capsys):
    path = str(tmp_path / "labels.npz")
    assert main(["fit", *MODEL, "--as-factor", "period", "--out", path]) == 0
    capsys.readouterr()
    assert main(["predict", path, CBPP]) == 0
    mine = [float(row["predict"]) for row in table(capsys.readouterr().out)]
    assert main(["predict", kept, CBPP]) == 0
    theirs = [float(row["predict"]) for row in table(capsys.readouterr().out)]
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)
