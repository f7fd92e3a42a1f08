"""`valetkey connect mariadb` and `valetkey run`: its client just works, and the login is gone after."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.maria_shop import MariaShop, maria_shop
from tests.support.mariadb import MariaDB
from tests.support.served import Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> Iterator[tuple[Served, MariaShop]]:
    with maria_shop(mariadb) as there:
        settings = {"VALETKEY_UPSTREAMS": "", "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": there.place}
        with served(tmp_path_factory.mktemp("run"), **settings) as started:
            started.answer("login", "--code-stdin", "--email", "alice@acme.com", stdin=started.code)
            connection = started.answer("connect", "mariadb", "--name", "analytics", "--url-stdin", stdin=there.url)
            assert connection["account"] == f"{there.login}@{there.place}"
            entitle = ("connections", "entitle", connection["id"], "--user", "alice@acme.com")
            started.answer(*entitle, "--grant", f"mariadb:read@{there.sales}.*")
            started.answer("agent", "create", "report-writer", "--save")
            yield started, there


def _run(there: MariaShop) -> tuple[str, ...]:
    grant = f"mariadb/analytics:read@{there.sales}.*"
    return ("run", "--agent", "report-writer", "--grant", grant, "--ttl", "10m", "--")


def test_its_client_just_works_and_the_login_is_gone_after(server: tuple[Served, MariaShop]) -> None:
    started, there = server
    asked = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1), count(*) FROM orders"
    done = started.valetkey(*_run(there), "mariadb", "-BNe", asked)
    assert done.returncode == 0, done.stderr
    name, _, count = done.stdout.strip().partition("\t")
    assert name.startswith("vk_")
    assert count == "3"
    assert name not in there.accounts()


def test_what_was_not_delegated_is_refused_by_the_database_itself(server: tuple[Served, MariaShop]) -> None:
    started, there = server
    done = started.valetkey(*_run(there), "mariadb", "-BNe", f"SELECT * FROM {there.hr}.salaries")
    assert done.returncode == 1
    assert "denied" in done.stderr


def test_what_signs_the_person_in_is_not_there(server: tuple[Served, MariaShop]) -> None:
    started, there = server
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    planted = {
        "MYSQL_PWD": "of-the-person",
        "MYSQL_UNIX_PORT": "/hers",
        "MARIADB_HOME": "/hers",
        "DATABASE_URL": "hers",
    }
    done = started.valetkey(*_run(there), sys.executable, "-c", code, **planted)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "of-the-person" not in done.stdout
    assert "MYSQL_UNIX_PORT" not in seen
    assert seen["MYSQL_TCP_PORT"] == str(there.server.port)
    assert seen["DATABASE_URL"].startswith("mysql://vk_")
    assert not Path(seen["MARIADB_CNF"]).exists()


def test_a_login_is_opened_listed_and_revoked_from_the_shell(server: tuple[Served, MariaShop]) -> None:
    started, there = server
    delegation = started.answer(
        "delegate", "--agent", "report-writer", "--grant", f"mariadb/analytics:read@{there.sales}.*",
        "--purpose", "count orders", "--ttl", "10m",
    )  # fmt: skip
    task = started.answer("task", "open", delegation["id"])
    lent = started.answer("leases", "open", "--for", "mariadb", "--task-token-stdin", stdin=task["task_token"])
    assert json.loads(lent["credential"])["user"] in there.accounts()
    (shown,) = [one for one in started.answer("leases", "list") if one["id"] == lent["id"]]
    assert shown["status"] == "out"
    started.answer("revoke", delegation["id"])
    assert there.accounts() == []
