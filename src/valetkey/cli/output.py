"""How answers are shown: data on stdout, remarks on stderr, JSON where it was asked for, colour only on a terminal.

Text of other people (names, purposes, details) is made inert before a terminal sees it. rich is imported only to draw a
table on a terminal.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def inert(value: object) -> str:
    """The text with everything a terminal would obey, or that hides or reorders text, spelled out.

    >>> inert("a" + chr(27) + "[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def json_line(value: Any) -> str:
    """The value as JSON in one line, which means the same to a program and nothing to a terminal.

    >>> print(json_line({"name": "bü" + chr(0x9B) + "2J" + chr(0x7F)}))
    {"name": "bü\\u009b2J\\u007f"}
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def show(value: Any, *, as_json: bool, text: str) -> int:
    """Print the value as JSON, or the text for people. Returns 0, the exit code."""
    print(json_line(value) if as_json else text)
    return 0


def notice(text: str) -> None:
    """A remark beside the data."""
    print(text, file=sys.stderr)


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values under one another; what is None or empty is left out.

    >>> print(facts({"id": "agt_1", "name": "linter", "purpose": ""}))
    id    agt_1
    name  linter
    """
    shown = {name: _worded(value) for name, value in pairs.items() if value not in (None, "", [], ())}
    width = max(map(len, shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> str:
    """Rows under headings: drawn on a terminal, plainly aligned elsewhere. `empty` is said (on stderr) for none."""
    if not rows:
        notice(empty)
        return ""
    cells = [[_worded(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        return _drawn(cells, columns)
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def moment(epoch: object) -> str:
    """Seconds since the epoch as RFC 3339 in UTC.

    >>> moment(1_800_000_000)
    '2027-01-15T08:00:00Z'
    """
    if not isinstance(epoch, int):
        return inert(epoch)
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _worded(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return " ".join(inert(item) for item in value)
        case _:
            return inert(value)


def _drawn(cells: list[list[str]], columns: Sequence[str]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column == "id")  # an id is copied whole or not at all
    for line in cells:
        drawn.add_row(*(Text(cell) for cell in line))
    console = Console()
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().rstrip("\n")
