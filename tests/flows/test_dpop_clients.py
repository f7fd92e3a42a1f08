"""The client, the command line and `valetkey run` with a key of their own, against a server process."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_dpop import claims_of
from tests.support.served import Served, ready_for_work, served
from valetkey.client.errors import NotAuthenticated
from valetkey.client.proving import ProofKey
from valetkey.client.sync import Client

GRANT = "github:repo:read@acme-corp/backend"
ISSUES = "/repos/acme-corp/backend/issues"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("dpop")) as started:
        ready_for_work(started)
        yield started


def records(server: Served, event: str) -> list[Any]:
    lines = server.valetkey("audit", "tail", "--json").stdout.splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def agents_secret(server: Served) -> str:
    profile = json.loads((server.home / ".config/valetkey/profile.json").read_text())
    return str(profile["servers"][server.url]["agents"]["pr-reviewer-v2"]["secret"])


def opened_task(server: Served) -> str:
    delegation = server.answer("delegate", "--agent", "pr-reviewer-v2", "--grant", GRANT, "--purpose", "by key")
    return str(server.answer("task", "open", delegation["id"])["task_token"])


def test_every_credential_of_a_run_is_bound_to_a_key_of_that_run(server: Served) -> None:
    script = f'curl -q -sf -H "Authorization: Bearer $GITHUB_TOKEN" "$GITHUB_API_URL{ISSUES}"'
    keys = set()
    for _ in range(2):
        done = server.valetkey("run", "--agent", "pr-reviewer-v2", "--grant", GRANT, "--", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)) == 30
        keys.add(records(server, "token.issued")[-1]["key"])
    assert len(keys) == 2


def test_a_client_with_a_key_works_and_its_token_is_nobody_elses(server: Served) -> None:
    with Client(server.url, credential=f"pr-reviewer-v2:{agents_secret(server)}", key=ProofKey()) as client:
        assert client.who_am_i()["name"] == "pr-reviewer-v2"
        stolen = client._token
    with Client(server.url, credential=stolen) as thief, pytest.raises(NotAuthenticated):
        thief.who_am_i()
    with Client(server.url, credential=stolen, key=ProofKey()) as thief, pytest.raises(NotAuthenticated):
        thief.who_am_i()


def test_a_long_answer_is_proven_for_as_well(server: Served) -> None:
    profile = json.loads((server.home / ".config/valetkey/profile.json").read_text())["servers"][server.url]
    with Client(server.url, credential=profile["credential"], key=ProofKey()) as client:
        assert b"".join(client.audit.export()).count(b"\n") > 3
        assert client.who_am_i()["kind"] == "user"


def test_a_clock_that_is_minutes_off_is_made_up_for_by_a_nonce(server: Served) -> None:
    import time

    key = ProofKey(clock=lambda: time.time() - 200)
    with Client(server.url, credential=f"pr-reviewer-v2:{agents_secret(server)}", key=key) as client:
        assert client.who_am_i()["name"] == "pr-reviewer-v2"
        key._nonces.clear()
        assert client.who_am_i()["name"] == "pr-reviewer-v2"


def test_a_token_for_a_key_in_a_file(server: Served, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", pem], check=True
    )
    task_token = opened_task(server)
    made = server.answer("token", "--task-token", task_token, "--for", "github", "--dpop-key", str(pem))
    assert made["token_type"] == "DPoP"
    assert claims_of(made["token"])["cnf"] == {"jkt": ProofKey.from_file(pem).jkt}
    plain = server.answer("token", "--task-token", task_token, "--for", "github")
    assert plain["token_type"] == "Bearer"
    assert "cnf" not in claims_of(plain["token"])


def test_a_file_that_holds_no_such_key_is_refused(server: Served, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    for arguments in (None, ["-algorithm", "ed25519"]):
        pem.write_text("no key")
        if arguments is not None:
            subprocess.run(["openssl", "genpkey", *arguments, "-out", pem], check=True)
        refused = server.valetkey("token", "--task-token", "a.b.c", "--for", "github", "--dpop-key", str(pem))
        assert refused.returncode == 1
        assert "openssl genpkey" in refused.stderr
