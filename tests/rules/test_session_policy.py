"""The session policy that stands for a lease at AWS, and the answer that is believed."""

import json
from typing import Any

import pytest

from tests.support.aws_account import ACCOUNT, ROLE
from valetkey.server.connections.assume import check_role, read_session
from valetkey.server.connections.model import RoleKey
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.model import ResourceFacts, ResourceRef
from valetkey.server.integrations.role import LONGEST_POLICY, PolicyTooLong, Role
from valetkey.server.secret import Secret

ENDS_AT = 1_800_000_600


def aws() -> Role:
    role = load_integration("aws").role
    assert role is not None
    return role


def policy(*scopes: str, names: tuple[str, ...] = ("acme-reports",)) -> Any:
    return json.loads(aws().policy(scopes, names, account=ACCOUNT, ends_at=ENDS_AT))


def test_reading_a_bucket_is_these_actions_on_these_arns_until_then_and_no_more() -> None:
    condition = {
        "DateLessThan": {"aws:CurrentTime": "2027-01-15T08:10:00Z"},
        "StringEquals": {"aws:ResourceAccount": ACCOUNT},
    }
    assert policy("s3:read") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::acme-reports"],
                "Condition": condition,
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": ["arn:aws:s3:::acme-reports/*"],
                "Condition": condition,
            },
        ],
    }


def test_only_writing_brings_what_writes() -> None:
    written = policy("s3:read", "s3:write")["Statement"][1]["Action"]
    assert {"s3:PutObject", "s3:DeleteObject"} <= set(written)
    assert not [action for action in written if "*" in action or "Acl" in action or "Version" in action]


@pytest.mark.parametrize(("scopes", "names"), [((), ("acme-reports",)), (("s3:read",), ()), (("s3:admin",), ("abc",))])
def test_nothing_named_is_no_policy(scopes: tuple[str, ...], names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="a session policy"):
        policy(*scopes, names=names)


@pytest.mark.parametrize(
    "name",
    ["*", "acme-*", "acme-report?", "${aws:username}", "a", "Acme-Reports", "acme..reports", "acme-reports/*", ".acme",
     "acme-reports\n", 'acme"reports', "x" * 64],
)  # fmt: skip
def test_a_name_that_is_no_buckets_is_in_no_policy_and_means_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="names its resources"):
        policy("s3:read", names=("acme-reports", name))
    assert aws().facts(ResourceRef("bucket", name=name), ACCOUNT) is None


def test_a_bucket_is_its_name_in_the_account_of_the_role() -> None:
    found = aws().facts(ResourceRef("bucket", name="acme-reports"), ACCOUNT)
    assert found == ResourceFacts("bucket", name="acme-reports", id="acme-reports", owner_id=ACCOUNT)
    assert aws().facts(ResourceRef("repository", name="acme-reports"), ACCOUNT) is None


def test_a_policy_is_never_longer_than_sts_takes() -> None:
    names = tuple(f"acme-reports-of-the-year-{n}" for n in range(40))
    fits = next(n for n in range(40, 0, -1) if _fits(names[:n]))
    assert fits >= 5
    assert len(aws().policy(["s3:read"], names[:fits], account=ACCOUNT, ends_at=ENDS_AT)) <= LONGEST_POLICY
    with pytest.raises(PolicyTooLong):
        policy("s3:read", names=names[: fits + 1])


def _fits(names: tuple[str, ...]) -> bool:
    try:
        policy("s3:read", names=names)
    except PolicyTooLong:
        return False
    return True


GOOD = (
    f"<R><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/reports/lse_1</Arn><AccessKeyId>ASIASESSION000000001</AccessKeyId>"
    "<SecretAccessKey>canarySecretOfTheSession</SecretAccessKey><SessionToken>canarySessionToken01</SessionToken>"
    "<Expiration>2027-01-15T08:10:00Z</Expiration><PackedPolicySize>3</PackedPolicySize></R>"
)


def test_a_session_is_read_member_by_member() -> None:
    assert read_session(GOOD, role=ROLE, name="lse_1")["AccessKeyId"] == "ASIASESSION000000001"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<PackedPolicySize>3</PackedPolicySize>", ""),
        ("<PackedPolicySize>3", "<PackedPolicySize>0"),
        ("lse_1", "lse_2"),
        (ACCOUNT, "999999999999"),
        ("role/reports", "role/admins"),
        ("canarySessionToken01", "canary&#83;essionToken01"),
        ("<R>", '<!DOCTYPE R [<!ENTITY a "b">]><R>'),
        ("</R>", "<AccessKeyId>ASIASESSION000000002</AccessKeyId></R>"),
        ("</R>", "<SecretAccessKey></SecretAccessKey></R>"),
        ("2027-01-15T08:10:00Z", "soon"),
    ],
)
def test_an_answer_that_is_not_exactly_a_session_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(UpstreamFailed):
        read_session(GOOD.replace(old, new), role=ROLE, name="lse_1")


@pytest.mark.parametrize(
    ("arn", "key", "secret"),
    [
        ("arn:aws:iam::1:role/x", "AKIAVALETKEYEXAMPLE1", "s" * 40),
        ("arn:aws:iam::111122223333:user/x", "AKIAVALETKEYEXAMPLE1", "s" * 40),
        (ROLE + "\n", "AKIAVALETKEYEXAMPLE1", "s" * 40),
        (ROLE, "akia", "s" * 40),
        (ROLE, "AKIAVALETKEYEXAMPLE1", "-----BEGIN"),
    ],
)
def test_what_is_no_role_or_no_access_key_is_refused(arn: str, key: str, secret: str) -> None:
    check_role(RoleKey(arn=ROLE, access_key="AKIAVALETKEYEXAMPLE1"), Secret("s" * 40))
    with pytest.raises(InvalidRequest):
        check_role(RoleKey(arn=arn, access_key=key), Secret(secret))
