"""A root key locked by an outside key service: what goes over the wire, and what happens when it refuses or is away."""

import asyncio
import base64
import json
import logging
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import open_house
from tests.support.key_services import AwsService, AzureService, GcpService, Service, VaultService
from valetkey.server.app import build
from valetkey.server.clock import DrivenClock, SystemClock
from valetkey.server.errors import InvalidRequest
from valetkey.server.listen import Listener
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.settings import Settings, load_settings
from valetkey.server.sigv4 import signed
from valetkey.server.vault.errors import KeyServiceAway, RootKeyRefused, VaultError
from valetkey.server.vault.kms.open_root import key_service, open_root, prove_root, root_path
from valetkey.server.vault.kms.service import proves_unwrapping

CLOCK = DrivenClock()
SERVICES = {
    "vault": VaultService,
    "aws": lambda: AwsService(now=CLOCK.now),
    "gcp": lambda: GcpService(now=CLOCK.now),
    "azure": AzureService,
}
ELSEWHERE = {
    "vault": {"root_key": "transit/another"},
    "aws": {"root_key": "arn:aws:kms:eu-west-1:111122223333:key/another"},
    "gcp": {"root_key": "projects/acme/locations/europe-west1/keyRings/ring/cryptoKeys/another"},
    "azure": {},
}


@pytest.fixture(params=list(SERVICES))
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    made: Service = SERVICES[request.param]()
    async with Listener(made, host="127.0.0.1", port=0) as listening:
        made.base = f"http://127.0.0.1:{listening.port}"
        yield made


def settings_of(service: Service, data: Path, **changed: Any) -> Settings:
    fields: dict[str, Any] = {"root_network": "loopback", **service.settings(), **changed}
    fields["root_secret"] = Secret(fields["root_secret"])
    return Settings(data=data, **fields)


async def opened(settings: Settings, *, deployment: str = "dep-1", create: bool = False) -> str:
    settings.data.mkdir(mode=0o700, exist_ok=True)
    return (await open_root(settings, deployment=deployment, create=create, clock=CLOCK)).id


async def test_a_root_key_is_locked_once_and_opened_by_the_service_at_each_start(
    service: Service, tmp_path: Path
) -> None:
    settings = settings_of(service, tmp_path / "data")
    made = await opened(settings, create=True)
    kept = root_path(settings)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["key"] == settings.root_key
    before = kept.read_bytes()
    assert await opened(settings) == await opened(settings, create=True) == made
    assert kept.read_bytes() == before
    async with key_service(settings, CLOCK) as reached:
        await proves_unwrapping(reached)


async def test_a_whole_deployment_works_with_it_and_asks_it_only_at_the_start(service: Service, tmp_path: Path) -> None:
    chosen = {"root_network": "loopback", **service.settings()}
    chosen["root_secret"] = Secret(chosen["root_secret"])
    async with open_house(tmp_path / "data", clock=CLOCK, **chosen) as house:
        _, _, _, token = await house.ready()
        asked = len(service.asked)
        service.away = True
        assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
        assert len(service.asked) == asked
    app = build(house.settings, CLOCK)
    with pytest.raises(KeyServiceAway, match="503") as refusal:
        await app.start()
    assert "start again when the service answers" in refusal.value.next_step
    await app.database.close()
    service.away = False
    async with open_house(tmp_path / "data", clock=CLOCK, **chosen):
        pass
    assert not list((tmp_path / "data" / "keys").glob("root"))


async def test_kr_05_a_service_that_is_lost_seals_the_server_after_a_quarter_of_an_hour(tmp_path: Path) -> None:
    service, clock = VaultService(), DrivenClock()
    async with Listener(service, host="127.0.0.1", port=0) as listening:
        service.base = f"http://127.0.0.1:{listening.port}"
        chosen = {"root_network": "loopback", **service.settings()}
        chosen["root_secret"] = Secret(chosen["root_secret"])
        async with open_house(tmp_path / "data", clock=clock, task_seconds=7200, token_seconds=900, **chosen) as house:
            _, _, task, _ = ready = await house.ready(seconds=7200)
            still, ring = house.app.still, house.app.data_keys._ring
            for away, seconds in ((True, 600), (True, 299), (False, 1), (True, 899)):  # each time heard again before
                service.away = away
                clock.advance(seconds)
                await still.look()
                token = await ready[0].token(task["task_token"])
                assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
            clock.advance(1)
            await still.look()
            sent = len(house.github.requests)
            for reply in (
                await house.gateway(token, "GET", "/repos/acme-corp/backend"),
                await house.call("GET", "/v1/whoami"),
                await house.call("GET", "/login"),
                await ready[0].exchange(task["task_token"]),
            ):
                assert (reply.status, reply.json()["code"]) == (503, "unavailable")
                assert "sealed" in reply.json()["detail"]
            assert len(house.github.requests) == sent
            assert (await house.app.health._ready())[0] == 503
            with pytest.raises(VaultError):
                _ = ring.primary
            service.away = False
            await still.look()
            assert (await house.call("GET", "/login")).status == 503  # only a new start opens it


@pytest.mark.parametrize(("spelled", "status"), [("hvs.", 200), ("\N{SNOWMAN}", 503)])
async def test_kr_05_an_answer_nobody_foresaw_is_no_yes(tmp_path: Path, spelled: str, status: int) -> None:
    """A token that no header can carry fails somewhere on the way; whatever that was, the key was not unlocked."""
    service, clock = VaultService(), DrivenClock()
    async with Listener(service, host="127.0.0.1", port=0) as listening:
        service.base = f"http://127.0.0.1:{listening.port}"
        chosen = {"root_network": "loopback", **service.settings()}
        chosen["root_secret"] = Secret(chosen["root_secret"])
        async with open_house(tmp_path / "data", clock=clock, **chosen) as house:
            service.spelled = spelled
            for seconds in (600, 300):
                assert (await house.call("GET", "/login")).status == 200
                clock.advance(seconds)
                await house.app.still.look()
            assert (await house.call("GET", "/login")).status == status


async def test_kr_05_a_key_in_a_file_is_never_lost(tmp_path: Path) -> None:
    clock = DrivenClock()
    async with open_house(tmp_path / "data", clock=clock) as house:
        clock.advance(10_000)
        await house.app.still.look()
        assert (await house.call("GET", "/login")).status == 200


async def test_the_file_of_another_deployment_or_version_is_not_opened(service: Service, tmp_path: Path) -> None:
    settings = settings_of(service, tmp_path / "data")
    await opened(settings, create=True)
    kept = root_path(settings)
    with pytest.raises(RootKeyRefused, match="does not open"):
        await opened(settings, deployment="dep-2")
    said = json.loads(kept.read_text())
    for changed in ({"root": "0" * 16}, {"wrapped": base64.b64encode(b"x" * 60).decode()}):
        kept.write_text(json.dumps(said | changed))
        with pytest.raises(RootKeyRefused):
            await opened(settings)
    kept.write_text(json.dumps(said))
    await opened(settings)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"format":2}', "x" * 20_000, "[" * 2000])
async def test_a_file_that_is_something_else_is_refused_before_the_service_is_asked(
    content: str, tmp_path: Path
) -> None:
    settings = settings_of(VaultService(), tmp_path / "data", root_url="https://vault.example/")
    root_path(settings).parent.mkdir(mode=0o700, parents=True)
    root_path(settings).write_text(content)
    root_path(settings).chmod(0o600)
    with pytest.raises(RootKeyRefused, match="not a root key locked by a key service"):
        await opened(settings)


async def test_another_key_than_the_one_that_locked_is_named_and_refused(service: Service, tmp_path: Path) -> None:
    settings = settings_of(service, tmp_path / "data")
    await opened(settings, create=True)
    other = settings_of(service, tmp_path / "data", root_key=service.settings()["root_key"].replace("valetkey", "x"))
    if other.root_key != settings.root_key:
        with pytest.raises(RootKeyRefused, match="was locked by") as refusal:
            await opened(other)
        assert "rotate-root" in refusal.value.next_step
    if changed := ELSEWHERE[settings.root]:
        with pytest.raises(RootKeyRefused, match="refuses to use"):
            await opened(settings_of(service, tmp_path / "other", **changed), create=True)
        assert not root_path(settings_of(service, tmp_path / "other")).exists()


async def test_a_wrong_credential_is_refused_and_neither_shown_nor_logged(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = settings_of(service, tmp_path / "data")
    await opened(good, create=True)
    wrong = "wrong-canary-0123456789"
    if good.root == "gcp":
        theirs = GcpService(now=CLOCK.now)
        theirs.base = service.base
        wrong = theirs.settings()["root_secret"]
    with caplog.at_level(logging.DEBUG), pytest.raises(RootKeyRefused, match="refuses") as refusal:
        await opened(settings_of(service, tmp_path / "data", root_secret=wrong))
    assert not isinstance(refusal.value, KeyServiceAway)
    assert "root_secret" in refusal.value.next_step
    seen = f"{refusal.value!r} {refusal.value.public} {refusal.value.detail} {caplog.text}"
    assert wrong not in seen
    assert "canary" not in seen
    async with key_service(good, CLOCK) as reached:
        assert good.root_secret is not None
        assert good.root_secret.reveal() not in repr(reached)


async def test_a_service_that_is_not_there_is_a_refusal_with_the_next_step(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9/", "https://10.0.0.1/", "https://169.254.169.254/"):
        settings = settings_of(VaultService(), tmp_path / "data", root_url=url)
        if not url.startswith("http://127"):
            settings = replace(settings, root_network="public")
        with pytest.raises(KeyServiceAway) as refusal:
            await opened(settings, create=True)
        assert "does not answer, or may not be asked there" in refusal.value.public
    assert not root_path(settings).exists()


async def test_only_the_network_that_was_named_is_asked(service: Service, tmp_path: Path) -> None:
    for network in ("public", "private"):
        with pytest.raises(KeyServiceAway):
            await opened(settings_of(service, tmp_path / "data", root_network=network), create=True)
    assert service.asked == []


async def test_what_answers_in_another_way_is_not_the_service(service: Service, tmp_path: Path) -> None:
    settings = settings_of(service, tmp_path / "data")
    await opened(settings, create=True)
    answer = service.answer
    for said in ((200, {}), (200, {"data": {}}), (200, {"auth": {}, "data": {"plaintext": "***"}, "Plaintext": 1})):
        service.answer = lambda _asked, said=said: said  # type: ignore[method-assign,misc]
        with pytest.raises(RootKeyRefused):
            await opened(settings)
    service.answer = lambda asked: (302, {})  # type: ignore[method-assign]
    with pytest.raises(RootKeyRefused):
        await opened(settings)
    service.answer = answer  # type: ignore[method-assign]
    await opened(settings)


async def test_a_service_that_ignores_the_context_is_not_trusted_with_a_new_root_key(tmp_path: Path) -> None:
    made = VaultService()
    lock, unlock = made.lock, made.unlock
    made.lock = lambda plaintext, _aad: lock(plaintext, b"")  # type: ignore[method-assign]
    made.unlock = lambda ciphertext, _aad: unlock(ciphertext, b"")  # type: ignore[method-assign]
    async with Listener(made, host="127.0.0.1", port=0) as listening:
        made.base = f"http://127.0.0.1:{listening.port}"
        with pytest.raises(RootKeyRefused, match="does not bind"):
            await opened(settings_of(made, tmp_path / "data"), create=True)
    assert not root_path(settings_of(made, tmp_path / "data")).exists()


async def test_a_token_of_an_approle_is_given_back_and_a_plain_one_is_kept(tmp_path: Path) -> None:
    made = VaultService()
    async with Listener(made, host="127.0.0.1", port=0) as listening:
        made.base = f"http://127.0.0.1:{listening.port}"
        await opened(settings_of(made, tmp_path / "data"), create=True)
        assert made.tokens == {made.root_token}
        plain = settings_of(made, tmp_path / "data", root_identity="", root_secret=made.root_token)
        await opened(plain)
        assert made.tokens == {made.root_token}
        assert made.asked[-1].path == "/v1/transit/decrypt/valetkey"


async def test_a_signature_of_another_time_is_refused(tmp_path: Path) -> None:
    made = AwsService(now=lambda: CLOCK.now() + 600)
    async with Listener(made, host="127.0.0.1", port=0) as listening:
        made.base = f"http://127.0.0.1:{listening.port}"
        with pytest.raises(RootKeyRefused, match="InvalidSignatureException"):
            await opened(settings_of(made, tmp_path / "data"), create=True)


async def test_an_existing_deployment_never_gets_a_second_root_key(service: Service, tmp_path: Path) -> None:
    """Turned to a key service without moving to it, or with its file gone, the server refuses and makes nothing."""
    async with open_house(tmp_path / "data", clock=CLOCK) as house:
        pass
    moved = settings_of(service, tmp_path / "data")
    app = build(replace(moved, port=house.settings.port), CLOCK)
    with pytest.raises(RootKeyRefused, match="There is no root key"):
        await app.start()
    await app.database.close()
    assert not root_path(moved).exists()


async def test_the_root_key_of_another_deployment_is_named_and_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        pass
    async with open_house(tmp_path / "other"):
        pass
    shutil.copy(tmp_path / "other" / "keys" / "root", tmp_path / "data" / "keys" / "root")
    app = build(house.settings)
    with pytest.raises(RootKeyRefused, match="the data keys are wrapped by") as refusal:
        await app.start()
    assert "Put that root key back" in refusal.value.next_step
    await app.database.close()


async def test_doctor_asks_the_service_and_says_what_it_said(service: Service, tmp_path: Path) -> None:
    if isinstance(service, AwsService | GcpService):
        service.now = SystemClock().now
    settings = settings_of(service, tmp_path / "data")
    settings.data.mkdir(mode=0o700)
    await open_root(settings, deployment="dep-1", create=True)
    assert "wraps and unwraps" in await asyncio.to_thread(prove_root, settings)
    service.away = True
    with pytest.raises(KeyServiceAway):
        await asyncio.to_thread(prove_root, settings)


# AWS's published test suite, `get-vanilla` and `post-vanilla`, and the example key that signs them.
@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_a_request_is_signed_as_the_published_suite_signs_it(method: str, signature: str) -> None:
    headers = signed(
        method,
        "/",
        {"host": "example.amazonaws.com"},
        b"",
        access_key="AKIDEXAMPLE",
        secret=Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        service="service",
        now=1440938160.0,
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"root": "vault"}, "which key"),
        ({"root": "vault", "root_key": "transit/valetkey"}, "root_url is not"),
        ({"root": "vault", "root_key": "valetkey", "root_url": "https://v.example/"}, "MOUNT/NAME"),
        ({"root": "vault", "root_key": "a/../b", "root_url": "https://v.example/"}, "MOUNT/NAME"),
        ({"root": "aws", "root_key": "alias/valetkey", "root_identity": "A"}, "whole ARN"),
        ({"root": "aws", "root_key": "arn:aws:kms:eu-west-1:111122223333:key/1"}, "which access key"),
        ({"root": "gcp", "root_key": "projects/p"}, "key file"),
        ({"root": "azure", "root_key": "https://v.vault.azure.net/keys/k", "root_identity": "x"}, "one version"),
    ],
)
async def test_settings_that_name_no_key_say_what_is_missing(fields: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(RootKeyRefused, match=said):
        await opened(Settings(data=tmp_path, root_secret=Secret("{}"), **fields), create=True)  # type: ignore[arg-type]
    with pytest.raises(RootKeyRefused):
        await opened(Settings(data=tmp_path, **fields), create=True)  # type: ignore[arg-type]


def test_a_secret_comes_from_a_file_and_two_ways_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token\n")
    named = {"VALETKEY_ROOT": "vault", "VALETKEY_ROOT_SECRET_FILE": str(tmp_path / "secret")}
    settings = load_settings(named, tmp_path / "none.toml")
    assert settings.root_secret == Secret("token")
    (tmp_path / "valetkey.toml").write_text(f'root = "vault"\nroot_secret_file = "{tmp_path / "secret"}"\n')
    assert load_settings({}, tmp_path / "valetkey.toml").root_secret == Secret("token")
    with pytest.raises(InvalidRequest, match="root is vault"):
        load_settings({**named, "VALETKEY_ROOT_PASSPHRASE": "six random words here"}, tmp_path / "none.toml")
    with pytest.raises(InvalidRequest, match="root is one of"):
        load_settings({"VALETKEY_ROOT": "hsm"}, tmp_path / "none.toml")


async def test_what_is_wrapped_is_never_sent_in_the_clear_by_another_name(service: Service, tmp_path: Path) -> None:
    """The root key travels to the service only inside the one member that is encrypted there, and to nobody else."""
    settings = settings_of(service, tmp_path / "data")
    secret = SecretBytes(b"k" * 32)
    async with key_service(settings, CLOCK) as reached:
        wrapped = await reached.wrap(secret, {"valetkey-deployment": "d", "valetkey-root": "r"})
    assert secret.reveal() not in wrapped
    assert all("k" * 32 not in str(asked.headers) + asked.path + asked.query for asked in service.asked)
