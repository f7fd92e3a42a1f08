"""Google's own client through the gateway, at Gmail, Drive and Calendar: what was delegated, and what was not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import google_clients, scripts
from tests.support.house import House, open_house
from tests.support.seen import Seen
from tests.support.served import served
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(google_clients.CLIENT.missing() is not None, reason="build/google is not prepared")

REAL = "ya29.realCanaryOfAlice0123456789abcdefghijklmnop"
AUDIENCES = {
    "gmail": "https://gmail.googleapis.com",
    "drive": "https://www.googleapis.com/drive/v3",
    "calendar": "https://www.googleapis.com/calendar/v3",
}
NAMES = {"gmail": "gmail", "drive": "google-drive", "calendar": "google-calendar"}
MAIL = "/gmail/v1/users/me"
FILES = "/drive/v3/files"
CALENDARS = "/calendar/v3/calendars"


def answered(up: Upstream) -> None:
    """What Google's documentation says each of them answers."""
    up.answers("GET", f"{MAIL}/profile", json={"emailAddress": "alice@acme.com", "messagesTotal": 2})
    up.answers("GET", "/oauth2/v3/userinfo", json={"sub": "1077", "email": "alice@acme.com"})
    up.answers("GET", f"{MAIL}/labels", json={"labels": [{"id": "INBOX", "name": "INBOX", "type": "system"}]})
    up.answers("GET", f"{MAIL}/messages", json={"messages": [{"id": "18c", "threadId": "18c"}]})
    up.answers("GET", f"{MAIL}/messages/18c", json={"id": "18c", "snippet": "Lunch?"})
    up.answers("POST", f"{MAIL}/messages/18c/modify", json={"id": "18c", "labelIds": ["INBOX"]})
    up.answers("POST", f"{MAIL}/drafts", json={"id": "r1", "message": {"id": "18d"}})
    up.answers("POST", f"{MAIL}/messages/send", json={"id": "18e", "labelIds": ["SENT"]})
    up.answers("POST", f"/upload{MAIL}/messages/send", json={"id": "18f", "labelIds": ["SENT"]})
    up.answers("POST", f"{MAIL}/settings/filters", json={"id": "f1"})
    for id_, name in (("plan-1", "Plan"), ("payroll-1", "Payroll"), ("folder-1", "Reports"), ("folder-2", "Shared")):
        up.answers("GET", f"{FILES}/{id_}", json={"kind": "drive#file", "id": id_, "name": name})
    shared = (
        f"{FILES}/shared-1?fields=id&supportsAllDrives=true"  # of a shared drive: not there for who does not say so
    )
    up.answers("GET", shared, json={"id": "shared-1"})
    up.answers(
        "GET", f"{FILES}/shared-1?supportsAllDrives=true&alt=json", json={"id": "shared-1", "name": "Everybody's"}
    )
    media = scripts.chunked(b"the pl", b"an", headers={"Content-Type": "text/plain"})
    up.answers("GET", f"{FILES}/plan-1?alt=media", script=media)
    up.answers("GET", f"{FILES}/plan-1/export", headers={"Content-Type": "text/plain"}, body="the plan, exported")
    up.answers("GET", FILES, json={"files": [{"id": "plan-1", "name": "Plan"}]})
    up.answers("POST", FILES, json={"id": "new-1", "name": "report"})
    up.answers("POST", f"/upload{FILES}", json={"id": "new-2", "name": "report"})
    up.answers("PATCH", f"/upload{FILES}/plan-1", json={"id": "plan-1", "name": "Plan"})
    up.answers("POST", f"{FILES}/plan-1/permissions", json={"id": "anyoneWithLink"})
    for id_ in ("alice@acme.com", "bob@acme.com"):
        asked = id_.replace("@", "%40")
        up.answers("GET", f"{CALENDARS}/{asked}", json={"kind": "calendar#calendar", "id": id_})
        up.answers("GET", f"{CALENDARS}/{id_}/events", json={"items": [{"id": "e1", "summary": "Planning"}]})
    up.answers("GET", f"{CALENDARS}/primary", json={"kind": "calendar#calendar", "id": "alice@acme.com"})
    up.answers("GET", f"{CALENDARS}/primary/events", json={"items": [{"id": "e1", "summary": "Planning"}]})
    up.answers("POST", f"{CALENDARS}/alice@acme.com/events", json={"id": "e2"})
    up.answers("POST", f"{CALENDARS}/alice@acme.com/events/e1/move", json={"id": "e1"})
    up.answers("POST", "/calendar/v3/freeBusy", json={"calendars": {}})


@dataclass
class Google:
    """A deployment whose Alice is connected to one of the APIs, and what arrived there."""

    house: House
    up: Upstream

    async def story(self, api: str, *grants: str) -> dict[str, Any]:
        """What Google's client gets under these grants; nothing real is in it."""
        lines = [f"{NAMES[api]}:{grant}" for grant in grants]
        agent = await self.house.agent("assistant", ceiling=[line.partition("@")[0] + "@*" for line in lines])
        task = await self.house.task(await self.house.delegate(agent, *lines))
        token = await agent.token(task["task_token"], resource=AUDIENCES[api])
        self.up.seen.clear()
        steps = await asyncio.to_thread(google_clients.story, api, self.house.base, token)
        assert REAL not in json.dumps(steps)
        assert all(token.encode() not in seen.raw and not seen.oddities for seen in self.up.seen)
        return steps

    @property
    def calls(self) -> list[Seen]:
        """What arrived besides the gateway's own look-ups; each with the real credential."""
        found = [seen for seen in self.up.seen if b"(agent " in (seen.header("user-agent") or b"")]
        assert all(seen.values("authorization") == [f"Bearer {REAL}".encode()] for seen in found)
        return found

    def written(self) -> list[tuple[str, bytes]]:
        return [(seen.method, seen.path) for seen in self.calls if seen.method != "GET"]


Opened = Callable[[str], contextlib.AbstractAsyncContextManager[Google]]


@pytest.fixture
def google(tmp_path: Path) -> Opened:
    @contextlib.asynccontextmanager
    async def opened(api: str) -> AsyncIterator[Google]:
        async with Upstream() as up:
            answered(up)
            place = up.url.removeprefix("http://")
            async with open_house(tmp_path / "data", upstreams={NAMES[api]: up.url}, local=(place,)) as house:
                made = await house.alice.does("POST", "/v1/connections", integration=NAMES[api], credential=REAL)
                assert made["account"] == "alice@acme.com"
                yield Google(house, up)

    return opened


def allowed(steps: dict[str, Any]) -> set[str]:
    return {name for name, step in steps.items() if step["ok"]}


async def test_who_reads_mail_reads_it_and_sends_nothing(google: Opened) -> None:
    async with google("gmail") as there:
        steps = await there.story("gmail", "mail:read@*")
        assert allowed(steps) == {"by_endpoint", "list", "get"}
        assert steps["list"]["value"] == [{"id": "18c", "threadId": "18c"}]
        assert steps["get"]["value"] == "Lunch?"
        assert there.written() == []
        [listed] = [seen for seen in there.calls if seen.path == f"{MAIL}/messages".encode()]
        assert listed.target == f"{MAIL}/messages?q=is%3Aunread&labelIds=INBOX&alt=json".encode()
        # What the client shows of a refusal is the sentence, the next step and the reason, and not a bare status.
        send = steps["send"]
        assert send["status"] == 403
        assert "messages/send is a write; delegated: mail:read." in send["reason"]
        assert "'reason': 'not_delegated'" in send["text"]
        for unknown in ("delegate", "batch", "somebody"):
            assert steps[unknown]["status"] == 403
            assert "This operation is not one the integration knows." in steps[unknown]["reason"]


async def test_sending_is_no_part_of_drafting_and_a_filter_is_no_part_of_sending(google: Opened) -> None:
    async with google("gmail") as there:
        drafting = await there.story("gmail", "mail:organize,drafts:write,labels:write@*")
        assert allowed(drafting) == {"by_endpoint", "list", "get", "draft", "organize"}
        assert there.written() == [
            ("POST", f"{MAIL}/drafts".encode()),
            ("POST", f"{MAIL}/messages/18c/modify".encode()),
        ]


async def test_who_sends_mail_sends_what_the_client_wrote_and_makes_no_filter(google: Opened) -> None:
    async with google("gmail") as there:
        steps = await there.story("gmail", "mail:send@*")
        assert allowed(steps) == {"send", "upload"}
        sent, uploaded = there.calls
        assert json.loads(sent.body)["raw"].startswith("VG86IGJvYkBhY21lLmNvbQ")
        assert (uploaded.path, uploaded.body) == (f"/upload{MAIL}/messages/send".encode(), b"To: bob@acme.com")


async def test_one_file_is_read_and_changed_and_no_other(google: Opened) -> None:
    async with google("drive") as there:
        reading = await there.story("drive", "files:read@plan-1")
        assert allowed(reading) == {"by_endpoint", "get", "download", "export"}
        assert reading["download"]["value"] == "the plan"
        assert reading["export"]["value"] == "the plan, exported"
        assert "payroll-1 is not among the delegated resources." in reading["elsewhere"]["reason"]
        assert there.written() == []


async def test_a_file_of_a_shared_drive_is_granted_like_any_other(google: Opened) -> None:
    async with google("drive") as there:
        steps = await there.story("drive", "files:read@shared-1")
        assert allowed(steps) == {"shared"}
        assert steps["shared"]["value"] == "Everybody's"
        refused = await there.house.alice.call(
            "POST", "/v1/delegations", agent="assistant", grants=["google-drive:files:read@shared-2"], purpose="x"
        )
        assert (refused.status, refused.code) == (404, "not_found")


async def test_who_changes_a_file_sends_its_contents_and_shares_it_with_nobody(google: Opened) -> None:
    async with google("drive") as there:
        steps = await there.story("drive", "files:write@plan-1", "files:list@*")
        assert allowed(steps) == {"by_endpoint", "list", "get", "download", "export", "contents"}
        [contents] = [seen for seen in there.calls if seen.method == "PATCH"]
        assert contents.target == f"/upload{FILES}/plan-1?alt=json&uploadType=media".encode()
        assert contents.body == b"changed"
        assert "permissions/create is a write" in steps["share"]["reason"]
        assert "an upload in pieces" in steps["in_pieces"]["reason"]
        assert steps["batch"]["status"] == 403
        assert steps["long"]["status"] == 400
        assert steps["long"]["reason"].startswith("A header must not override the method.")


async def test_a_new_file_goes_into_the_folder_that_was_named_and_into_no_other(google: Opened) -> None:
    async with google("drive") as there:
        steps = await there.story("drive", "files:add@folder-1")
        assert allowed(steps) == {"into_folder"}
        assert "folder-2 is not among the delegated resources." in steps["into_another"]["reason"]
        [put] = there.calls
        boundary = (put.header("content-type") or b"").partition(b"boundary=")[2]
        _, said, media, end = put.body.split(b"--" + boundary)
        assert json.loads(said.partition(b"\r\n\r\n")[2]) == {"name": "report", "parents": ["folder-1"]}
        assert media.endswith(b"\r\n\r\nhi\r\n")
        assert end == b"--\r\n"


async def test_who_may_share_shares(google: Opened) -> None:
    async with google("drive") as there:
        steps = await there.story("drive", "files:access@plan-1")
        assert allowed(steps) == {"share"}


async def test_one_calendar_is_read_by_its_address_and_no_other(google: Opened) -> None:
    async with google("calendar") as there:
        steps = await there.story("calendar", "events:read@alice@acme.com", "freebusy:read@*")
        assert allowed(steps) == {"by_endpoint", "list", "free"}
        assert steps["list"]["value"] == ["Planning"]
        assert "bob@acme.com is not among the delegated resources." in steps["elsewhere"]["reason"]
        assert [seen.path for seen in there.calls if seen.method != "GET"] == [b"/calendar/v3/freeBusy"]


async def test_an_event_is_moved_only_into_a_calendar_that_may_be_written(google: Opened) -> None:
    async with google("calendar") as there:
        alone = await there.story("calendar", "events:write@primary")
        assert allowed(alone) == {"by_endpoint", "list", "insert"}
        assert "bob@acme.com is not among the delegated resources." in alone["move"]["reason"]


async def test_with_both_calendars_it_is_moved(google: Opened) -> None:
    async with google("calendar") as there:
        steps = await there.story("calendar", "events:write@alice@acme.com,bob@acme.com")
        assert steps["move"] == {"ok": True, "value": "e1"}
        [moved] = [seen for seen in there.calls if seen.path.endswith(b"/move")]
        assert moved.target == f"{CALENDARS}/alice@acme.com/events/e1/move?destination=bob%40acme.com&alt=json".encode()


UNDER_RUN = """
import os
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
credentials = Credentials(token=os.environ["VALETKEY_GMAIL_TOKEN"])
messages = build("gmail", "v1", credentials=credentials, static_discovery=True).users().messages()
print(messages.get(userId="me", id="18c").execute()["snippet"])
try:
    messages.send(userId="me", body={"raw": "eA"}).execute()
except HttpError as refused:
    print(refused.status_code, refused.reason)
"""


async def test_a_program_that_was_never_told_of_it_asks_google_under_run(tmp_path: Path) -> None:
    async with Upstream() as up, contextlib.AsyncExitStack() as stack:
        answered(up)
        places = {
            "VALETKEY_UPSTREAMS": f"gmail={up.url}",
            "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": up.url.removeprefix("http://"),
        }
        server = await asyncio.to_thread(stack.enter_context, served(tmp_path, **places))
        for command, said in (
            (("login", "--code-stdin", "--email", "alice@acme.com"), server.code),
            (("connect", "gmail", "--token-stdin"), REAL),
            (("agent", "create", "reader", "--save"), ""),
        ):
            await asyncio.to_thread(server.answer, *command, stdin=said)
        run = ("run", "--agent", "reader", "--grant", "gmail:mail:read@*", "--")
        done = await asyncio.to_thread(
            server.valetkey, *run, str(google_clients.CLIENT.python), "-P", "-c", UNDER_RUN, NO_GCE_CHECK="true"
        )
        assert done.returncode == 0, done.stderr
        read, refused = done.stdout.splitlines()
        assert read == "Lunch?"
        assert refused.startswith("403 This was never delegated. messages/send is a write; delegated: mail:read.")
        assert up.received("POST", f"{MAIL}/messages/send") == 0
        [asked] = [seen for seen in up.seen if seen.path == f"{MAIL}/messages/18c".encode()]
        assert asked.values("authorization") == [f"Bearer {REAL}".encode()]
