"""Small promises about the repository itself: what is shipped, pinned, and never used."""

import ast
import io
import re
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "glmmjax"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==[A-Za-z0-9][A-Za-z0-9.+!]*")

# Reading any of these formats can run code that the file brings along.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_wheel_stays_under_two_megabytes():
    """A wheel is a zip archive of exactly these files, and a page of metadata."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in PACKAGE.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path)
    assert len(wheel.getvalue()) < 2_000_000


def test_constraints_are_pins_and_nothing_else():
    assert [line for line in pins() if not PIN.fullmatch(line)] == []
    assert len(pins()) == len({canonical(line.split("==")[0]) for line in pins()})


def test_every_requirement_is_pinned():
    """All but the CUDA plugin, which `jax` itself asks for in the version it needs."""
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(r for group in extras.values() for r in group)]
    names = {canonical(re.split(r"[\[<>=!~ ;]", requirement)[0]) for requirement in wanted}
    assert names - {canonical(line.split("==")[0]) for line in pins()} == set()


def unsafe(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return bool(UNSAFE & {alias.name.split(".")[0] for alias in node.names})
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in UNSAFE
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        return not (isinstance(node.value, ast.Constant) and node.value.value is False)
    return False


def test_no_file_format_that_runs_code():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    assert [path for path, tree in trees.items() if any(map(unsafe, ast.walk(tree)))] == []
    bad = ["import pickle", "from pickle import load", "np.load(f, allow_pickle=True)"]
    assert all(any(map(unsafe, ast.walk(ast.parse(line)))) for line in bad)


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
