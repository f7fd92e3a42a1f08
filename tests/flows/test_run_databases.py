"""`valetkey run --grant postgres/…`: psql just works, and the login is gone when the command is."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.served import Served, served
from tests.support.shop import READ, Shop, shop

RUN = ("run", "--agent", "report-writer", "--grant", READ, "--ttl", "10m", "--")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[tuple[Served, Shop]]:
    with asyncio.Runner() as runner:
        opening = shop(postgres)
        there = runner.run(opening.__aenter__())
        place = there.place
        settings = {"VALETKEY_UPSTREAMS": "", "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": place}
        with served(tmp_path_factory.mktemp("run"), **settings) as started:
            started.answer("login", "--code-stdin", "--email", "alice@acme.com", stdin=started.code)
            connect = ("connect", "postgres", "--name", "analytics", "--url-stdin")
            refused = json.loads(started.valetkey(*connect, "--json", stdin=there.url).stdout)
            there.as_superuser("; ".join(refused["statements"]))
            connection = started.answer(*connect, stdin=there.url)
            entitle = ("connections", "entitle", connection["id"], "--user", "alice@acme.com")
            started.answer(*entitle, "--grant", READ.replace("/analytics", ""))
            started.answer("agent", "create", "report-writer", "--save")
            yield started, there
        runner.run(opening.__aexit__(None, None, None))


def test_psql_just_works_and_the_login_is_gone_after(server: tuple[Served, Shop]) -> None:
    started, there = server
    done = started.valetkey(*RUN, "psql", "-XAtq", "-c", "SELECT session_user, count(*) FROM sales.orders")
    assert done.returncode == 0, done.stderr
    role, _, count = done.stdout.strip().partition("|")
    assert role.startswith("vk_")
    assert count == "8"
    assert role not in there.roles()


def test_a_service_by_the_name_of_the_connection_works_too(server: tuple[Served, Shop]) -> None:
    started, _ = server
    done = started.valetkey(*RUN, "psql", "-XAtq", "-c", "SELECT count(*) FROM sales.customers", "service=analytics")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_what_was_not_delegated_is_refused_by_the_database_itself(server: tuple[Served, Shop]) -> None:
    started, _ = server
    done = started.valetkey(*RUN, "psql", "-XAtq", "-c", "SELECT * FROM hr.salaries")
    assert done.returncode == 1
    assert "permission denied" in done.stderr


def test_what_signs_the_person_in_is_not_there(server: tuple[Served, Shop]) -> None:
    started, _ = server
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    planted = {"PGPASSWORD": "of-the-person", "PGHOSTADDR": "192.0.2.1", "PGUSER": "alice", "DATABASE_URL": "hers"}
    done = started.valetkey(*RUN, sys.executable, "-c", code, **planted)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "of-the-person" not in done.stdout
    assert "PGHOSTADDR" not in seen
    assert seen["PGUSER"].startswith("vk_")
    assert not Path(seen["PGPASSFILE"]).exists()
    assert not [name for name in seen if name.startswith("VALETKEY_")]


def test_query_asks_without_a_login_and_shows_what_came(server: tuple[Served, Shop]) -> None:
    started, there = server
    delegation = started.answer(
        "delegate", "--agent", "report-writer", "--grant", READ, "--purpose", "count orders", "--ttl", "10m"
    )
    task = started.answer("task", "open", delegation["id"])
    asked = ("query", "analytics", "SELECT id, owner FROM sales.orders WHERE id <= $1 ORDER BY id")
    known = ("--task-token", task["task_token"])
    done = started.valetkey(*asked, "2", *known)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "id  owner\n1   alice@acme.com\n2   alice@acme.com\n"
    lines = [json.loads(line) for line in started.valetkey(*asked, "1", *known, "--json").stdout.splitlines()]
    assert lines[1:] == [[1, "alice@acme.com"], {"end": "complete", "rows": 1}]
    cut = started.valetkey(*asked, "2", *known, "--rows", "1")
    assert "cut at more rows than were asked for" in cut.stderr
    there.as_superuser("UPDATE sales.customers SET name = E'\\x1b[31m\\u009b2J' WHERE id = 1")
    shown = started.valetkey("query", "analytics", "SELECT name FROM sales.customers WHERE id = 1", *known)
    as_lines = started.valetkey("query", "analytics", "SELECT name FROM sales.customers WHERE id = 1", *known, "--json")
    assert not {"\x1b", "\x9b"} & {*shown.stdout, *as_lines.stdout}
    assert json.loads(as_lines.stdout.splitlines()[1]) == ["\x1b[31m\x9b2J"]
    refused = started.valetkey("query", "analytics", "SELECT amount FROM hr.salaries", *known)
    assert refused.returncode != 0
    assert "not entitled" in refused.stderr
    assert not [role for role in there.roles() if role.startswith("vkq_")]
