"""Pages of a list: `limit` and `cursor` in; `data`, `next_cursor` and `has_more` out.

A cursor holds the id of the last row somebody saw, and this server's word for it: for one list of one organization.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final, Protocol, TypeVar

import msgspec

from valetkey.server.api.door import Caller
from valetkey.server.errors import InvalidRequest
from valetkey.server.ids import is_id
from valetkey.server.services import Services

LONGEST_PAGE: Final = 200
_MAC_BYTES: Final = 32

Limit = Annotated[int, msgspec.Meta(ge=1, le=LONGEST_PAGE, description="How many rows at most.")]
Cursor = Annotated[str, msgspec.Meta(max_length=200, description="The next_cursor of the page before.")]


class HasId(Protocol):
    """A row of a list."""

    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=HasId)


class Page(msgspec.Struct, forbid_unknown_fields=True):
    limit: Limit = 50
    cursor: Cursor = ""


class Listing:
    """One list: a name, which its cursors are bound to."""

    def __init__(self, name: str) -> None:
        self._name = name

    def after(self, services: Services, caller: Caller, cursor: str) -> str:
        """The id a cursor stands for; the empty text where none was sent. Raises `InvalidRequest` for a forged one."""
        if not cursor:
            return ""
        # SECURITY: what was not made here for this list of this organization reaches no query.
        # Guarded by tests/flows/test_pagination.py::test_oa_23_a_forged_cursor_is_400_and_reaches_no_query
        try:
            opened = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mac, last = opened[:_MAC_BYTES], opened[_MAC_BYTES:].decode("ascii")
        except (binascii.Error, ValueError):
            mac, last = b"", ""
        vouched = services.mac.vouches_for("cursor", self._name, _value(caller, last), mac)
        if not vouched or not is_id(last) or cursor != _written(mac, last):
            raise InvalidRequest(
                "The cursor is not one this server gave for this list.", hint="Begin again without it."
            )
        return last

    def cut(
        self, services: Services, caller: Caller, found: Sequence[Row], limit: int
    ) -> tuple[Sequence[Row], str | None]:
        """The rows of this page and the cursor of the next; ask the store for one row more than `limit`."""
        rows = found[:limit]
        return rows, self._cursor(services, caller, rows[-1].id) if len(found) > limit else None

    def going_on(self, services: Services, caller: Caller, last: str) -> str:
        """The cursor of a page that goes on after `last`, for a list that is looked through in bounds."""
        return self._cursor(services, caller, last)

    def _cursor(self, services: Services, caller: Caller, last: str) -> str:
        mac = services.mac.mac_of("cursor", self._name, _value(caller, last))
        return _written(mac, last)


def _value(caller: Caller, last: str) -> bytes:
    return f"{caller.org} {last}".encode()  # ids hold no space


def _written(mac: bytes, last: str) -> str:
    """The one spelling of a cursor."""
    return base64.urlsafe_b64encode(mac + last.encode()).rstrip(b"=").decode()
