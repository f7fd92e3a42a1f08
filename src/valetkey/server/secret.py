"""Types for what must never be printed, serialised or logged: `Secret` for text, `SecretBytes` for key material.

Every generic way out is closed: printing and formatting show a fixed mark; JSON, msgspec, pickle, `copy`, `deepcopy`,
`dataclasses.asdict`, iteration and hashing refuse. It does not defend against code that calls `reveal()`, nor against
whoever can read this process's memory.
"""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar, final

_Value = TypeVar("_Value", str, bytes)


class _Hidden(ABC, Generic[_Value]):
    """What both kinds share. The value sits in a closure, so that nothing which walks attributes or slots meets it."""

    __slots__ = ("_read",)
    _read: Callable[[], _Value]

    def __init__(self, value: _Value) -> None:
        wanted = self._wanted()
        if not isinstance(value, wanted):
            found = type(value).__name__
            del value  # SECURITY: a traceback that prints locals must not print what was offered (test_secret.py)
            raise TypeError(f"{type(self).__name__} holds {wanted.__name__}, not {found}")
        object.__setattr__(self, "_read", lambda: value)

    def reveal(self) -> _Value:
        """Return the secret itself. Every call is a place an auditor reads."""
        return self._read()

    @classmethod
    @abstractmethod
    def _wanted(cls) -> type[Any]:
        """What the value is, so that no other is taken."""

    def _octets(self) -> bytes:
        # NOTE: text may hold lone surrogates (JSON lets them in); the error of a strict encoder would carry the secret.
        value = self._read()
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Hidden) or type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._octets(), other._octets())

    def __hash__(self) -> int:
        raise TypeError("a Secret is not hashable: it must not become a key")

    def __bool__(self) -> bool:
        return bool(self._read())

    def __iter__(self) -> NoReturn:
        raise TypeError("a Secret is not a sequence")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied into another format")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied into another format")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied into another format")


@final
class Secret(_Hidden[str]):
    """Holds a secret string; prints as `Secret(…)`; `reveal()` is rare enough to grep for.

    >>> str(Secret("hunter2")), f"{Secret('hunter2')!r}"
    ('Secret(…)', 'Secret(…)')
    """

    __slots__ = ()

    @classmethod
    def _wanted(cls) -> type[str]:
        return str


@final
class SecretBytes(_Hidden[bytes]):
    """Holds key material; prints as `SecretBytes(…)`.

    >>> str(SecretBytes(b"k" * 32))
    'SecretBytes(…)'
    """

    __slots__ = ()

    @classmethod
    def _wanted(cls) -> type[bytes]:
        return bytes
