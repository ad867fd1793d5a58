"""README.md is run: every Python block in one namespace, its output beside the one shown."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]\d+)?")
CLOCK = re.compile(r"^ *seconds .*\n", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def blocks(text: str) -> list[tuple[int, str, str]]:
    """(line, code, output shown) of every block of Python."""
    return [(text[: m.start(1)].count("\n") + 1, m[1], m[2] or "") for m in BLOCK.finditer(text)]


def run(code: str, namespace: dict) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue()


def skeleton(text: str) -> str:
    """The words without the numbers; how columns are padded does not matter."""
    return " ".join(NUMBER.sub("#", text).split())


def test_readme_does_what_it_says():
    namespace: dict = {}
    for line, code, shown in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        got = run(code, namespace)
        where = f"README.md:{line} prints\n{got}"
        assert skeleton(got) == skeleton(shown), where
        same = (CLOCK.sub("", text) for text in (got, shown))  # times differ between machines
        numbers, expected = ([float(x) for x in NUMBER.findall(text)] for text in same)
        np.testing.assert_allclose(numbers, expected, rtol=2e-4, atol=2e-6, err_msg=where)


def test_a_wrong_output_would_be_noticed():
    text = "```python\nprint('sd', 0.5)\n```\n```text\nsd 0.6\n```\n"
    [(line, code, shown)] = blocks(text)
    got = run(code, {})
    assert (line, skeleton(got)) == (2, skeleton(shown))
    assert NUMBER.findall(got) != NUMBER.findall(shown)
    assert skeleton("sd 1e-3 x1") != skeleton("se 1e-3 x1")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
