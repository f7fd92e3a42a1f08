"""Verifies an exported trail from two files and pinned keys: no server, no database, nothing else trusted."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from valetkey.server.audit.checkpoint import MAX_CHECKPOINT, pinned
from valetkey.server.audit.model import MAX_LINE
from valetkey.server.audit.verify import Report, verify_lines
from valetkey.verify.errors import InvalidKey
from valetkey.verify.keys import PublicKey


def verify_export(
    path: str | Path,
    checkpoints_path: str | Path,
    pins: Sequence[str],
    progress: Callable[[int], None] | None = None,
    *,
    at_least: int = 0,
) -> Report:
    """Verify the NDJSON export at `path` against the checkpoint file, trusting only the keys of `pins`.

    A pin is `kid:base64url` or a JWK. `progress` is called with the number of records so far. `at_least` is the number
    of a checkpoint seen before. The checkpoint file must have been copied no later than the export was started. Raises
    `InvalidKey` for a malformed pin or none, `OSError` for a file that cannot be read.
    """
    keys = pinned_keys(pins)
    return verify_lines(_lines(path), _whole_lines(checkpoints_path), keys, at_least=at_least, progress=progress)


def pinned_keys(pins: Sequence[str]) -> dict[str, PublicKey]:
    """The keys to trust, by `kid`. Raises `InvalidKey` for a malformed pin or none."""
    keys = {key.kid: key for key in map(pinned, pins)}
    if not keys:
        raise InvalidKey("pin the checkpoint key: without it, whoever rewrote the trail could also have signed it")
    if len(keys) != len(pins):
        raise InvalidKey("two pinned keys share a kid")
    return keys


def _lines(path: str | Path) -> Iterator[bytes]:
    with Path(path).open("rb", buffering=1 << 20) as file:
        # NOTE: a longer line comes out in pieces, each of which is refused; memory stays bounded.
        while line := file.readline(MAX_LINE + 2):
            yield line[:-1] if line.endswith(b"\n") else line


def _whole_lines(path: str | Path) -> Iterator[bytes]:
    """The lines that are finished. One without its newline is being written, or was when the power went."""
    with Path(path).open("rb") as file:
        while line := file.readline(MAX_CHECKPOINT + 2):
            if line.endswith(b"\n"):
                yield line[:-1]
            elif len(line) > MAX_CHECKPOINT:
                yield line
