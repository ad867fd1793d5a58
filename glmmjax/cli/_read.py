"""CSV to columns, without guessing more than a number can be seen to be one.

A column is numbers if every cell that is not missing is written as one, and text otherwise. Text
is kept to the letter. Missing is an empty cell and, in a column of numbers, also NA or NaN (R and
pandas write those); among text "NA" is a name like any other. Labels that look like numbers stay
text where turning them into numbers would merge some: "007" and "7", or more than 19 digits.
"""

import csv
import gc
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import DataError

MAX_ROWS = 2_000_000
MISSING = frozenset(("", "NA", "NaN", "nan"))
EXACT = 2**53  # beyond it a float64 cannot tell neighbouring whole numbers apart
_PADDED = re.compile(r"(?:^|,)[+-]?0[0-9]+(?:,|$)")  # 007, but not 0.07

Cells = tuple[str, ...]


def read_csv(path: str, max_rows: int = MAX_ROWS) -> dict[str, Cells]:
    """The cells of a CSV file (or .csv.gz) by column, as text.

    The first line names the columns; the separator is a comma, the encoding UTF-8. Raises
    DataError for a file that is missing, ragged, empty, too long, or not UTF-8, with the line.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        if file.suffix == ".gz":
            raw = _inflate(raw, path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    text = _decode(raw, path)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path} has a null byte in line {line}; it is no CSV file")
    return _columns(text, path, max_rows)


def _inflate(raw: bytes, path: str) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no valid gzip file: {error}") from None


def _decode(raw: bytes, path: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line}; "
            "save it as UTF-8, e.g. with iconv -f latin1 -t utf-8"
        ) from None


def _columns(text: str, path: str, max_rows: int) -> dict[str, Cells]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    collecting = gc.isenabled()
    gc.disable()  # it would look through millions of rows again and again, and find nothing
    try:
        header = next(reader, None)
        if not header or not any(header):
            raise DataError(f"{path} is empty; its first line must name the columns")
        _check_header(header, path)
        rows = list(itertools.islice(reader, max_rows + 1))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    finally:
        if collecting:
            gc.enable()
    if len(rows) > max_rows:
        raise DataError(f"{path} has more than {max_rows} rows; raise the limit by --max-rows")
    if set(map(len, rows)) != {len(header)}:
        rows = list(_even(text, len(header), path))
    if not rows:
        raise DataError(f"{path} has a header but no rows")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _check_header(header: list[str], path: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        names = ", ".join(map(repr, twice))
        raise DataError(f"{path} has duplicate column name(s) {names}; rename them")
    other = next((c for c in ";\t|" if len(header) == 1 and c in header[0]), None)
    if other:
        raise DataError(f"{path} seems to be separated by {other!r}; write it with commas")


def _even(text: str, width: int, path: str) -> Iterator[list[str]]:
    """The rows once more, one by one: skip blank lines, and name the line that is ragged."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    next(reader)
    for row in reader:
        if not row and width == 1:
            yield [""]  # a blank is this column's missing value
        elif row and len(row) != width:
            raise DataError(
                f"{path}, line {reader.line_num}: {len(row)} cells where the header has "
                f"{width}; is there a comma in the text of a cell without quotes?"
            )
        elif row:
            yield row


def convert(
    cells: dict[str, Cells],
    *,
    factors: Collection[str] = (),
    groups: Collection[str] = (),
) -> dict[str, Any]:
    """Cells to columns for a design: int64, float64, or text with None where missing.

    `factors` are text in any case, ordered by number where they are whole numbers; `groups`, which
    serve as labels only, are numbers only if no digit is lost by it. Raises DataError for a factor
    that is no column.
    """
    for name in factors:
        if name not in cells:
            raise DataError(f"--as-factor names {name!r}, no column of {', '.join(cells)}")
    return {
        name: _factor(column)
        if name in factors
        else _label(column)
        if name in groups
        else _column(column)
        for name, column in cells.items()
    }


def _column(cells: Cells) -> np.ndarray:
    numbers = read_numbers(cells)
    return text_column(cells) if numbers is None else numbers


def _label(cells: Cells) -> np.ndarray:
    """Whole numbers, so that levels sort by size, or else the text as written."""
    numbers = read_numbers(cells)
    return numbers if numbers is not None and numbers.dtype.kind == "i" else text_column(cells)


def _factor(cells: Cells) -> Any:
    """Text. The order of its levels is their code points', unless these are whole numbers."""
    numbers = read_numbers(cells)
    text = text_column(
        cells if numbers is None else tuple("" if c in MISSING else c for c in cells)
    )
    if numbers is None:
        return text
    levels = sorted({c for c in text.tolist() if c is not None}, key=float)
    if levels == sorted(levels):
        return text
    import pandas as pd  # the only kind of column that can say in which order its levels are

    return pd.Series(pd.Categorical(text, categories=levels))


def text_column(cells: Iterable[str]) -> np.ndarray:
    """Text with None in place of empty cells."""
    return np.array([cell or None for cell in cells], dtype=object)


def read_numbers(cells: Cells) -> np.ndarray | None:
    """int64 or float64 (NaN where missing), or None where the cells are text."""
    gaps = MISSING.intersection(cells)
    present = [cell for cell in cells if cell not in gaps] if gaps else cells
    joined = ",".join(present)
    # Python's own int() and float() read more than this: "1_000", or the digits of any script.
    if not joined.isascii() or "_" in joined or _PADDED.search(joined):
        return None
    try:
        integers = np.fromiter(map(int, present), np.int64, len(present))
    except OverflowError:
        return None
    except ValueError:
        return _floats(cells, gaps)
    if not gaps:
        return integers
    return None if (abs(integers) > EXACT).any() else _floats(cells, gaps)


def _floats(cells: Cells, gaps: Collection[str]) -> np.ndarray | None:
    filled = ("nan" if cell in gaps else cell for cell in cells) if gaps else cells
    try:
        return np.fromiter(map(float, filled), np.float64, len(cells))
    except ValueError:
        return None
