"""The architecture, read from the imports: arrows between layers point down or sideways."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "glmmjax"

# What the façade and the command line may use stands at the top; what everybody may use at -1.
LAYERS = {
    6: "__init__ __main__ api batching bayesian calibration nonlinear estimating planning cli "
    "plots datasets",
    5: "infer lanes shard",
    4: "estimators",
    3: "integrate",
    2: "model design formula",
    1: "families covariance curves priors",
    0: "numeric",
    -1: "_cache _errors _progress _typing",
}
LAYER = {part: layer for layer, parts in LAYERS.items() for part in parts.split()}

# Stricter than the layers: neighbours that must not know each other.
FORBIDDEN = {
    "model": {"design", "formula"},
    "formula": set(LAYER) - {"formula", "_errors"},
    "families": {"covariance", "curves"},
    "covariance": {"families", "curves"},
    "curves": {"families", "covariance"},
    "priors": {"families", "covariance", "curves"},
}
HEAVY = (
    "matplotlib arviz arviz_base arviz_stats xarray h5netcdf numpyro optax pandas polars formulaic "
    "narwhals scipy.stats"
)


def part_of(path: Path) -> str:
    """The folder or module directly under glmmjax that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


def modules(path: Path, node: ast.AST) -> list[str]:
    """The absolute names of the modules that one import statement may load."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = ("glmmjax", *path.relative_to(PACKAGE).parent.parts)
        base = ".".join(filter(None, [*package[: len(package) - node.level + 1], base]))
    # `from glmmjax import _errors` names its module last; a plain name does no harm there.
    return [f"{base}.{alias.name}" for alias in node.names]


def imports(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(node.lineno, m) for node in ast.walk(tree) for m in modules(path, node)]


def parts_used(path: Path) -> list[tuple[int, str]]:
    """What of glmmjax a file imports; the package itself, or a public name of it, is `__init__`."""
    used = []
    for line, module in imports(path):
        first, *rest = module.split(".")
        if first == "glmmjax":
            used.append((line, rest[0] if rest and rest[0] in LAYER else "__init__"))
    return used


def calls(path: Path, names: set[str]) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return [(n.lineno, n.func.id) for n in found if n.func.id in names]  # pyright: ignore


def breaches(find, parts=tuple(LAYER)) -> list[str]:
    """What `find` returns for the files of some parts, as lines to click on."""
    files = [path for path in FILES if part_of(path) in parts]
    return [
        f"{path.relative_to(ROOT)}:{line}: {what}" for path in files for line, what in find(path)
    ]


def test_every_file_has_a_layer():
    homeless = {part_of(path) for path in FILES} - set(LAYER)
    assert not homeless, f"say in LAYERS of {Path(__file__).name} where they belong"


def test_imports_point_down_or_sideways():
    def upward(path):
        return [(n, used) for n, used in parts_used(path) if LAYER[used] > LAYER[part_of(path)]]

    assert breaches(upward) == []


def test_neighbours_that_must_not_know_each_other():
    def forbidden(path):
        return [(n, used) for n, used in parts_used(path) if used in FORBIDDEN[part_of(path)]]

    assert breaches(forbidden, tuple(FORBIDDEN)) == []


def test_formula_and_design_run_without_jax():
    def jax(path):
        return [(n, m) for n, m in imports(path) if m.split(".")[0] in ("jax", "jaxlib")]

    assert breaches(jax, ("formula", "design")) == []


def test_only_the_top_layer_prints_or_opens_files():
    """But for `_progress`, which writes the line on many fits for whoever asked for it."""
    below = tuple(p for p, n in LAYER.items() if n < max(LAYERS) and p != "_progress")
    assert breaches(lambda path: calls(path, {"print", "open", "input"}), below) == []


def test_the_rules_would_notice_a_breach(tmp_path, monkeypatch):
    """The reader of imports is itself code that can be wrong, so show it one of each kind."""
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    file = tmp_path / "numeric" / "_x.py"
    file.parent.mkdir()
    file.write_text(
        "import glmmjax as gj\n"
        "from ..infer import summary\n"
        "from .. import api, _errors\n"
        "from glmmjax.model._density import joint\n"
        "from ._arrow import factor\n"
        "def f():\n"
        "    import jax.numpy\n"
        "    print(open('x'))\n"
    )
    assert parts_used(file) == [
        (1, "__init__"),
        (2, "infer"),
        (3, "api"),
        (3, "_errors"),
        (4, "model"),
        (5, "numeric"),
    ]
    assert (7, "jax.numpy") in imports(file)
    assert calls(file, {"print", "open"}) == [(8, "print"), (8, "open")]


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, glmmjax; print([m for m in {HEAVY.split()} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
