"""Names, addresses and passwords of databases: one reading, one alphabet."""

import base64
import hashlib
import hmac

import pytest

from valetkey.server.connections.databases.model import lease_of, prefix, quoted, role_of
from valetkey.server.connections.databases.postgres.model import group_of, parse_url, verifier
from valetkey.server.delegations.grants import parse_grant
from valetkey.server.delegations.model import Fit, Grant, Resource, narrowed
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.integrations.databases import DATABASES
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.secret import Secret

ORDERS = ResourceFacts("table", name="sales.orders", id="100", owner_id="7")


@pytest.mark.parametrize("name", ['x"; DROP ROLE y; --', "postgres", "vk_", "vk_0123ABCD_0123456789abcdef", "vk_é", ""])
def test_a_name_of_another_alphabet_is_never_written(name: str) -> None:
    with pytest.raises(ValueError, match="not a role of ours"):
        quoted(name)


def test_names_of_ours_fit_and_lead_back_to_their_lease() -> None:
    lease, deployment = new_id("lse"), new_id("org")
    role = role_of(deployment, lease)
    group = group_of(deployment, database=1, scope="read", kind="table", oid=2)
    assert len(role) <= 63 >= len(group)
    assert quoted(role) == f'"{role}"'
    assert quoted(group) == f'"{group}"'
    assert lease_of(role, deployment) == lease
    assert lease_of(role, new_id("org")) == ""
    assert not group.startswith(prefix(deployment))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a:b@h/d",
        "postgresql://h/d",
        "postgresql://a@h/d",
        "postgresql://a:b@/d",
        "postgresql://a:b@h",
        "postgresql://a:b@h/",
        "postgresql://a:b@h,other/d",
        "postgresql://a:b@h:x/d",
        "postgresql://a:b@h/d/e",
        "postgresql://a:b@h/d#x",
        "postgresql://a:b@/d?host=other",
        "postgresql://a:b@h/d?host=other",
        "postgresql://a:b@h/d?sslmode=prefer",
        "postgresql://a:b@h/d?sslmode=require",
        "postgresql://a:b@h/d?sslmode=verify-full&sslrootcert=x",
        "postgresql://a;b:c@h/d",
        "postgresql://a:b@h/d%00",
        "postgresql://a:b@h/d'e",
    ],
)
def test_an_address_with_two_readings_or_less_than_full_verification_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_url(url)


def test_what_is_sent_of_a_password_proves_it_and_does_not_hold_it() -> None:
    """RFC 5802 section 3"""
    said = verifier(Secret("pencil"), b"0123456789abcdef")
    rounds, keys = said.removeprefix("SCRAM-SHA-256$").split("$")
    stored, _ = keys.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"0123456789abcdef", int(rounds.split(":")[0]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    assert base64.b64decode(stored) == hashlib.sha256(client).digest()
    assert "pencil" not in said


@pytest.mark.parametrize("grant", ["postgres:read@sales/*", "github:repo:read@acme.*", "postgres:read@*.orders"])
def test_a_wildcard_stands_for_all_of_a_schema_and_nothing_else(grant: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_grant(grant)


def test_all_of_a_schema_is_its_tables_by_its_own_number() -> None:
    whole = Resource(name="sales.*", owner="7", kind="table")
    assert whole.fit(ORDERS) is Fit.YES
    assert whole.fit(ResourceFacts("table", name="sales.orders", id="100", owner_id="8")) is Fit.CHANGED
    assert whole.fit(ResourceFacts("table", name="hr.orders", id="100", owner_id="8")) is Fit.NO
    assert whole.fit(ResourceFacts("table", name="salesx.orders", id="100", owner_id="8")) is Fit.NO


@pytest.mark.parametrize("asked", ["sales.Orders", "Sales.orders", "sales.orders2", "hr.salaries", "sales.*", "*"])
def test_names_of_tables_compare_letter_by_letter(asked: str) -> None:
    table = Resource(name="sales.orders", id="100", owner="7", kind="table")
    held = Grant(integration="postgres", connection="con_1", scopes=frozenset({"read"}), resources=(table,))
    with pytest.raises(Denied):
        narrowed((held,), (parse_grant(f"postgres:read@{asked}"),), DATABASES)
    (same,) = narrowed((held,), (parse_grant("postgres:read@sales.orders"),), DATABASES)
    assert same.resources == (table,)


def test_a_ceiling_on_one_table_is_no_ceiling_on_one_that_differs_in_case() -> None:
    other = Resource(name="sales.Orders", id="101", owner="7", kind="table")
    asked = Grant(integration="postgres", connection="con_1", scopes=frozenset({"read"}), resources=(other,))
    with pytest.raises(Denied):
        narrowed((parse_grant("postgres:read@sales.orders"),), (asked.by_name(),), DATABASES)


def test_write_holds_read_and_read_no_write() -> None:
    postgres = DATABASES["postgres"]
    assert postgres.includes("write", "read")
    assert not postgres.includes("read", "write")
