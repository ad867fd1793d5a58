"""A report as blocks of lines and tables, rendered as text or as HTML from the same content."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"


@dataclass(frozen=True)
class Lines:
    """Paragraph lines under an optional title."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Text cells under an optional title; the first `left` columns are aligned to the left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


@dataclass(frozen=True)
class Summary:
    """The long report of a fit: `print` it, or let a notebook show it as HTML."""

    title: str
    blocks: tuple[Lines | Table, ...]

    def __str__(self) -> str:
        parts = [self.title, *map(_text, self.blocks)]
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = [f"<h4>{html.escape(self.title)}</h4>", *map(_html, self.blocks)]
        return '<div class="glmmjax">' + "".join(parts) + "</div>"


def _text(block: Lines | Table) -> str:
    if isinstance(block, Lines):
        body = "\n".join(_visible(line) for line in block.lines)
    else:
        body = table_text(block)
    return f"{block.title}\n{body}" if block.title else body


def table_text(table: Table, indent: str = "  ") -> str:
    """The table's columns padded to one width."""
    cells = [tuple(map(_visible, row)) for row in (table.header, *table.rows)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(table.header))]
    lines = []
    for row in cells:
        padded = [
            f"{cell:<{width}}" if j < table.left else f"{cell:>{width}}"
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(padded)).rstrip())
    return "\n".join(lines)


def _html(block: Lines | Table) -> str:
    head = f"<p><b>{html.escape(block.title)}</b></p>" if block.title else ""
    if isinstance(block, Lines):
        return head + "<p>" + "<br>".join(map(html.escape, block.lines)) + "</p>"
    rows = [_html_row(block.header, block.left, "th"), *(
        _html_row(row, block.left, "td") for row in block.rows
    )]  # fmt: skip
    return f'{head}<table style="{STYLE}">' + "".join(rows) + "</table>"


def _html_row(cells: Sequence[str], left: int, tag: str) -> str:
    out = []
    for j, cell in enumerate(cells):
        side = "left" if j < left else "right"
        out.append(f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>')
    return "<tr>" + "".join(out) + "</tr>"


def _visible(text: str) -> str:
    """Control characters of names in the data must not reach the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def numbers(values: Iterable[float], digits: int = 4) -> list[str]:
    """Numbers of one column with common decimals: at least `digits` significant in the smallest
    that matters, NaN left blank.
    """
    values = list(values)
    size = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not size:
        return [_plain(v, 0) for v in values]
    low, high = min(size), max(size)
    if high >= 1e7 or high < 1e-4 or high > 1e5 * low:
        return [f"{v:.{digits}g}" if math.isfinite(v) else _plain(v, 0) for v in values]
    low = max(low, high * 1e-3)  # a tiny value among large ones must not widen the column
    decimals = max(0, min(8, digits - 1 - math.floor(math.log10(low))))
    return [_plain(v, decimals) for v in values]


def _plain(value: float, decimals: int) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.{decimals}f}" if math.isfinite(value) else f"{value}"


def p_value(p: float) -> str:
    """A p-value for reading."""
    if math.isnan(p):
        return ""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"
