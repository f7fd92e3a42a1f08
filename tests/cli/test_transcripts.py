"""Runs the transcripts beside it against a real server, in a home folder of their own.

`$ command` is run by a shell; the lines after it are what it prints. `! ` begins a line of stderr, which is compared
only where a transcript shows one; `[5]` alone on a line is the exit code, 0 where none is shown. `{NAME}` stands for a
run of characters without a space and keeps it as $NAME for later commands; `{...}` for anything. `#` begins a remark.
"""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.served import REAL_CREDENTIAL, served

FILES = sorted(Path(__file__).parent.glob("*.txt"))


class Step(NamedTuple):
    """One command and what it must answer."""

    line: int
    command: str
    out: str
    err: str
    code: int


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("$ "):
            found.append(Step(number, line[2:], "", "", 0))
        elif line.startswith("#") or not found:
            assert not line.strip() or line.startswith("#"), f"line {number} belongs to no command"
        elif line.startswith("! "):
            found[-1] = found[-1]._replace(err=found[-1].err + line[2:] + "\n")
        elif re.fullmatch(r"\[\d+\]", line):
            found[-1] = found[-1]._replace(code=int(line[1:-1]))
        elif line:
            found[-1] = found[-1]._replace(out=found[-1].out + line + "\n")
    return found


def matched(expected: str, seen: str, known: dict[str, str]) -> dict[str, str] | None:
    """What the placeholders stood for, or None. One that is known stands for the same again."""
    kept: list[str] = []

    def pattern(part: str) -> str:
        if part == "{...}":
            return "[^\n]*"
        if re.fullmatch(r"\{[A-Z_]+\}", part):
            name = part[1:-1]
            if name in known:
                return re.escape(known[name])
            kept.append(name)
            return r"(\S+)"
        return re.escape(part)

    parts = re.split(r"(\{\.\.\.\}|\{[A-Z_]+\})", expected)
    found = re.fullmatch("".join(map(pattern, parts)), seen)
    return None if found is None else dict(zip(kept, found.groups(), strict=True))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_transcript_reads_as_it_was_written(file: Path, tmp_path: Path) -> None:
    with served(tmp_path) as server:
        known = {"CODE": server.code, "PIN": server.pin, "REAL_CREDENTIAL": REAL_CREDENTIAL, "DATA": str(server.data)}
        for step in steps(file.read_text()):
            done = subprocess.run(
                ["sh", "-c", step.command],
                env=server.environ | known, cwd=server.home, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            where = f"{file.name}:{step.line}: $ {step.command}\n{done.stdout}{done.stderr}"
            assert done.returncode == step.code, where
            out = matched(step.out, re.sub("\n+", "\n", done.stdout), known)
            assert out is not None, where
            err = matched(step.err, done.stderr, known) if step.err else {}
            assert err is not None, where
            known |= out | err


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 3


def test_a_transcript_that_says_something_else_fails() -> None:
    assert matched("id  {AGENT}\n", "id  agt_1\n", {}) == {"AGENT": "agt_1"}
    assert matched("id  {AGENT}\n", "id  agt_1\n", {"AGENT": "agt_2"}) is None
    assert matched("id  {AGENT}\n", "id  agt_1\nmore\n", {}) is None
    assert matched("", "anything\n", {}) is None
    assert steps("$ false\n[1]\n") == [Step(1, "false", "", "", 1)]
