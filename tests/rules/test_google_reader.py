"""What one call to Gmail, Drive or Calendar does: by its path, by what its query adds, and by the folders it names."""

import json

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.google.read import GoogleReader
from valetkey.server.integrations.model import ResourceRef, resource_of
from valetkey.server.integrations.operations import compile_operations
from valetkey.server.integrations.reading import Pairs, Reading, Reads, Said, Unknown

APIS = {name: load_integration(name) for name in ("gmail", "google-drive", "google-calendar")}
FILES = "/drive/v3/files"
UPLOADS = "/upload/drive/v3/files"
EVENTS = "/calendar/v3/calendars/alice@acme.com/events"
MAIL = "/gmail/v1/users/me/messages"


def read(
    api: str,
    method: str,
    path: str,
    query: Pairs = (),
    *,
    kind: str = "",
    body: bytes = b"",
    headers: Pairs = (),
    **says: object,
) -> Reading | Unknown | None:
    reader = APIS[api].reader
    assert reader is not None
    if says:
        kind, body = "application/json", json.dumps(says).encode()
    segments = tuple(path.split("/")[1:])
    found = reader(Said(method=method, segments=segments, query=query, content_type=kind, body=body, headers=headers))
    assert isinstance(found, Reading | Unknown | None)
    return found


def done(api: str, method: str, path: str, query: Pairs = (), **more: object) -> list[tuple[str, ResourceRef | None]]:
    found = read(api, method, path, query, **more)  # type: ignore[arg-type]
    assert isinstance(found, Reading), found
    return [(match.operation.id, resource_of(match)) for match in found.matches]


def file(id_: str) -> ResourceRef:
    return ResourceRef("file", id=id_)


def calendar(id_: str) -> ResourceRef:
    return ResourceRef("calendar", id=id_)


@pytest.mark.parametrize(
    ("api", "method", "path", "query", "about"),
    [
        ("gmail", "GET", MAIL, (("q", "from:bob"), ("labelIds", "A"), ("labelIds", "B")), [("messages/list", None)]),
        ("gmail", "GET", f"{MAIL}/18c", (("format", "full"),), [("messages/get", None)]),
        ("google-drive", "GET", FILES, (("q", "trashed=false"), ("fields", "files(id)")), [("files/list", None)]),
        ("google-drive", "GET", f"{FILES}/1A", (("alt", "media"),), [("files/get", file("1A"))]),
        ("google-drive", "HEAD", f"{FILES}/1A", (), [("files/get", file("1A"))]),
        ("google-calendar", "GET", EVENTS, (("alt", "json"),), [("events/list", calendar("alice@acme.com"))]),
    ],
)
def test_what_is_asked_is_what_the_path_says(
    api: str, method: str, path: str, query: Pairs, about: list[tuple[str, ResourceRef | None]]
) -> None:
    assert done(api, method, path, query) == about
    found = read(api, method, path, query)
    assert isinstance(found, Reading)
    assert found.query == query


@pytest.mark.parametrize(
    ("api", "method", "path", "query"),
    [
        ("gmail", "GET", MAIL, (("key", "AIza"),)),
        ("gmail", "GET", MAIL, (("callback", "x"),)),
        ("gmail", "GET", MAIL, (("$.xgafv", "1"),)),
        ("gmail", "GET", MAIL, (("$alt", "media"),)),
        ("gmail", "GET", MAIL, (("alt", "media"),)),
        ("gmail", "GET", MAIL, (("alt", "proto"),)),
        ("gmail", "POST", f"{MAIL}/send", (("uploadType", "media"),)),
        ("google-drive", "GET", FILES, (("alt", "media"),)),
        ("google-drive", "GET", FILES, (("useDomainAdminAccess", "true"),)),
        ("google-drive", "POST", f"{FILES}/1A/permissions", (("useDomainAdminAccess", "true"),)),
        ("google-drive", "POST", FILES, (("addParents", "1F"),)),
        ("google-drive", "POST", FILES, (("uploadType", "media"),)),
        ("google-calendar", "POST", EVENTS, (("destination", "bob@acme.com"),)),
    ],
)
def test_a_query_name_that_makes_it_another_call_is_no_operation(
    api: str, method: str, path: str, query: Pairs
) -> None:
    assert isinstance(read(api, method, path, query), Unknown)
    assert isinstance(read(api, method, path), Reading)


def test_a_name_said_twice_is_refused_where_it_has_one_meaning() -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        read("google-drive", "PATCH", f"{FILES}/1A", (("addParents", "1F"), ("addParents", "1G")))


@pytest.mark.parametrize("path", [f"{FILES}/trash", f"{FILES}/generateCseToken", f"{UPLOADS}/trash"])
def test_a_word_in_the_place_of_an_id_is_no_file(path: str) -> None:
    method = "PATCH" if path.startswith(UPLOADS) else "GET" if "Cse" in path else "DELETE"
    assert isinstance(read("google-drive", method, path), Unknown)
    if method == "DELETE":
        assert done("google-drive", method, f"{FILES}/1A") == [("files/delete", file("1A"))]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/batch/drive/v3"),
        ("POST", "/batch/gmail/v1"),
        ("POST", "/batch"),
        ("POST", f"{FILES}/1A/watch"),
        ("POST", "/drive/v3/changes/watch"),
        ("POST", "/drive/v3/drives"),
        ("POST", "/resumable/upload/drive/v3/files"),
        ("PUT", UPLOADS),
        ("POST", "/calendar/v3/calendars/a/events/watch"),
        ("POST", "/gmail/v1/users/me/watch"),
        ("POST", "/gmail/v1/users/me/settings/delegates"),
        ("POST", "/gmail/v1/users/me/settings/forwardingAddresses"),
        ("PUT", "/gmail/v1/users/me/settings/autoForwarding"),
        ("POST", "/gmail/v1/users/me/settings/sendAs"),
        ("GET", "/gmail/v1/users/bob@acme.com/messages"),
    ],
)
def test_what_lasts_or_holds_many_calls_is_described_nowhere(method: str, path: str) -> None:
    assert [read(api, method, path) for api in APIS] == [None, None, None]


# --- folders and calendars a thing comes to
def test_a_new_file_is_about_the_folders_it_is_put_into() -> None:
    assert done("google-drive", "POST", FILES, name="a") == [("files/create", None)]
    assert done("google-drive", "POST", FILES, name="a", parents=["root"]) == [("files/create", None)]
    assert done("google-drive", "POST", FILES, name="a", parents=["1F"]) == [("files/add", file("1F"))]
    both = done("google-drive", "POST", FILES, name="a", parents=["root", "1F"])
    assert both == [("files/create", None), ("files/add", file("1F"))]
    copied = done("google-drive", "POST", f"{FILES}/1A/copy", parents=["1F"])
    assert copied == [("files/copy", file("1A")), ("files/add", file("1F"))]


def test_what_is_moved_asks_for_where_it_comes_to() -> None:
    moved = done("google-drive", "PATCH", f"{FILES}/1A", (("addParents", "1F,1G"), ("removeParents", "1H")))
    assert moved == [("files/update", file("1A")), ("files/add", file("1F")), ("files/add", file("1G"))]
    assert done("google-drive", "PATCH", f"{FILES}/1A") == [("files/update", file("1A"))]
    event = done("google-calendar", "POST", f"{EVENTS}/e1/move", (("destination", "bob@acme.com"),))
    assert event == [("events/move", calendar("alice@acme.com")), ("events/insert", calendar("bob@acme.com"))]
    for method, path, query in (
        ("POST", f"{EVENTS}/e1/move", ()),
        ("POST", f"{EVENTS}/e1/move", (("destination", "../x"),)),
    ):
        with pytest.raises(InvalidRequest, match="names nothing"):
            read("google-calendar", method, path, query)


@pytest.mark.parametrize("says", [{"parents": "1F"}, {"parents": [1]}, {"parents": ["1F/x"]}, {"parents": {}}])
def test_parents_that_are_no_ids_are_refused(says: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        read("google-drive", "POST", FILES, **says)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Parents", "PARENTS", "parents_", "$parents"])
def test_parents_have_one_spelling(name: str) -> None:
    with pytest.raises(InvalidRequest, match="The body says"):
        read("google-drive", "POST", FILES, **{name: ["1F"]})  # type: ignore[arg-type]


def test_what_is_said_of_a_new_file_is_one_json_object_and_is_called_so() -> None:
    found = read("google-drive", "POST", FILES, body=b'{"name": "a"}')
    assert isinstance(found, Reading)
    assert (found.content_type, found.body) == ("application/json", b'{"name": "a"}')
    for kind, body in (
        ("application/json", b'{"parents": [], "parents": ["1F"]}'),
        ("application/json", b"[]"),
        ("application/x-protobuf", b"{}"),
        ("application/json; charset=utf-16", b"{}"),
    ):
        with pytest.raises(InvalidRequest):
            read("google-drive", "POST", FILES, kind=kind, body=body)


# --- uploads
def upload(said: bytes, media: bytes = b"hello", *, line: bytes = b"\n", kind: bytes = b"text/plain") -> bytes:
    parts = (
        (b"Content-Type: application/json" + line + b"MIME-Version: 1.0", said),
        (b"Content-Type: " + kind + line + b"Content-Transfer-Encoding: binary", media),
    )
    return b"".join(b"--b" + line + head + line + line + body + line for head, body in parts) + b"--b--" + line


MULTIPART = (("uploadType", "multipart"),)
RELATED = 'multipart/related; boundary="b"'


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_an_upload_is_about_its_folder_and_is_written_anew(line: bytes) -> None:
    sent = upload(b'{"name": "a", "parents": ["1F"]}', b"hel\r\nlo\n", line=line)
    found = read("google-drive", "POST", UPLOADS, MULTIPART, kind=RELATED, body=sent)
    assert isinstance(found, Reading)
    assert [(m.operation.id, resource_of(m)) for m in found.matches] == [("files/add", file("1F"))]
    boundary = found.content_type.partition("boundary=")[2].encode()
    parts = found.body.split(b"--" + boundary)
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:3]] == [
        b'{"name": "a", "parents": ["1F"]}\r\n',
        b"hel\r\nlo\n\r\n",
    ]
    assert (parts[0], parts[3]) == (b"", b"--\r\n")
    alone = read("google-drive", "POST", UPLOADS, (("uploadType", "media"),), kind="text/plain", body=b"hello")
    assert isinstance(alone, Reading)
    assert ([m.operation.id for m in alone.matches], alone.body) == (["files/upload"], b"hello")


MEDIA = (("uploadType", "media"),)


def test_the_query_and_the_type_of_an_upload_say_the_same() -> None:
    # With `media` the API takes the whole body for the file: it never sees the folder, and puts it at the top.
    sent = upload(b'{"parents": ["1F"]}')
    assert done("google-drive", "POST", UPLOADS, MULTIPART, kind=RELATED, body=sent) == [("files/add", file("1F"))]
    assert done("google-drive", "POST", UPLOADS, MEDIA, kind="text/plain", body=b"a") == [("files/upload", None)]
    for query, kind, body in ((MEDIA, RELATED, sent), (MULTIPART, "text/plain", b"a"), (MULTIPART, "", sent)):
        with pytest.raises(InvalidRequest, match="uploadType"):
            read("google-drive", "POST", UPLOADS, query, kind=kind, body=body)


def test_a_key_beside_the_credential_is_no_operation_in_a_header_either() -> None:
    assert isinstance(read("google-drive", "GET", FILES, headers=(("x-goog-api-key", "AIza"),)), Unknown)
    assert isinstance(read("google-drive", "GET", FILES, headers=(("x-goog-api-client", "gl-python"),)), Reading)


GOOD = upload(b"{}")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/related", GOOD),
        ("multipart/mixed; boundary=b", GOOD),
        ("multipart/related; boundary=b; boundary=c", GOOD),
        (RELATED, b"x" + GOOD),
        (RELATED, GOOD + b"x"),
        (RELATED, GOOD.replace(b"hello", b'--b\n\n{"parents": ["1F"]}')),
        (RELATED, GOOD.replace(b"hello", b"say --b")),
        (RELATED, GOOD.replace(b"application/json", b"text/json")),
        (RELATED, GOOD.replace(b"application/json\n", b"application/json\nContent-Type: text/plain\n")),
        (RELATED, GOOD.replace(b"MIME-Version: 1.0", b"Content-Transfer-Encoding: base64")),
        (RELATED, GOOD.replace(b"MIME-Version: 1.0", b"Content-Disposition: x")),
        (RELATED, GOOD.replace(b"--b\nContent-Type: text/plain", b"--b--\nContent-Type: text/plain")),
        (RELATED, upload(b'{"a": 1, "a": 2}')),
        (RELATED, b""),
    ],
)
def test_an_upload_with_two_readings_is_refused(kind: str, body: bytes) -> None:
    assert isinstance(read("google-drive", "POST", UPLOADS, MULTIPART, kind=RELATED, body=GOOD), Reading)
    with pytest.raises(InvalidRequest):
        read("google-drive", "POST", UPLOADS, MULTIPART, kind=kind, body=body)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ((), ()),
        ((("uploadType", "resumable"),), ()),
        ((("uploadType", "media"), ("upload_id", "x")), ()),
        ((("uploadType", "media"), ("upload_protocol", "resumable")), ()),
        ((("uploadType", "media"),), (("x-goog-upload-protocol", "resumable"),)),
    ],
)
@pytest.mark.parametrize(
    ("api", "method", "path"),
    [
        ("google-drive", "POST", UPLOADS),
        ("google-drive", "PATCH", f"{UPLOADS}/1A"),
        ("gmail", "POST", "/upload/gmail/v1/users/me/messages/send"),
    ],
)
def test_an_upload_in_pieces_is_no_operation(api: str, method: str, path: str, query: Pairs, headers: Pairs) -> None:
    assert isinstance(read(api, method, path, query, headers=headers), Unknown)
    assert isinstance(read(api, method, path, (("uploadType", "media"),)), Reading)


def test_only_what_may_say_where_is_read_whole() -> None:
    def reads(api: str, method: str, path: str) -> Reads:
        reader = APIS[api].reader
        assert reader is not None
        return reader.reads(method, tuple(path.split("/")[1:]))

    for method, path in (("POST", FILES), ("POST", UPLOADS), ("POST", f"{FILES}/1A/copy")):
        assert reads("google-drive", method, path) is Reads.BODY
    assert reads("google-drive", "POST", f"{FILES}/1A/comments") is Reads.BODY
    assert reads("google-drive", "PATCH", f"{UPLOADS}/1A") is Reads.TARGET
    assert reads("google-drive", "GET", f"{FILES}/1A") is Reads.TARGET
    assert reads("gmail", "POST", f"{MAIL}/send") is Reads.TARGET


def test_a_comment_with_a_link_is_marked_as_leading_outside() -> None:
    comments = f"{FILES}/1A/comments"
    for text, links in (("see https://evil.example/?d=1", "outside"), ("looks good", None)):
        found = read("google-drive", "POST", comments, content=text)
        assert isinstance(found, Reading)
        assert [match.judged.get("links") for match in found.matches] == [links]


# --- what the tables promise
def test_nothing_that_outlives_a_task_is_a_part_of_a_plain_write() -> None:
    gmail = APIS["gmail"]
    lasting = {"settings/create-filter", "settings/delete-filter", "settings/update-vacation"}
    for scope in gmail.scopes.values():
        if lasting & scope.operations:
            assert (scope.tier, scope.outlives, scope.operations <= lasting) == ("danger", True, True)
    for api in APIS.values():
        for operation in api.operations.values():
            if operation.category in ("permissions", "acl") and operation.access == "write":
                assert api.scopes[operation.scope].tier == "danger"
                assert operation.scope in ("files:access", "calendars:access")
    sends = {o.id for o in gmail.operations.values() if o.scope == "mail:send"}
    assert sends == {"messages/send", "messages/upload-send", "drafts/send", "drafts/upload-send"}
    assert not sends & gmail.scopes["drafts:write"].operations


def test_a_table_without_what_the_reader_speaks_of_is_refused() -> None:
    drive = APIS["google-drive"].operations
    with pytest.raises(ValueError, match="files/add"):
        GoogleReader(compile_operations([one for one in drive.values() if one.id != "files/add"]))
