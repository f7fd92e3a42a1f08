"""A company's MariaDB for a story: two databases with rows in them, a login that owns them, and an agent with a task.

The login is no root: it has what `valetkey connect mariadb` asks for, and the rights on these databases WITH GRANT
OPTION.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from tests.support.house import House, open_house
from tests.support.mariadb import MariaDB
from tests.support.shop import Store
from valetkey.server.clock import DrivenClock

AUDIENCE = "https://mariadb.databases.invalid"
DENIED = pymysql.err.OperationalError
_NEEDS = "CREATE USER, PROCESS, CONNECTION ADMIN"


@dataclass
class MariaShop:
    """The server, without Valetkey. `sales` and `hr` are databases of this story alone."""

    server: MariaDB
    mark: str
    password: str
    tls: bool = False
    url_place: str = ""
    """Where it is said to be, where that is not where it is."""

    @property
    def place(self) -> str:
        return self.url_place or self.server.place

    @property
    def login(self) -> str:
        return f"owner_{self.mark}"

    @property
    def sales(self) -> str:
        return f"s_{self.mark}"

    @property
    def hr(self) -> str:
        return f"h_{self.mark}"

    @property
    def url(self) -> str:
        return f"mariadb://{self.login}:{self.password}@{self.place}" + ("" if self.tls else "?sslmode=disable")

    def as_root(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.execute(*statements)

    def accounts(self, beginning: str = "vk_") -> list[str]:
        """Accounts of leases that are there now, on the whole server."""
        rows = self.as_root(f"SELECT User FROM mysql.user WHERE User LIKE '{beginning}%' ORDER BY 1")
        return [str(row[0]) for row in rows]


@contextlib.contextmanager
def maria_shop(server: MariaDB) -> Iterator[MariaShop]:
    there = MariaShop(server, secrets.token_hex(4), secrets.token_hex(12))
    s, h, login = there.sales, there.hr, f"{there.login}@'%'"
    there.as_root(
        f"CREATE DATABASE {s}",
        f"CREATE DATABASE {h}",
        f"CREATE TABLE {s}.orders (id int AUTO_INCREMENT PRIMARY KEY, owner varchar(64) NOT NULL, total int NOT NULL)",
        f"INSERT INTO {s}.orders (owner, total) VALUES ('alice@acme.com', 1), ('alice@acme.com', 2)",
        f"INSERT INTO {s}.orders (owner, total) VALUES ('bob@acme.com', 3)",
        f"CREATE TABLE {s}.customers (id int PRIMARY KEY, name varchar(64))",
        f"INSERT INTO {s}.customers VALUES (1, 'Acme'), (2, 'Globex')",
        f"CREATE VIEW {s}.totals AS SELECT owner, sum(total) AS total FROM {s}.orders GROUP BY owner",
        f"CREATE TABLE {h}.salaries (person varchar(64), amount int)",
        f"INSERT INTO {h}.salaries VALUES ('alice@acme.com', 1)",
        f"CREATE USER {login} IDENTIFIED BY '{there.password}'",
        f"GRANT {_NEEDS} ON *.* TO {login}",
        f"GRANT SELECT, UPDATE ON mysql.* TO {login}",
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {one}.* TO {login} WITH GRANT OPTION" for one in (s, h)),
    )
    try:
        yield there
    finally:
        left = there.as_root("SELECT User, is_role FROM mysql.user WHERE User REGEXP '^v[kg]_'")
        there.as_root(
            *(f"DROP ROLE `{name}`" if is_role == "Y" else f"DROP USER `{name}`@`%`" for name, is_role in left),
            "SELECT 1",
        )
        there.as_root(f"DROP DATABASE {s}", f"DROP DATABASE {h}", f"DROP USER {login}")


@contextlib.asynccontextmanager
async def stocked(
    folder: Path,
    server: MariaDB,
    *grants: str,
    database_url: str | None = None,
    also: tuple[str, ...] = (),
    there: MariaShop | None = None,
    entitled: tuple[str, ...] = (),
    **more: Any,
) -> AsyncIterator[Store]:
    """Everything up to the task. In grants `sales` and `hr` stand for this story's databases, in `also`, which root
    runs before, `{sales}` and `{hr}`."""
    async with contextlib.AsyncExitStack() as opened:
        shop = there or opened.enter_context(maria_shop(server))
        if also:
            shop.as_root(*(one.format(sales=shop.sales, hr=shop.hr, owner=shop.login) for one in also))
        written = [_here(shop, one) for one in grants or ("mariadb/analytics:read@sales.*",)]
        local = (shop.place,)
        async with open_house(folder, database_url=database_url, clock=DrivenClock(), local=local) as house:
            connection = await connect(house, shop)
            at = Store(house, shop, connection, await house.agent("report-writer"), None, None, AUDIENCE)
            await at.entitle(*([_here(shop, e) for e in entitled] or [g.replace("/analytics", "") for g in written]))
            at.delegation = await house.delegate(at.agent, *written, **more)
            at.task = await house.task(at.delegation)
            yield at


async def connect(house: House, shop: MariaShop, **more: Any) -> Any:
    """As an administrator would."""
    body = {"integration": "mariadb", "credential": shop.url, "name": "analytics", **more}
    reply = await house.alice.call("POST", "/v1/connections", **body)
    assert reply.status == 201, reply.body
    return reply.json()


def session(lent: Any, **more: Any) -> "pymysql.Connection[Any]":
    """A session of a lease."""
    asked: dict[str, Any] = {
        "host": lent["host"],
        "port": lent["port"],
        "user": lent["user"],
        "password": lent["password"],
        "database": lent["database"] or None,
        "autocommit": True,
        "ssl_disabled": lent["sslmode"] == "disable",
        "read_timeout": 20,
    }
    return pymysql.connect(**{**asked, **more})


def ask(db: "pymysql.Connection[Any]", statement: str) -> list[tuple[Any, ...]]:
    with db.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _here(shop: MariaShop, grant: str) -> str:
    return (
        grant.replace("@sales.", f"@{shop.sales}.")
        .replace("@hr.", f"@{shop.hr}.")
        .replace(",sales.", f",{shop.sales}.")
    )
