"""What all groups of methods share: something that sends, and lists read to their end."""

from collections.abc import Iterator
from typing import Any, Protocol

from valetkey.client.protocol import Request, get


class Sender(Protocol):
    """Whatever signs in, sends, and reads."""

    def call(self, request: Request) -> Any: ...
    def stream(self, request: Request) -> Iterator[bytes]: ...


class Group:
    """Methods of one kind of thing."""

    def __init__(self, sender: Sender) -> None:
        self._call = sender.call
        self._stream = sender.stream

    def _listed(self, path: str) -> list[Any]:
        rows: list[Any] = []
        cursor: str | None = None
        while True:
            page = self._call(get(path, cursor=cursor))
            rows += page["data"]
            cursor = page.get("next_cursor")
            if not page.get("has_more") or not cursor:
                return rows
