"""Tables as CSV and JSON, with numbers to the last digit."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

# A spreadsheet takes a cell that begins so for a formula, and runs it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout; text that a spreadsheet would run gets a quote mark in front."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(_cell, header))
    writer.writerows(map(_cell, row) for row in rows)


def write_json(value: Any) -> None:
    """One JSON document on stdout; NaN, which JSON does not have, becomes null."""
    print(json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False))


def records(frame: Any) -> list[dict[str, Any]]:
    """The rows of a pandas frame as dicts of plain values."""
    return [dict(zip(frame.columns, row, strict=True)) for row in _values(frame)]


def write_frame(frame: Any) -> None:
    """A pandas frame on stdout as CSV."""
    write_csv(list(frame.columns), _values(frame))


def plain(value: Any) -> Any:
    """NumPy numbers and containers as Python's own, NaN and infinities as None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _values(frame: Any) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in frame.columns), strict=True)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else value
