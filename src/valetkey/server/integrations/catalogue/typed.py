"""A table of a TOML file read into a dataclass: every key known, every value of its type, nothing left out.

Responsible for saying which key is wrong and what to write instead. Refuses to know what an integration is.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_T = TypeVar("_T")
_URL: Final = re.compile(r"[\x21-\x7e]{1,512}")
_HEADER: Final = re.compile(r"[a-z0-9-]{1,64}")
_UNSENDABLE: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "cookie", "te", "upgrade"})


class Misdescribed(ValueError):
    """A description that is not followed. `key` is where, as a dotted path; `instead` what to write there."""

    def __init__(self, key: str, problem: str, instead: str = "") -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem
        self.instead = instead


def dotted(*parts: str) -> str:
    """The path to a key as TOML writes it.

    >>> dotted("oauth", "scopes", "chat:write", "tier")
    'oauth.scopes."chat:write".tier'
    """
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in parts if part)


def read(kind: type[_T], members: object, at: str, **given: Any) -> _T:
    """A dataclass from a table. `given` are fields that are read elsewhere, and that the table may hold."""
    table = mapping(members, at)
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise Misdescribed(_at(at, key), "nobody knows this key", f"one of {', '.join(sorted(known))}")
    values = dict(given)
    for name, field in known.items():
        if name in given:
            continue
        if name in table:
            values[name] = _typed(hints[name], table[name], _at(at, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Misdescribed(_at(at, name), "is missing", f"{name} = …")
    return kind(**values)


def mapping(members: object, at: str) -> Mapping[str, Any]:
    """A table, and nothing else."""
    if not isinstance(members, dict):
        raise Misdescribed(at, "is not a table", f"[{at}] and its keys below it")
    return members


def tables(members: object, at: str) -> Mapping[str, Mapping[str, Any]]:
    """A table of tables, by name."""
    return {name: mapping(inner, _at(at, name)) for name, inner in mapping(members, at).items()}


def check_address(url: str, key: str, *, loopback: bool) -> None:
    """An address is https and has one reading. Plain http is for this machine, and only where it was allowed."""
    instead = "https://HOST/PATH, without user, query and fragment"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Misdescribed(key, f"{url!r} is no address", instead) from error
    here = loopback and parts.scheme == "http" and parts.hostname in LOOPBACK
    if not (parts.scheme == "https" or here) or not parts.hostname or port == 0 or not _URL.fullmatch(url):
        raise Misdescribed(key, f"{url!r} is no https address", instead)
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in url or "#" in url or "\\" in url:
        raise Misdescribed(key, f"{url!r} has a user, a query or a fragment", instead)
    if parts.netloc != parts.netloc.lower() or {".", ".."} & {*parts.path.split("/")}:
        raise Misdescribed(key, f"{url!r} can be written otherwise", "the host in small letters, no dots as a folder")


def check_header(name: str, key: str) -> None:
    """A header name the sender may set: small letters, and none that frames the request."""
    if not _HEADER.fullmatch(name) or name in _UNSENDABLE:
        raise Misdescribed(key, f"{name!r} is no header to send", "a name in small letters, such as authorization")


def _at(at: str, key: str) -> str:
    return f"{at}.{dotted(key)}" if at else dotted(key)


def _typed(hint: Any, value: object, at: str) -> Any:
    try:
        return msgspec.convert(value, hint, strict=True)
    except msgspec.ValidationError as error:
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        instead = f"one of {', '.join(map(repr, choices))}" if choices else ""
        raise Misdescribed(at, str(error).split(" - ")[0], instead) from error
