"""Where the password of a MariaDB login may go, and what is looked at before a server is connected."""

import asyncio
import contextlib
import shutil
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import text

from tests.support.certificates import Authority, self_signed
from tests.support.house import House, open_house
from tests.support.maria_shop import MariaShop, ask, maria_shop, session, stocked
from tests.support.mariadb import MariaDB, running
from tests.support.shop import program
from valetkey.server.clock import DrivenClock
from valetkey.server.egress import Egress
from valetkey.server.egress.mariadb import dial
from valetkey.server.errors import UpstreamFailed
from valetkey.server.secret import Secret

_TLS = 0x0800
_SPEAKS = 0x0080_A205  # the 4.1 protocol, and ways to sign in by name


async def _dialled(
    place: str, *, local: frozenset[str], tls: bool, answers: str = "127.0.0.1", roots: Sequence[bytes] = ()
) -> None:
    async def lookup(_host: str, _port: int) -> list[str]:
        return answers.split()

    host, _, port = place.partition(":")
    egress = Egress(allow_loopback_hosts=local, lookup=lookup, extra_roots=roots)
    await egress.open()
    try:
        await dial(egress, host=host, port=int(port), login="canary", password=Secret("word"), tls=tls)
    finally:
        await egress.close()


def _greeting(speaks: int, *, plugin: bytes = b"mysql_native_password") -> bytes:
    said = b"\x0a10.11.19-MariaDB\0" + struct.pack("<I", 7) + b"salt5678\0" + struct.pack("<H", speaks & 0xFFFF)
    said += b"\x2d" + struct.pack("<HH", 2, speaks >> 16) + b"\x15" + bytes(10) + b"salt56789012\0" + plugin + b"\0"
    return struct.pack("<I", len(said))[:3] + b"\0" + said


@contextlib.asynccontextmanager
async def _house(folder: Path, there: MariaShop) -> AsyncIterator[House]:
    async with open_house(folder / "data", clock=DrivenClock(), local=(there.place,)) as house:
        yield house


@pytest.mark.parametrize("answers", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8 10.0.0.1", "::1", ""])
async def test_a_name_that_leads_inside_is_not_dialled(answers: str) -> None:
    with pytest.raises(UpstreamFailed, match="may not be dialled"):
        await _dialled("db.acme.test:3306", local=frozenset(), tls=True, answers=answers)


async def test_nothing_is_said_in_the_clear_to_a_place_nobody_called_local() -> None:
    with pytest.raises(UpstreamFailed, match="plain"):
        await _dialled("db.acme.test:3306", local=frozenset(), tls=False, answers="8.8.8.8")


@pytest.mark.parametrize(
    ("kind", "is_heard"), [("right", True), ("another name", False), ("self-signed", False), ("none", False)]
)
async def test_a_server_that_does_not_prove_its_name_hears_nothing(tmp_path: Path, kind: str, is_heard: bool) -> None:
    """Nothing but the wish for TLS leaves before it has proved its name; without TLS not even that."""
    authority, heard = Authority(), []
    tls = {
        "right": lambda: authority.serves(tmp_path, "db.acme.test"),
        "another name": lambda: authority.serves(tmp_path, "other.test"),
        "self-signed": lambda: self_signed(tmp_path, "db.acme.test"),
        "none": lambda: None,
    }[kind]()

    def serve(listening: socket.socket) -> None:
        asked, _ = listening.accept()
        asked.settimeout(10)
        with contextlib.suppress(OSError), asked:
            asked.sendall(_greeting(_SPEAKS | (_TLS if tls is not None else 0)))
            heard.append(asked.recv(36))  # of the wish for TLS; a greeting of TLS may follow in the same moment
            if tls is not None:
                with tls.wrap_socket(asked, server_side=True) as secret:
                    heard.append(secret.recv(1024))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        place = f"db.acme.test:{listening.getsockname()[1]}"
        serving = asyncio.create_task(asyncio.to_thread(serve, listening))
        with pytest.raises(UpstreamFailed):
            await _dialled(place, local=frozenset({place}), tls=True, roots=[authority.root])
        await serving
    assert any(b"canary" in said for said in heard) is is_heard


@pytest.mark.parametrize("way", [b"mysql_clear_password", b"dialog"])
async def test_a_server_that_asks_for_the_password_itself_does_not_get_it(way: bytes) -> None:
    heard = []
    gone = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_greeting(_SPEAKS | 0x0008_0000))
        heard.append(await reader.read(1024))
        said = b"\xfe" + way + b"\0\x04Password: "
        writer.write(struct.pack("<I", len(said))[:3] + b"\x02" + said)
        heard.append(await reader.read(1024))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        place = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(UpstreamFailed):
            await _dialled(place, local=frozenset({place}), tls=False)
        await gone.wait()
    assert b"canary" in heard[0]
    assert b"word" not in b"".join(heard).replace(b"password", b"")


async def test_a_database_on_this_machine_needs_the_setting(tmp_path: Path, mariadb: MariaDB) -> None:
    with maria_shop(mariadb) as there:
        async with open_house(tmp_path / "data", clock=DrivenClock()) as house:
            body = {"integration": "mariadb", "credential": there.url, "name": "analytics"}
            refused = await house.alice.call("POST", "/v1/connections", **body)
            assert refused.status == 400
            assert there.password not in refused.body.decode()


async def test_only_an_administrator_connects_and_only_what_may_make_accounts(tmp_path: Path, mariadb: MariaDB) -> None:
    with maria_shop(mariadb) as there:
        async with _house(tmp_path, there) as house:
            body = {"integration": "mariadb", "credential": there.url, "name": "analytics"}
            bob = await house.person("bob@acme.com")
            assert (await bob.call("POST", "/v1/connections", **body)).status == 403
            wrong = {**body, "credential": there.url.replace(there.password, "another")}
            assert (await house.alice.call("POST", "/v1/connections", **wrong)).status == 400
            there.as_root(
                f"REVOKE PROCESS ON *.* FROM {there.login}@'%'", f"REVOKE UPDATE ON mysql.* FROM {there.login}@'%'"
            )
            refused = await house.alice.call("POST", "/v1/connections", **body)
            assert refused.status == 400
            assert "GRANT PROCESS ON *.*; GRANT UPDATE ON mysql.*" in refused.json()["hint"]
            there.as_root(f"GRANT PROCESS ON *.* TO {there.login}@'%'", f"GRANT UPDATE ON mysql.* TO {there.login}@'%'")
            assert (await house.alice.call("POST", "/v1/connections", **body)).status == 201


async def test_what_everybody_may_do_is_listed_and_nothing_is_taken_away_unasked(
    tmp_path: Path, mariadb: MariaDB
) -> None:
    with maria_shop(mariadb) as there:
        there.as_root(
            "CREATE USER ''@'192.0.2.1'",
            "INSERT INTO mysql.db (Host, Db, User, Select_priv, Insert_priv) VALUES ('%', 'test\\_%', '', 'Y', 'Y')",
            "INSERT INTO mysql.db (Host, Db, User, Select_priv, Insert_priv) VALUES ('o''host', 'x''y', '', 'Y', 'Y')",
            f"GRANT SELECT ON {there.hr}.* TO PUBLIC",
            "FLUSH PRIVILEGES",
        )
        try:
            async with _house(tmp_path, there) as house:
                body = {"integration": "mariadb", "credential": there.url, "name": "analytics"}
                refused = (await house.alice.call("POST", "/v1/connections", **body)).json()
                assert refused["reason"] == "open_to_everybody"
                hr = there.hr.replace("_", "\\_")
                assert "DROP USER ''@'192.0.2.1'" in refused["statements"]
                assert any("FROM PUBLIC" in one and "SELECT" in one for one in refused["statements"]), hr
                assert any("mysql.db" in one for one in refused["statements"])
                assert there.as_root("SELECT count(*) FROM mysql.user WHERE User = ''") == [(1,)]
                body["everybody"] = "revoke"  # which the login may do but for the rows of the server's own tables
                refused = (await house.alice.call("POST", "/v1/connections", **body)).json()
                assert ["mysql.db" in one for one in refused["statements"]] == [True, True]
                assert there.as_root("SELECT count(*) FROM mysql.user WHERE User = ''") == [(0,)]
                for statement in refused["statements"]:
                    there.as_root(*statement.split("; "))
                assert (await house.alice.call("POST", "/v1/connections", **body)).status == 201
                there.as_root("CREATE USER ''@'192.0.2.1'")
                body |= {"everybody": "keep", "name": "kept"}
                assert (await house.alice.call("POST", "/v1/connections", **body)).status == 201
                created = (await house.events("connection.created"))[-1]
                assert created["everybody"] == "keep"
                assert created["open_to_everybody"] == ["an account without a name at 192.0.2.1"]
        finally:
            there.as_root(
                "DROP USER IF EXISTS ''@'192.0.2.1'", "DELETE FROM mysql.db WHERE User = ''", "FLUSH PRIVILEGES"
            )


async def test_a_password_moved_to_another_login_does_not_open(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb) as at:
        await at.house.app.services.databases._kinds["mariadb"]._admins.close()
        async with at.house.app.database.write() as tx:
            await tx.execute(text('UPDATE connections SET powers = REPLACE(powers, \'"login":"\', \'"login":"x\')'))
        assert (await at.lease()).status in (500, 502, 503)
        assert at.shop.accounts() == []


async def test_a_connection_to_the_one_kind_is_never_used_as_the_other(tmp_path: Path, mariadb: MariaDB) -> None:
    """No questions, no rotation: both are PostgreSQL's, and refused in words."""
    async with stocked(tmp_path / "data", mariadb) as at:
        refused = await at.house.alice.call("POST", f"/v1/connections/{at.connection['id']}/rotate")
        assert refused.status == 403
        assert "PostgreSQL" in refused.json()["detail"]
        assert await at.house.app.question_roles.sweep() == 0
        token = await at.agent.call("POST", "/v1/tokens", task_token=at.task["task_token"], target=at.audience)
        assert token.status in (200, 201), token.body


async def test_over_tls_an_account_is_let_in_by_tls_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="valetkey-tls-"))
    try:
        folder.chmod(0o755)
        authority = Authority()
        authority.serves(folder, "localhost")
        (root := folder / "root.pem").write_bytes(authority.root)
        for file in folder.iterdir():
            file.chmod(0o644)
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        pem = folder / "server.pem"
        with running(f"--ssl-cert={pem}", f"--ssl-key={pem}") as server, maria_shop(server) as there:
            there.tls, there.url_place = True, f"localhost:{server.port}"
            async with stocked(tmp_path / "data", server, there=there) as at:
                lent = await at.lent()
                assert lent["sslmode"] == "verify-full"
                with pytest.raises(pymysql.MySQLError, match="denied"):
                    session(lent, ssl_disabled=True)
                with contextlib.closing(session(lent, ssl_ca=str(root), ssl_verify_identity=True)) as db:
                    assert ask(db, "SELECT count(*) FROM orders") == [(3,)]
                    assert ask(db, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1]
                words = tmp_path / "my.cnf"
                words.write_text(lent["cnf"] + "\n")
                count = ("mariadb", f"--defaults-file={words}", "-BNe", "SELECT count(*) FROM customers")
                env = {"PATH": "/usr/bin:/bin"}
                assert (await program(*count, f"--ssl-ca={root}", environment=env))[:2] == (0, "2\n")
                code, _, wrong = await program(*count, environment=env)  # whoever does not know the authority
                assert code == 1, wrong
                assert (await at.revoke(lent["lease"]))["outcome"] == "done"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
