"""`valetkey sso` and what `valetkey doctor` says of it: the command itself, a real server, a provider on a socket."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_sso import sso, with_provider
from tests.support.house import House, Person
from tests.support.people import is_in

SECRET = "the client's secret"
BIN = Path(sys.executable).parent


async def valetkey(
    house: House, *arguments: str, by: Person | None = None, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run the command in an empty home, as somebody who is signed in."""
    home = house.settings.data.parent / "home"
    home.mkdir(exist_ok=True)
    environ = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(home),
        "VALETKEY_URL": house.settings.issuer,
        "VALETKEY_TOKEN": (by or house.alice).credential,
        "VALETKEY_DATA": str(home / "none"),
    }
    command = [str(BIN / "valetkey"), *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, input=stdin, env=environ, cwd=home, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> Any:
    """A house, its provider, and nothing registered."""
    async with with_provider(tmp_path / "data", database_url) as (house, provider, made):
        await house.alice.does("DELETE", f"/v1/identity-providers/{made['id']}")
        yield house, provider


async def added(house: House, issuer: str, *more: str) -> Any:
    done = await valetkey(
        house, "sso", "add", issuer, "--client-id", "valetkey", "--client-secret-stdin", "--json", *more, stdin=SECRET
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_what_was_registered_at_the_command_line_signs_people_in(story: Any) -> None:
    house, provider = story
    made = await added(house, provider.base_url, "--name", "Acme", "--enroll", "acme.com")
    assert made["redirect_uri"] == f"{house.settings.issuer}/login/sso/{made['id']}/callback"
    assert (made["name"], made["enrolls"], made["domains"]) == ("Acme", True, ["acme.com"])
    assert is_in(await sso(house.tab(), provider, made))
    ((_, authorization),) = provider.redeemed
    assert authorization.startswith("Basic ")
    done = await valetkey(house, "sso", "remove", provider.base_url)
    assert (done.returncode, done.stdout) == (0, f"Nobody signs in by {provider.base_url} any more.\n")
    tab = house.tab()
    await tab.get("/login")
    assert "Acme" not in tab.text


async def test_without_a_domain_nobody_new_comes_in(story: Any) -> None:
    house, provider = story
    made = await added(house, provider.base_url)
    assert made["enrolls"] is False
    assert not is_in(await sso(house.tab(), provider, made))


async def test_it_says_the_redirect_uri_and_never_the_secret(story: Any) -> None:
    house, provider = story
    words = ("sso", "add", provider.base_url, "--client-id", "valetkey", "--client-secret-stdin")
    done = await valetkey(house, *words, stdin=SECRET)
    assert done.returncode == 0
    assert f"redirect uri  {house.settings.issuer}/login/sso/idp_" in done.stdout
    assert "character by character" in done.stderr
    listed, shown = await valetkey(house, "sso", "list"), await valetkey(house, "sso", "show", provider.base_url)
    assert provider.base_url in listed.stdout
    assert "answers as it should" in shown.stdout
    assert SECRET not in "".join(run.stdout + run.stderr for run in (done, listed, shown))
    assert SECRET not in str(await house.events())


async def test_a_secret_on_the_command_line_is_not_taken(story: Any) -> None:
    house, provider = story
    words = ("sso", "add", provider.base_url, "--client-id", "valetkey")
    for wrong in (("--client-secret", SECRET), ("--client-secret-stdin",), ("--role", "admins=king")):
        assert (await valetkey(house, *words, *wrong)).returncode == 2, wrong
    assert (await house.alice.does("GET", "/v1/identity-providers"))["data"] == []
    public = await valetkey(house, *words)
    assert public.returncode == 0
    assert "public client" in public.stderr


async def test_groups_give_roles(story: Any) -> None:
    house, provider = story
    words = ("--enroll", "acme.com", "--group-claim", "groups", "--role", "CN=Admins,DC=acme=administrator")
    made = await added(house, provider.base_url, *words)
    assert made["roles"] == {"CN=Admins,DC=acme": "administrator"}
    assert (await valetkey(house, "sso", "add", provider.base_url, "--client-id", "x", "--role", "a=member")
            ).returncode == 2  # fmt: skip


async def test_only_administrators_and_every_refusal_has_its_exit_code(story: Any) -> None:
    house, provider = story
    bob = await house.person("bob@acme.com")
    words = ("sso", "add", provider.base_url, "--client-id", "valetkey")
    assert (await valetkey(house, *words, by=bob)).returncode == 5
    assert (await valetkey(house, "sso", "list", by=bob)).returncode == 5
    assert (await valetkey(house, *words)).returncode == 0
    assert (await valetkey(house, *words)).returncode == 1  # there is one of this issuer
    assert (await valetkey(house, "sso", "show", "idp_" + "0" * 26)).returncode == 1
    assert (await valetkey(house, "sso", "remove", "https://nobody.example")).returncode == 1
    assert (await valetkey(house, "sso", "add", "http://127.0.0.1:1", "--client-id", "x")).returncode == 1


async def test_show_and_the_doctor_say_when_a_provider_does_not_answer(story: Any) -> None:
    house, provider = story
    none = await valetkey(house, "doctor")
    assert "sign-in:" not in none.stdout
    await added(house, provider.base_url)
    well = await valetkey(house, "doctor")
    assert f"ok       sign-in: {provider.base_url} answers as it should" in well.stdout
    assert (await valetkey(house, "sso", "show", provider.base_url)).returncode == 0
    provider.lies["metadata"] = {"issuer": "https://other.example"}
    ill = await valetkey(house, "doctor")
    assert ill.returncode == 1
    assert f"failure  sign-in: {provider.base_url}: The identity provider did not answer properly" in ill.stdout
    shown = await valetkey(house, "sso", "show", provider.base_url, "--json")
    assert shown.returncode == 1
    assert json.loads(shown.stdout)["works"] is False
    bob = await house.person("bob@acme.com")
    assert "sign-in:" not in (await valetkey(house, "doctor", by=bob)).stdout


async def test_user_code_shows_the_code_once_and_only_for_others(story: Any) -> None:
    house, _ = story
    bob = await house.person("bob@acme.com")
    done = await valetkey(house, "user", "code", "bob@acme.com", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (await house.call("POST", "/v1/login", json={"code": made["code"]})).status == 201
    assert "It is shown only now." in done.stderr
    assert (await valetkey(house, "user", "code", "alice@acme.com")).returncode == 5
    assert (await valetkey(house, "user", "code", "nobody@acme.com")).returncode == 1
    again = await house.person("carol@acme.com")
    assert (await valetkey(house, "user", "code", bob.email, by=again)).returncode == 5
