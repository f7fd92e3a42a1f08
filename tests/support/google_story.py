"""What an ordinary google-api-python-client program does at the gateway: prints one JSON object, step by step.

Run as a program, by a Python that has Google's client and nothing of ours. The descriptions of the APIs come with the
client; all that is changed in them is where the API is. GOOGLE_STORY says which story.
"""

import io
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from google.oauth2.credentials import Credentials  # type: ignore[import-not-found]
from googleapiclient.discovery import build, build_from_document  # type: ignore[import-not-found]
from googleapiclient.discovery_cache import get_static_doc  # type: ignore[import-not-found]
from googleapiclient.errors import HttpError  # type: ignore[import-not-found]
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload  # type: ignore[import-not-found]

GATEWAY = os.environ["GATEWAY_URL"]
NAMES = {"gmail": "gmail", "drive": "google-drive", "calendar": "google-calendar"}
PATHS = {"gmail": "", "drive": "drive/v3/", "calendar": "calendar/v3/"}


def service(api: str, version: str) -> Any:
    """The client, told where the API is, uploads included."""
    document = json.loads(get_static_doc(api, version))
    document["rootUrl"] = f"{GATEWAY}/p/{NAMES[api]}/"
    credentials = Credentials(token=os.environ[f"{api.upper()}_TOKEN"])
    return build_from_document(document, credentials=credentials)


def by_endpoint(api: str, version: str) -> Any:
    """The client by its option, which is enough for what is no upload and no batch."""
    return build(
        api,
        version,
        credentials=Credentials(token=os.environ[f"{api.upper()}_TOKEN"]),
        client_options={"api_endpoint": f"{GATEWAY}/p/{NAMES[api]}/{PATHS[api]}"},
        static_discovery=True,
    )


def step(act: Callable[[], Any]) -> dict[str, Any]:
    """What came of it, as the client reports it."""
    try:
        return {"ok": True, "value": act()}
    except HttpError as refused:
        return {"ok": False, "status": refused.status_code, "reason": refused.reason, "text": str(refused)}


def batched(api: Any, request: Any) -> str:
    """One request in a batch."""
    batch = api.new_batch_http_request()
    batch.add(request)
    batch.execute()
    return "sent"


def downloaded(request: Any) -> str:
    """A file, by the client's own way of loading one."""
    into = io.BytesIO()
    loading, over = MediaIoBaseDownload(into, request, chunksize=1 << 16), False
    while not over:
        _, over = loading.next_chunk()
    return into.getvalue().decode()


def text(content: str, *, resumable: bool = False) -> Any:
    return MediaIoBaseUpload(io.BytesIO(content.encode()), mimetype="text/plain", resumable=resumable)


MAIL = urlsafe_b64encode(b"To: bob@acme.com\r\nSubject: hello\r\n\r\nhello").decode()


def gmail() -> dict[str, Any]:
    me = service("gmail", "v1").users()
    return {
        "by_endpoint": step(lambda: by_endpoint("gmail", "v1").users().labels().list(userId="me").execute()["labels"]),
        "list": step(lambda: me.messages().list(userId="me", q="is:unread", labelIds=["INBOX"]).execute()["messages"]),
        "get": step(lambda: me.messages().get(userId="me", id="18c").execute()["snippet"]),
        "draft": step(lambda: me.drafts().create(userId="me", body={"message": {"raw": MAIL}}).execute()["id"]),
        "send": step(lambda: me.messages().send(userId="me", body={"raw": MAIL}).execute()["id"]),
        "upload": step(lambda: me.messages().send(userId="me", media_body=text("To: bob@acme.com")).execute()["id"]),
        "organize": step(
            lambda: me.messages().modify(userId="me", id="18c", body={"removeLabelIds": ["UNREAD"]}).execute()["id"]
        ),
        "filter": step(lambda: me.settings().filters().create(userId="me", body={"action": {}}).execute()),
        "delegate": step(
            lambda: me.settings().delegates().create(userId="me", body={"delegateEmail": "bob@acme.com"}).execute()
        ),
        "batch": step(lambda: batched(service("gmail", "v1"), me.labels().list(userId="me"))),
        "somebody": step(lambda: me.messages().list(userId="bob@acme.com").execute()),
    }


def drive() -> dict[str, Any]:
    files = service("drive", "v3").files()
    permissions = service("drive", "v3").permissions()
    everybody = {"type": "anyone", "role": "reader"}
    return {
        "by_endpoint": step(lambda: by_endpoint("drive", "v3").files().get(fileId="plan-1").execute()["name"]),
        "list": step(
            lambda: [f["name"] for f in files.list(q="trashed=false", fields="files(name)").execute()["files"]]
        ),
        "get": step(lambda: files.get(fileId="plan-1").execute()["name"]),
        "elsewhere": step(lambda: files.get(fileId="payroll-1").execute()["name"]),
        "shared": step(lambda: files.get(fileId="shared-1", supportsAllDrives=True).execute()["name"]),
        "download": step(lambda: downloaded(files.get_media(fileId="plan-1"))),
        "export": step(lambda: files.export(fileId="plan-1", mimeType="text/plain").execute().decode()),
        "create": step(lambda: files.create(body={"name": "report"}).execute()["id"]),
        "into_folder": step(
            lambda: files.create(body={"name": "report", "parents": ["folder-1"]}, media_body=text("hi")).execute()[
                "id"
            ]
        ),
        "into_another": step(
            lambda: files.create(body={"name": "report", "parents": ["folder-2"]}, media_body=text("hi")).execute()[
                "id"
            ]
        ),
        "contents": step(lambda: files.update(fileId="plan-1", media_body=text("changed")).execute()["id"]),
        "in_pieces": step(lambda: files.update(fileId="plan-1", media_body=text("x", resumable=True)).execute()["id"]),
        "share": step(lambda: permissions.create(fileId="plan-1", body=everybody).execute()["id"]),
        "batch": step(lambda: batched(service("drive", "v3"), files.get(fileId="plan-1"))),
        "long": step(lambda: files.list(q="name = '" + "x" * 2500 + "'").execute()["files"]),
    }


def calendar() -> dict[str, Any]:
    events = service("calendar", "v3").events()
    lunch = {"summary": "Lunch", "attendees": [{"email": "bob@acme.com"}]}
    return {
        "by_endpoint": step(
            lambda: by_endpoint("calendar", "v3").events().list(calendarId="primary").execute()["items"]
        ),
        "list": step(lambda: [e["summary"] for e in events.list(calendarId="alice@acme.com").execute()["items"]]),
        "elsewhere": step(lambda: events.list(calendarId="bob@acme.com").execute()["items"]),
        "insert": step(
            lambda: events.insert(calendarId="alice@acme.com", body=lunch, sendUpdates="all").execute()["id"]
        ),
        "move": step(
            lambda: events.move(calendarId="alice@acme.com", eventId="e1", destination="bob@acme.com").execute()["id"]
        ),
        "free": step(lambda: service("calendar", "v3").freebusy().query(body={"items": []}).execute()["calendars"]),
        "batch": step(lambda: batched(service("calendar", "v3"), events.list(calendarId="alice@acme.com"))),
    }


print(json.dumps({"gmail": gmail, "drive": drive, "calendar": calendar}[os.environ["GOOGLE_STORY"]]()))
