"""Who may see a record, and what it is found by: every allowing case has a neighbour with one changed fact."""

from dataclasses import replace

from valetkey.server.audit.model import AuditRecord
from valetkey.server.audit.sight import Seen, Viewer, Wanted, about, follows, is_wanted, may_see
from valetkey.server.ids import new_id

ORG, OTHER = new_id("org"), new_id("org")
ALICE, BOB = new_id("usr"), new_id("usr")
HERS, HIS = new_id("agt"), new_id("agt")
VIEWER = Viewer(org=ORG, user=ALICE, agents=frozenset({HERS}))
ADMINISTRATOR = Viewer(org=ORG, sees_all=True)


def record(event: str = "call.allowed", org: str = ORG, **members: object) -> AuditRecord:
    return AuditRecord(
        writer="w1", seq=1, prev=bytes(32), id=new_id("aud"), time="2027-01-15T08:00:00.000Z", event=event, org=org,
        members=members,
    )  # fmt: skip


def test_a_person_sees_what_was_done_on_their_behalf_and_nobody_elses() -> None:
    assert may_see(VIEWER, Seen(record(user=ALICE, agent=HIS)))
    assert not may_see(VIEWER, Seen(record(user=BOB, agent=HIS)))
    assert not may_see(VIEWER, Seen(record(user=BOB, agent=HERS)))  # her agent, but his delegation
    assert not may_see(VIEWER, Seen(record(user=BOB, by=ALICE)))


def test_a_person_sees_what_happens_to_their_own_agents() -> None:
    assert may_see(VIEWER, Seen(record("agent.suspended", agent=HERS, by=BOB)))
    assert not may_see(VIEWER, Seen(record("agent.suspended", agent=HIS, by=BOB)))
    assert not may_see(VIEWER, Seen(record("key.created", kid="es256-1")))


def test_another_organizations_record_is_seen_by_nobody() -> None:
    for viewer in (VIEWER, ADMINISTRATOR):
        assert may_see(viewer, Seen(record(user=ALICE)))
        assert not may_see(viewer, Seen(record(org=OTHER, user=ALICE)))
    assert may_see(ADMINISTRATOR, Seen(record("writer.started", org="")))
    assert not may_see(VIEWER, Seen(record("writer.started", org="", user=ALICE)))


def test_an_outcome_is_whose_its_decision_is() -> None:
    outcome = record("call.finished", decision=new_id("aud"), status=200)
    assert may_see(VIEWER, Seen(outcome, record(user=ALICE)))
    assert not may_see(VIEWER, Seen(outcome, record(user=BOB)))
    assert not may_see(VIEWER, Seen(outcome))
    assert not may_see(VIEWER, Seen(outcome, record(org=OTHER, user=ALICE)))


def test_nobody_who_is_nobody_sees_anything() -> None:
    assert not may_see(Viewer(org=ORG), Seen(record(user="")))
    assert not may_see(replace(VIEWER, user=""), Seen(record()))


def test_every_filter_holds_by_the_line_itself() -> None:
    seen = Seen(record("call.denied", user=ALICE, agent=HERS, integration="github", reason="not_delegated",
                       grants=[f"slack/{(con := new_id('con'))}:chat:read@*"]))  # fmt: skip
    held = {"event": "call.denied", "user": ALICE, "agent": HERS, "integration": "github", "decision": "denied",
            "reason": "not_delegated", "connection": con}  # fmt: skip
    assert is_wanted(Wanted(**held), seen)
    for name in held:
        assert not is_wanted(Wanted(**{**held, name: "another"}), seen), name
    assert is_wanted(Wanted(since="2027-01-15T08:00:00.000Z", until="2027-01-15T08:00:00.001Z"), seen)
    assert not is_wanted(Wanted(until="2027-01-15T08:00:00.000Z"), seen)
    assert not is_wanted(Wanted(since="2027-01-15T08:00:00.001Z"), seen)
    assert ("integration", "slack") in set(about(seen))


def test_what_names_only_a_node_follows_the_record_that_says_whose_it_is() -> None:
    delegation = new_id("dlg")
    assert follows(record("node.revoked", node=delegation, by=BOB)) == ("delegation", delegation)
    assert follows(record("call.allowed", user=ALICE, delegation=delegation)) is None
    assert follows(record("node.revoked", node="dlg_' OR 1=1", by=BOB)) is None
