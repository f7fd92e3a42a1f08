"""What is said of Google's consents, held against the documents that Google's own client carries of its APIs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import google_clients
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.lookup import Lookup

pytestmark = pytest.mark.skipif(google_clients.CLIENT.missing() is not None, reason="build/google is not prepared")

CATALOGUE = Path(__file__).parents[2] / Path("src/valetkey/server/integrations/catalogue")
APIS = {"gmail": "gmail.v1", "google-drive": "drive.v3", "google-calendar": "calendar.v3"}
LESS = {
    # A consent to send alone is enough for a mail, and not for a draft.
    ("drafts/send", "gmail.send"),
    ("drafts/upload-send", "gmail.send"),
    # A consent to what is said of files does not tell of shared drives.
    ("drives/get", "drive.metadata.readonly"),
    ("drives/list", "drive.metadata.readonly"),
}
"""Known: Google refuses these, and says so."""


def test_the_documents_are_read() -> None:
    """Or what follows would compare nothing."""
    assert [len(_accepted(name)) > 30 for name in APIS.values()] == [True] * 3


@pytest.mark.parametrize("api", APIS)
def test_what_a_consent_covers_google_accepts(api: str) -> None:
    integration, accepted = load_integration(api), _accepted(APIS[api])
    assert integration.oauth is not None
    refused, compared = set(), 0
    for operation, method, template in _operations(api):
        scopes = accepted.get((method, _blank(template)))
        if scopes is None:
            continue
        for name, consent in integration.oauth.scopes.items():
            if any(integration.contains(ours, operation) for ours in consent.covers):
                compared += 1
                if scopes.isdisjoint({name, *integration.oauth.always}):
                    refused.add((operation, name.rsplit("/", 1)[-1]))
    assert compared > 30
    assert refused <= LESS, refused - LESS


@pytest.mark.parametrize("api", ["google-drive", "google-calendar"])
def test_what_is_looked_up_every_consent_allows(api: str) -> None:
    integration, accepted = load_integration(api), _accepted(APIS[api])
    assert integration.oauth is not None
    for lookup in integration.lookups.values():
        assert isinstance(lookup, Lookup)
        scopes = accepted["GET", _blank(lookup.by_id)]
        for name, consent in integration.oauth.scopes.items():
            if consent.covers:
                assert scopes & {name, *integration.oauth.always} or name.endswith("calendar.freebusy"), name


def _operations(api: str) -> Iterator[tuple[str, str, str]]:
    lines = (CATALOGUE / f"{api}.operations.tsv").read_text().splitlines()
    for line in lines:
        operation, method, template, *_ = [*line.split("\t"), "", ""]
        if template.startswith("/"):
            yield operation, method, template


def _accepted(document: str) -> dict[tuple[str, str], set[str]]:
    """The scopes each method of an API accepts, by its verb and its path with the names left out."""
    folder = google_clients.CLIENT.folder / "venv" / "lib"
    [file] = folder.rglob(f"googleapiclient/discovery_cache/documents/{document}.json")
    described = json.loads(file.read_text())
    found: dict[tuple[str, str], set[str]] = {}
    for method in _methods(described):
        paths = [described["servicePath"] + (method.get("flatPath") or method["path"])]
        if "mediaUpload" in method:
            paths.append(method["mediaUpload"]["protocols"]["simple"]["path"])
        for path in paths:
            found[method["httpMethod"], _blank(path)] = set(method.get("scopes", []))
    return found


def _methods(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for below in node.get("resources", {}).values():
        yield from _methods(below)


def _blank(path: str) -> str:
    return re.sub(r"\{[^}]*\}|(?<=users/)me(?=/|$)", "{}", path.lstrip("/"))
