"""Which line of a TOML text a key is on, for people who have to mend it."""

import re
from typing import Final

_PART: Final = re.compile(r'"([^"]*)"|([A-Za-z0-9_-]+)')
_HEADER: Final = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_ENTRY: Final = re.compile(r'\s*((?:"[^"]*"|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|[A-Za-z0-9_-]+))*)\s*=')


def line_of(text: str, key: str) -> int:
    """The line of the key, else of the nearest table above it; 0 when none of it is there.

    >>> line_of('name = "a"\\n[oauth.scopes."x:y"]\\ntier = "read"\\n', 'oauth.scopes."x:y".tier')
    3
    """
    wanted, best, found = _parts(key), 0, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            here = table = _parts(header[1])
        elif entry := _ENTRY.match(line):
            here = (*table, *_parts(entry[1]))
        else:
            continue
        if len(here) > best and here == wanted[: len(here)]:
            best, found = len(here), number
    return found


def _parts(key: str) -> tuple[str, ...]:
    return tuple(quoted or plain for quoted, plain in _PART.findall(key))
