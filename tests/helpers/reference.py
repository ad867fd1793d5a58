"""Reference numbers and tables of `tests/reference`, with R's names turned into ours."""

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import glmmjax as gj

FOLDER = Path(__file__).resolve().parent.parent / "reference"

# Columns that are factors although their values are numbers, and orders that are not sorted.
FACTORS = {
    "cake": {"replicate": map(str, range(1, 16)), "recipe": "ABC", "temperature": None},
    "Orthodont": {"Sex": ["Male", "Female"]},
}


@cache
def facts() -> dict:
    """{name of a fit: its numbers}, see tests/reference/README.md."""
    with gzip.open(FOLDER / "facts.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


@cache
def _table(name: str) -> pd.DataFrame:
    path = FOLDER / f"{name}.csv.gz"
    if not path.exists():
        return gj.datasets.load(name)
    frame = pd.read_csv(path)
    for column, levels in FACTORS.get(name, {}).items():
        values = frame[column].astype(str)
        frame[column] = pd.Categorical(values, sorted(set(values)) if levels is None else [*levels])
    return frame


def table(name: str) -> pd.DataFrame:
    """A table of this folder, or one that glmmjax ships; with the columns that the cases add."""
    frame = _table(name).copy()
    if name == "toenail":
        frame["y"] = (frame["outcome"] == "moderate or severe").astype(float)
    if name == "Owls":
        frame["Ncalls"] = frame["SiblingNegotiation"]
        frame["sATime"] = standard(frame["ArrivalTime"])
    if name == "grouseticks":
        frame["ch"] = standard(frame["HEIGHT"])
    if name == "sim_ar1_panel":
        frame["tf"] = pd.Categorical(frame["t"].astype(str))
    return frame


def standard(x: pd.Series) -> pd.Series:
    """Centred, in units of the sample standard deviation."""
    return (x - x.mean()) / x.std()


def our_name(name: str, frame: pd.DataFrame) -> str:
    """R's name of a coefficient -> ours: `period2` -> `period[T.2]`, interactions part by part."""
    return ":".join(_our_part(part, frame) for part in name.split(":"))


def _our_part(part: str, frame: pd.DataFrame) -> str:
    if part == "(Intercept)":
        return "Intercept"
    if part.endswith(")TRUE"):
        return part.removesuffix("TRUE")
    if part in frame.columns or "(" in part:
        return part.replace("^2", " ** 2")
    column = max((c for c in frame.columns if part.startswith(c)), key=len)
    return f"{column}[T.{part.removeprefix(column)}]"


def group_key(group: str) -> str:
    """R writes cask:batch, we write batch:cask; a second term of a group is `g.1` in R."""
    return ":".join(sorted(group.removesuffix(".1").split(":")))


def standard_deviations(fit: gj.Fit) -> dict[tuple[str, str], float]:
    """{(group, effect): sd} of the random effects."""
    rows = fit.varcorr
    rows = rows[rows["var2"].isna() & (rows["group"] != "Residual")]
    return {(group_key(r.group), r.var1): float(r.sdcor) for r in rows.itertuples()}


def correlations(fit: gj.Fit) -> dict[tuple[str, frozenset[str]], float]:
    """{(group, {effect, effect}): correlation}."""
    rows = fit.varcorr
    rows = rows[rows["var2"].notna()]
    return {
        (group_key(r.group), frozenset((r.var1, r.var2))): float(r.sdcor) for r in rows.itertuples()
    }


def worst(found, expected, scale=None) -> float:
    """Largest difference, relative to max(|expected|, scale)."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    size = np.abs(expected) if scale is None else np.maximum(np.abs(expected), np.asarray(scale))
    return float(np.max(np.abs(found - expected) / size, initial=0.0))
