"""Which operations one call to Gmail, Drive or Calendar is: its path, what its query adds, and which folders it names.

A query name that is not known here is no operation: some make a call act for a whole domain, answer as a script, or
carry a key. A file that is put into a folder is seen by whoever sees the folder, so each folder that query or body
name is a thing of its own, and so is the calendar an event is moved to. An upload in pieces is no operation: it begins
with an address that needs no credential and lasts for a week. Refuses to know what is allowed.
Facts: the discovery documents of gmail v1, drive v3 and calendar v3; developers.google.com/drive, "Upload file data".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.google.related import Related, related
from valetkey.server.integrations.links import leads_outside, marked, texts_of
from valetkey.server.integrations.model import Match
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Pairs, Reading, Reads, Said, Unknown
from valetkey.verify.json import MalformedJson, parse_object

PARENTS_TAG: Final = "parents"
"""Marks an operation whose body may name folders the new file is put into."""
UPLOAD_TAG: Final = "upload"
"""Marks an operation at the address that takes files."""
CONTENTS_TAG: Final = "contents"
"""Marks an operation that may be asked for a file itself instead of what is said of it."""
TEXT_TAG: Final = "text"
FOLDER: Final = "files/add"
"""What putting a file into a folder is, on that folder."""
MOVE: Final = "events/move"
INTO: Final = "events/insert"
"""What an event that is moved is besides, on the calendar it comes to."""

_JSON: Final = re.compile(r'application/json(?: *; *charset="?utf-8"?)?', re.IGNORECASE)
_ID: Final = re.compile(r"[A-Za-z0-9_@.-]{1,100}")
_TOP: Final = "root"
_NO_FILES: Final = frozenset({"trash", "generateCseToken"})
"""Words that stand where ids of files stand, and are operations nobody described."""
_UPLOADS: Final = frozenset({"media", "multipart"})

_ANYWHERE: Final = "fields prettyPrint quotaUser"
_WHAT_IS_SHOWN: Final = """
    acknowledgeAbuse alwaysIncludeEmail corpora count driveId eventTypes format historyTypes iCalUID
    includeCorpusRemovals includeDeleted includeItemsFromAllDrives includeLabels includePermissionsForView
    includeRemoved includeSpamTrash labelId labelIds maxAttendees maxResults metadataHeaders mimeType minAccessRole
    orderBy originalStart pageSize pageToken privateExtendedProperty q restrictToMyDrive sharedExtendedProperty
    showDeleted showHidden showHiddenInvitations showOwnOrganizationOnly singleEvents space spaces startHistoryId
    startModifiedTime supportsAllDrives syncToken timeMax timeMin timeZone type updatedMin
"""
_HOW_IT_IS_DONE: Final = """
    conferenceDataVersion copyComments emailMessage enforceExpansiveAccess enforceSingleParent
    ignoreDefaultVisibility keepRevisionForever moveToNewOwnersRoot ocrLanguage removeExpiration removeParents
    sendNotificationEmail sendNotifications sendUpdates supportsAttachments text transferOwnership
    useContentAsIndexableText
"""
_KNOWN: Final = frozenset(f"{_ANYWHERE} {_WHAT_IS_SHOWN} {_HOW_IT_IS_DONE}".split())
"""Query names that say nothing beyond the operation and the thing of the path."""
_SEVERAL: Final = frozenset(
    ["eventTypes", "historyTypes", "labelIds", "metadataHeaders", "privateExtendedProperty", "sharedExtendedProperty"]
)
"""Those that may be said more than once."""


class GoogleReader:
    """One per description of one of the APIs."""

    most_bytes = 5 << 20  # what Google takes in one piece, as it advises

    def __init__(self, operations: Operations) -> None:
        tags = frozenset().union(*(operation.tags for operation in operations.values()))
        needed = ({FOLDER} if PARENTS_TAG in tags else set()) | ({INTO} if MOVE in operations else set())
        if missing := sorted(needed - set(operations)):
            raise ValueError(f"the reader google needs the operations {', '.join(missing)}")
        self._operations = operations

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """The query always; the body where it may name folders or is shown to people as text."""
        match = self._operations.match(method, tuple(segments))
        says = match is not None and match.operation.tags & {PARENTS_TAG, TEXT_TAG}
        return Reads.BODY if says else Reads.TARGET

    def __call__(self, said: Said) -> Reading | Unknown | None:
        if any(name == "x-http-method-override" for name, _ in said.headers):
            raise InvalidRequest(
                "A header must not override the method.",
                hint="Google's client does so where an address has more than 2,048 characters: ask for less at once.",
            )
        match = self._operations.match(said.method, said.segments)
        if match is None:
            return None
        if match.fields.get("file_id") in _NO_FILES:
            return Unknown("what stands in the place of a file's id")
        told = _told(said.query)
        if (unknown := _unknown(match, told, said)) is not None:
            return unknown
        matches = [match, *self._places(match, told)]
        if match.operation.tags & {PARENTS_TAG, TEXT_TAG}:
            return self._with_body(matches, said)
        return Reading(matches=matches, query=said.query)

    def _places(self, match: Match, told: Mapping[str, str]) -> list[Match]:
        """Where else the query puts the thing of the path."""
        # SECURITY: whoever sees the other folder or calendar sees it from then on, so that one must be allowed as well.
        # Guarded by tests/rules/test_google_reader.py::test_what_is_moved_asks_for_where_it_comes_to
        if match.operation.id == MOVE:
            into = self._operations[INTO]
            return [Match(into, {"calendar_id": _one_id(told.get("destination", ""), "destination")})]
        return [self._folder(one, "addParents") for one in told.get("addParents", "").split(",") if one]

    def _with_body(self, matches: Sequence[Match], said: Said) -> Reading:
        match, *others = matches
        upload = _upload(said) if UPLOAD_TAG in match.operation.tags else None
        if upload is not None:
            content_type, body = upload.written()
            members = _object(upload.said)
        elif UPLOAD_TAG in match.operation.tags:
            content_type, body, members = said.content_type, said.body, {}  # the file alone: nothing is said of it
        else:
            if said.body and said.content_type and not _JSON.fullmatch(said.content_type):
                raise InvalidRequest("The body is no JSON.", hint="Send it as application/json.")
            content_type, body = "application/json" if said.body else "", said.body
            members = _object(said.body) if said.body else {}
        if PARENTS_TAG in match.operation.tags:
            found = self._with_folders(match, members)
        else:
            leads = any(leads_outside(text) for text in texts_of(members))
            found = marked([match]) if leads else [match]
        return Reading(matches=[*found, *others], query=said.query, content_type=content_type, body=body)

    def _with_folders(self, match: Match, members: Mapping[str, object]) -> list[Match]:
        """A new file is about the folders it is put into; about the account where it names none."""
        for name in members:
            # SECURITY: whether the API forgives another spelling nobody here knows.
            # Guarded by tests/rules/test_google_reader.py::test_parents_have_one_spelling
            if name != "parents" and name.casefold().strip("_$") in ("parents", "parent"):
                raise InvalidRequest(f"The body says {name[:40]!r}.", hint="Folders are named by `parents`.")
        parents = members.get("parents", [])
        if not isinstance(parents, list) or not all(isinstance(one, str) for one in parents):
            raise InvalidRequest("`parents` is no list of ids.", hint='Write it like "parents": ["1AbC"].')
        folders = [self._folder(str(one), "parents") for one in parents if one != _TOP]
        if match.operation.resource_kind != "account" or not folders or len(folders) < len(parents):
            return [match, *folders]
        return folders

    def _folder(self, id_: str, where: str) -> Match:
        return Match(self._operations[FOLDER], {"file_id": _one_id(id_, where)})


def _upload(said: Said) -> Related | None:
    upload = related(said.content_type, said.body)
    # SECURITY: the API goes by the query; with `media` all of it is the file, what it says of folders too.
    # Guarded by tests/rules/test_google_reader.py::test_the_query_and_the_type_of_an_upload_say_the_same
    if (upload is not None) != (("uploadType", "multipart") in said.query):
        raise InvalidRequest(
            "uploadType says another kind of upload than the content type.",
            hint="uploadType=multipart goes with multipart/related, uploadType=media with the file alone.",
        )
    return upload


def _told(query: Pairs) -> dict[str, str]:
    names = [name for name, _ in query if name not in _SEVERAL]
    if len(set(names)) != len(names):
        raise InvalidRequest("The query says one name twice.", hint="Say each name once.")
    return dict(query)


def _unknown(match: Match, told: Mapping[str, str], said: Said) -> Unknown | None:
    """What makes it another operation than its path says."""
    if any(name == "x-goog-api-key" for name, _ in said.headers):
        return Unknown("the header x-goog-api-key")
    tags = match.operation.tags
    known = _KNOWN | {"alt", *(["uploadType"] if UPLOAD_TAG in tags else ())}
    if match.operation.id == MOVE:
        known |= {"destination"}
    if match.operation.method == "PATCH" and "file_id" in match.fields and match.operation.category == "files":
        known |= {"addParents"}
    for name in told:
        if name not in known:
            return Unknown(f"the query parameter {name}")
    if told.get("alt", "json") not in ({"json", "media"} if CONTENTS_TAG in tags else {"json"}):
        return Unknown(f"alt={told['alt']}")
    # SECURITY: what begins an upload in pieces is answered with an address that takes the file from anybody.
    # Guarded by tests/rules/test_google_reader.py::test_an_upload_in_pieces_is_no_operation
    begins = any(name.startswith("x-goog-upload") for name, _ in said.headers)
    if UPLOAD_TAG in tags and (begins or told.get("uploadType") not in _UPLOADS):
        return Unknown("an upload in pieces, which needs no credential once it has begun; send the file whole")
    return None


def _one_id(text: str, where: str) -> str:
    if not _ID.fullmatch(text):
        raise InvalidRequest(f"`{where}` names nothing.", hint="Give the id as the API gives it.")
    return text


def _object(body: bytes) -> dict[str, object]:
    try:
        return parse_object(body)
    except MalformedJson as error:
        raise InvalidRequest(
            "The body is not one unambiguous JSON object.",
            hint="What it says is read before it is sent: send it as application/json.",
            detail=str(error),
        ) from None
