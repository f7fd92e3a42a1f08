"""One line of the result: what we did, what the other did, what was hoped for. A missed goal is a fact, no error."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`ours` and `theirs` are medians; `goal` bounds `ratio` where there is one, else `ours`; `met` says which way."""

    id: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    goal: float | None = None
    met: bool | None = None
    note: str = ""


def ratio_row(id: str, ours: Sequence[float], theirs: Sequence[float], *, goal: float, bar: float, note: str) -> Row:  # noqa: A002
    """A row of rates per second, measured in turns: how many times theirs ours is."""
    ratio = median(ours) / median(theirs)
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    spread = f"rounds {min(pairs):.2f} to {max(pairs):.2f}"
    passed = "passed" if ratio >= bar else "MISSED"
    return Row(
        id=id,
        ours=round(median(ours), 1),
        theirs=round(median(theirs), 1),
        ratio=round(ratio, 3),
        goal=goal,
        met=ratio >= goal,
        note=f"{note}; bar {bar:g} {passed}; {spread}",
    )


def most_row(id: str, ours: float, *, goal: float, note: str, theirs: float | None = None) -> Row:  # noqa: A002
    """A row whose figure should be at most `goal`."""
    return Row(id=id, ours=round(ours, 3), theirs=theirs, goal=goal, met=ours <= goal, note=note)


def write(rows: Sequence[Row], path: Path) -> None:
    """Keep the rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [("what", "ours", "theirs", "ratio", "goal", "met", "note")]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "NO"
        lines.append(
            (row.id, _figure(row.ours), _figure(row.theirs), _figure(row.ratio), _figure(row.goal), met, row.note)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 6)), line[6]]).rstrip()
        for line in lines
    )


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
