"""Addresses, names and rights of MariaDB, without a server."""

import pytest

from valetkey.server.connections.databases.mariadb.model import (
    Right,
    account,
    credential,
    kept,
    names,
    parse_url,
    place_of,
    role_of,
    wanted,
)
from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

READ = frozenset({"SELECT"})
WRITE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:x@db.acme.com",
        "mariadb://owner:x@db.acme.com/sales",
        "mariadb://owner@db.acme.com",
        "mariadb://owner:@db.acme.com",
        "mariadb://:x@db.acme.com",
        "mariadb://owner:x@",
        "mariadb://owner:x@db.acme.com:port",
        "mariadb://ow'ner:x@db.acme.com",
        "mariadb://ow%40ner:x@db.acme.com",
        "mariadb://owner:x%00y@db.acme.com",
        "mariadb://owner:x@db.acme.com#here",
        "mariadb://owner:x@db acme.com",
        "/var/run/mysqld.sock",
        "",
    ],
)
def test_an_address_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="not the address"):
        parse_url(url)


@pytest.mark.parametrize("option", ["sslmode=require", "ssl=0", "sslmode=disable&sslmode=", "ssl_ca=/etc/x"])
def test_a_weaker_sslmode_is_refused(option: str) -> None:
    with pytest.raises(InvalidRequest, match="sslmode"):
        parse_url(f"mariadb://owner:x@db.acme.com?{option}")
    assert parse_url("mariadb://owner:x@db.acme.com?sslmode=verify-full")[0].tls
    assert not parse_url("mysql://owner:x@127.0.0.1?sslmode=disable")[0].tls


@pytest.mark.parametrize(
    "name", ["root", "vk_", "vk_0123abcd_`; DROP", "vx_0123abcd_0123456789abcdef", "vk_0123abcd_0123456789ABCDEF"]
)
def test_a_name_of_another_alphabet_is_never_written(name: str) -> None:
    with pytest.raises(ValueError, match="not a role of ours"):
        account(name)


@pytest.mark.parametrize(
    "name",
    ["sales", "sales.", ".orders", "sales.a.b", "sa`les.orders", "sales.*x", "*.*", "", "sales.or ders", "sa%les.*"],
)
def test_what_is_no_table_is_never_written(name: str) -> None:
    with pytest.raises(ValueError, match="not a table"):
        names(name)


def test_a_name_that_got_by_is_not_written_either() -> None:
    with pytest.raises(ValueError, match="not a name"):
        place_of(Right(database="a`b", table="", rights=("SELECT",)))
    with pytest.raises(ValueError, match="not a name"):
        place_of(Right(database="ab", table="c`d", rights=("SELECT",)))


def test_a_pattern_means_one_database() -> None:
    assert place_of(Right(database="my_shop_1", table="", rights=("SELECT",))) == r"`my\_shop\_1`.*"


def test_equal_rights_are_one_role_in_whatever_order_they_were_asked_for() -> None:
    one = wanted([("a.b", READ), ("c.*", READ), ("a.b", WRITE)])
    other = wanted([("c.*", READ), ("a.b", WRITE)])
    assert one == other
    assert role_of("d", one, login="x") == role_of("d", other, login="x")
    assert role_of("d", one, login="x") != role_of("d", one, login="y")
    assert role_of("d", one, login="x") != role_of("e", one, login="x")
    assert role_of("d", wanted([("a.b", READ)]), login="x") != role_of("d", wanted([("a.b", WRITE)]), login="x")
    assert role_of("d", wanted([("a.b", READ)]), login="x") != role_of("d", wanted([("a.*", READ)]), login="x")


def test_a_credential_is_told_as_programs_read_it() -> None:
    key, _ = parse_url("mariadb://owner:x@db.acme.com")
    said = credential(
        key, database="sales", name="vk_1", password=Secret("w0rd"), lease="lse_1", ends="then", ends_at=1
    )
    assert said["url"] == "mysql://vk_1:w0rd@db.acme.com:3306/sales"
    lines = str(said["cnf"]).splitlines()
    assert lines[0] == "[client]"
    assert {"host=db.acme.com", "password=w0rd", "database=sales", "ssl-verify-server-cert"} <= set(lines)
    assert "w0rd" not in kept(Secret("w0rd"))
