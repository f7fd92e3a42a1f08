"""`valetkey login` by a browser: the command in a process of its own, the browser beside it."""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.support.command_line import CommandLine, api_token
from tests.support.house import House, open_house
from tests.support.http import Reply, call
from tests.support.served import BIN
from valetkey.cli import browser
from valetkey.cli.problems import Cancelled, document_of
from valetkey.client.browser_login import is_same_place
from valetkey.client.errors import InvalidRequest
from valetkey.client.sync import Client


@dataclass
class Running:
    """A command that waits for its browser."""

    process: asyncio.subprocess.Process
    address: str
    home: Path

    @property
    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.address).query))

    async def brings(self, query: str, *, path: str = "/callback", host: str | None = None) -> Reply:
        """The browser comes to the program's own address."""
        where = urlsplit(self.asked["redirect_uri"])
        return await call(f"http://{where.netloc}", "GET", f"{path}?{query}", host=host)

    async def ends(self) -> tuple[int, str, str]:
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def running(house: House, home: Path, *arguments: str) -> AsyncIterator[Running]:
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "login", "--url", house.settings.issuer, *arguments,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        address = ""
        while not address.startswith(house.settings.issuer):
            line = await asyncio.wait_for(process.stderr.readline(), 30)
            assert line, "the command ended without an address"
            address = line.decode().strip()
        yield Running(process, address, home)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as opened:
        yield opened


async def answered(house: House, command: Running, button: str) -> str:
    """She answers on the page; the query her browser brings to the program."""
    tab = await house.signed_in()
    await tab.get(command.address.removeprefix(house.settings.issuer))
    reply = await tab.submit("/login/cli", button=button)
    where = urlsplit(reply.header("location") or "")
    assert f"{where.scheme}://{where.netloc}{where.path}" == command.asked["redirect_uri"]
    return where.query


async def test_the_command_waits_for_her_yes_and_is_signed_in(house: House, tmp_path: Path) -> None:
    async with running(house, tmp_path / "home", "--no-browser") as command:
        page = await command.brings(await answered(house, command, "Allow"))
        assert page.status == 200
        assert b"Go back to the terminal" in page.body
        assert page.header("cache-control") == "no-store"
        code, out, _ = await command.ends()
    assert (code, out) == (0, f"Signed in at {house.settings.issuer} as alice@acme.com (administrator).\n")
    who = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "whoami", "--json", env={"PATH": "/usr/bin", "HOME": str(tmp_path / "home")},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await who.communicate()
    assert b'"name": "alice@acme.com"' in said
    tab = await house.signed_in()
    await tab.get("/sessions")
    assert command.asked["name"] in tab.text


async def test_her_no_ends_the_command_with_the_code_for_cancelled(house: House, tmp_path: Path) -> None:
    async with running(house, tmp_path / "home", "--no-browser") as command:
        page = await command.brings(await answered(house, command, "Cancel"))
        assert b"Nobody was signed in" in page.body
        code, out, err = await command.ends()
    assert (code, out) == (3, "")
    assert "Cancelled in the browser. Nobody was signed in." in err
    assert not (tmp_path / "home" / ".config").exists()


async def test_an_answer_with_another_state_is_refused(house: House, tmp_path: Path) -> None:
    async with running(house, tmp_path / "home", "--no-browser") as command:
        query = await answered(house, command, "Allow")
        said = dict(parse_qsl(query))
        for wrong in (
            urlencode(said | {"state": "s" * 43}),
            urlencode({name: value for name, value in said.items() if name != "state"}),
            urlencode(said | {"state": "é"}),
            f"{query}&state={said['state']}",
            f"{query}&error=access_denied",
            "",
        ):
            reply = await command.brings(wrong)
            assert reply.status == 400, wrong
        assert (await command.brings(query, path="/favicon.ico")).status == 404
        assert (await command.brings(query, host="evil.example")).status == 404
        assert command.process.returncode is None  # and goes on waiting for the right one
        assert (await command.brings(query)).status == 200
        assert (await command.ends())[0] == 0


async def test_an_answer_of_another_server_is_refused_and_the_code_sent_nowhere(house: House, tmp_path: Path) -> None:
    for changes in ({"iss": "https://evil.example"}, {"iss": ""}):
        async with running(house, tmp_path / "home", "--no-browser") as command:
            said = dict(parse_qsl(await answered(house, command, "Allow")))
            assert (await command.brings(urlencode(said | changes))).status == 400
            code, _, err = await command.ends()
        assert code == 5
        assert "another server" in err
    assert len(await house.events("login.succeeded")) == 3  # Alice's first, and her two browsers


async def test_nobody_answers_and_it_says_so(house: House) -> None:
    with Client(house.base) as client, pytest.raises(Cancelled) as gave_up:
        await asyncio.to_thread(browser.log_in, client, opens=False, seconds=0.05)
    said = document_of(gave_up.value)
    assert said["exit_code"] == 3
    assert "Nobody answered in the browser" in said["detail"]
    assert "valetkey login --device" in said["hint"]


async def test_a_server_that_calls_itself_another_is_not_asked(house: House) -> None:
    with Client(house.base) as client:
        client._issuer = "https://valetkey.example"
        with pytest.raises(InvalidRequest, match="calls itself"):
            await asyncio.to_thread(browser.log_in, client, opens=False, seconds=0.05)
    assert is_same_place("https://valetkey.example", "https://valetkey.example:443")
    assert not is_same_place("https://valetkey.example", "http://localhost:8470")
    assert not is_same_place("http://localhost:8471", "http://localhost:8470")
    assert not is_same_place("https://valetkey.example/a", "https://valetkey.example/b")


async def test_a_terminal_with_a_browser_opens_it(house: House, tmp_path: Path) -> None:
    """Without an option: what BROWSER names is given the address."""
    opened, program = tmp_path / "opened", tmp_path / "browser"
    os.mkfifo(opened)
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    terminal, its_end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "login", "--url", house.settings.issuer,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BROWSER": f"{program} %s"},
        stdin=its_end, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        command = Running(process, await asyncio.to_thread(opened.read_text), tmp_path)
        await command.brings(await answered(house, command, "Allow"))
        code, out, err = await command.ends()
    finally:
        os.close(terminal)
        os.close(its_end)
    assert (code, out.startswith("Signed in at")) == (0, True), err
    assert "Your browser opens" in err


async def test_a_one_time_code_is_still_a_way(house: House, tmp_path: Path) -> None:
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com")
    environ = {"PATH": "/usr/bin", "HOME": str(tmp_path), "BROWSER": "false"}
    for arguments, code in ((["--code-stdin"], 0), (["--code-stdin", "--no-browser"], 2), ([], 2)):
        process = await asyncio.create_subprocess_exec(
            f"{BIN}/valetkey", "login", "--url", house.settings.issuer, *arguments, env=environ,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate(invited["code"].encode() + b"\n")
        assert process.returncode == code, arguments


async def test_ended_on_sessions_the_command_has_to_sign_in_again(house: House, tmp_path: Path) -> None:
    async with running(house, tmp_path / "home", "--no-browser") as command:
        await command.brings(await answered(house, command, "Allow"))
        assert (await command.ends())[0] == 0
    tab = await house.signed_in()
    await tab.get("/sessions")
    body = tab.reply.body.decode() if tab.reply is not None else ""
    node = body.split(command.asked["name"])[1].split('name="command_line" value="')[1].split('"')[0]
    await tab.submit("/sessions/end-command-line", {"command_line": node})
    who = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "whoami", env={"PATH": "/usr/bin", "HOME": str(tmp_path / "home")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await who.communicate()
    assert who.returncode == 4
    assert b"valetkey login" in err
    assert (await api_token(house, house.alice.credential)).status == 200


async def on_another_computer(house: House, home: Path, typed: str | None = None) -> tuple[int, str, str]:
    """`login --device`: she opens its address elsewhere, compares, and carries the code back, or types another."""
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "login", "--url", house.settings.issuer, "--device", "--code-stdin",
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(30):
        lines = [(await process.stderr.readline()).decode().strip() for _ in range(3)]
        tab = await house.signed_in()
        await tab.get(lines[1].removeprefix(house.settings.issuer))
        [compared] = re.findall(r"[A-Z2-7]{4}-[A-Z2-7]{4}", lines[2])
        assert compared in tab.text
        await tab.submit("/login/cli", button="Allow")
        assert tab.reply is not None
        [code] = re.findall(r"vklc_[0-9A-Za-z]{49}", tab.reply.body.decode())
        out, err = await process.communicate((code if typed is None else typed).encode() + b"\n")
    assert process.returncode is not None
    assert code not in out.decode() + err.decode()
    return process.returncode, out.decode(), err.decode()


async def test_a_computer_without_a_browser_is_signed_in_by_the_code_of_another(house: House, tmp_path: Path) -> None:
    code, out, _ = await on_another_computer(house, tmp_path / "home")
    assert (code, out) == (0, f"Signed in at {house.settings.issuer} as alice@acme.com (administrator).\n")
    assert len(await house.events("login.succeeded")) == 3  # Alice's first, her browser, and this


async def test_a_code_of_somebody_elses_page_signs_nobody_in(house: House, tmp_path: Path) -> None:
    tab = await house.signed_in()
    theirs = CommandLine(house, redirect_uri="urn:valetkey:shown")
    await tab.get(theirs.address())
    await tab.submit("/login/cli", button="Allow")
    assert tab.reply is not None
    [code] = re.findall(r"vklc_[0-9A-Za-z]{49}", tab.reply.body.decode())
    status, out, err = await on_another_computer(house, tmp_path / "home", typed=code)
    assert (status, out) == (4, "")
    assert "not valid" in err
    assert not (tmp_path / "home" / ".config").exists()


async def test_options_that_mean_different_ways_are_refused(house: House, tmp_path: Path) -> None:
    for arguments in (["--no-browser"], ["--email", "alice@acme.com"], ["--organization", "acme"]):
        process = await asyncio.create_subprocess_exec(
            f"{BIN}/valetkey", "login", "--url", house.settings.issuer, "--device", *arguments,
            env={"PATH": "/usr/bin", "HOME": str(tmp_path)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await process.communicate()
        assert (process.returncode, b"--device goes with --code-stdin alone" in err) == (2, True)
