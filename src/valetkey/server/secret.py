"""A type for what must never be printed, serialised or logged."""

import hmac
from typing import NoReturn


class Secret:
    """Holds a secret string; prints as `Secret(…)`; `reveal()` is rare enough to grep for.

    >>> str(Secret("hunter2")), f"{Secret('hunter2')!r}"
    ('Secret(…)', 'Secret(…)')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself. Every call is a place an auditor reads."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        raise TypeError("a Secret is not hashable: it must not become a key")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied into another format")

    def __iter__(self) -> NoReturn:
        raise TypeError("a Secret is not a sequence")

    def __bool__(self) -> bool:
        return bool(self._value)
