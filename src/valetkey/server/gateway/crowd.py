"""How many calls are under way on this node: to one API, and for one person there. A slow API slows nobody else.

A place is taken once it is known whose call it is, before anything is asked of the API, and left with the call's last
byte. Refused calls are not decided and not recorded: whoever sends too many must not make the audit trail grow.
"""

from typing import NamedTuple

from valetkey.server.errors import TooMany, Unavailable


class Place(NamedTuple):
    """One call's place."""

    api: str
    person: str


class Crowd:
    """One per process. 0 is no limit."""

    def __init__(self, *, per_api: int, per_person: int) -> None:
        self._per_api = per_api
        self._per_person = per_person
        self._apis: dict[str, int] = {}
        self._people: dict[Place, int] = {}

    def enter(self, api: str, person: str) -> Place:
        """Take a place. Raises `TooMany` when the person has enough under way, `Unavailable` when the API has."""
        place = Place(api, person)
        of_person, at_api = self._people.get(place, 0), self._apis.get(api, 0)
        if self._per_person and of_person >= self._per_person:
            raise TooMany(
                f"{self._per_person} calls of yours are under way at this API.",
                hint="Wait until one of them has ended, then try again.",
            )
        if self._per_api and at_api >= self._per_api:
            raise Unavailable(
                f"{self._per_api} calls are under way at this API, which answers slowly.",
                hint="Wait, then try again. Other APIs are not held up.",
            )
        self._apis[api] = at_api + 1
        self._people[place] = of_person + 1
        return place

    def leave(self, place: Place) -> None:
        """The call is over."""
        self._apis[place.api] -= 1
        self._people[place] -= 1
        if not self._people[place]:
            del self._people[place]
