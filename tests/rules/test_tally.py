"""What a group of decisions is judged by and adds, added up by hand."""

from valetkey.server.memory.model import OTHERS, Key, Place, Row, Spans, slice_ends, wanted
from valetkey.server.memory.tally import Tally
from valetkey.server.policy.history import Counter, Label

NOW = 1_800_000_000.0
ENDS = slice_ends(NOW)
PLACE = Place("7", "repository/7")
SLOTS = (PLACE.key,)
ALONE = Spans("tsk_1", 1_800_003_600, ("agt_a/usr_1",), ("agt_a",), ("tsk_1", "agt_a/usr_1", "agt_a"))
CHAIN = Spans(
    "tsk_1",
    1_800_003_600,
    ("agt_a/usr_1", "agt_b/usr_1"),
    ("agt_a", "agt_b"),
    ("tsk_1", "agt_a/usr_1", "agt_b/usr_1", "agt_a", "agt_b"),
)
READ = Row(labels=2, calls=1)


def test_each_call_of_a_group_sees_those_before_it() -> None:
    tally = Tally(NOW)
    tally.found([])
    assert tally.recorded(ALONE, (PLACE,)) == {}
    tally.add(ALONE, SLOTS, NOW, READ)
    tally.add(ALONE, SLOTS, NOW, Row(labels=4, calls=1, writes=1))
    said = {"calls": 2, "writes": 1, "labels": ("private", "untrusted"), "resources": {"7": {"calls": 2, "writes": 1}}}
    assert tally.recorded(ALONE, (PLACE,)) == {"task": said, "agent_for_user": said, "agent": said}
    assert tally.history(ALONE, (PLACE,)).task.count(Counter.WRITES, "7") == 1


def test_what_is_there_and_what_ended_in_the_group_are_one_sum() -> None:
    tally = Tally(NOW)
    tally.ended(ALONE, SLOTS, NOW - 5, Row(bytes=30))
    tally.found([("tsk_1", "", ALONE.until, 1, 2, 0, 0, 12, 0)])
    history = tally.history(ALONE, (PLACE,))
    assert (history.task.count(Counter.BYTES), history.task.count(Counter.CALLS)) == (42, 2)
    assert (history.agent.count(Counter.BYTES), history.agent.count(Counter.CALLS)) == (30, 0)
    assert history.task.labels == {Label.PUBLIC}
    assert tally.added[Key("tsk_1", "", ALONE.until)] == Row(bytes=30)  # and nothing of what is there


def test_what_no_longer_counts_is_written_and_not_seen() -> None:
    tally = Tally(NOW)
    tally.ended(ALONE, SLOTS, NOW - 9_000, Row(bytes=30))
    tally.found([("agt_a", "", int(NOW), 2, 5, 0, 0, 0, 0), ("agt_a", "", int(NOW) + 1, 0, 1, 0, 0, 0, 0)])
    agent = tally.history(ALONE, ()).agent
    assert (agent.count(Counter.CALLS), agent.count(Counter.BYTES), agent.labels) == (1, 0, frozenset())
    assert tally.added[Key("agt_a", "", slice_ends(NOW - 9_000))] == Row(bytes=30)


def test_of_several_agents_the_one_that_did_the_most_counts() -> None:
    tally = Tally(NOW)
    tally.found([("agt_a", "", ENDS, 1, 5, 0, 0, 0, 7), ("agt_b", "", ENDS, 4, 3, 2, 0, 0, 0)])
    agent = tally.history(CHAIN, (PLACE,)).agent
    assert (agent.count(Counter.CALLS), agent.count(Counter.WRITES)) == (5, 2)
    assert agent.labels == {Label.PUBLIC, Label.UNTRUSTED}
    assert tally.recorded(CHAIN, (PLACE,))["agent"] == {
        "calls": 5, "writes": 2, "comments": 7, "labels": ("public", "untrusted"),
    }  # fmt: skip


def test_what_has_no_row_of_its_own_counts_for_each() -> None:
    tally = Tally(NOW)
    tally.found([("tsk_1", OTHERS, ALONE.until, 0, 3, 0, 0, 0, 0), ("tsk_1", PLACE.key, ALONE.until, 0, 1, 0, 0, 0, 0)])
    task = tally.history(ALONE, (PLACE, Place("8", "repository/8"))).task
    assert (task.count(Counter.CALLS, "7"), task.count(Counter.CALLS, "8")) == (4, 3)
    tally.add(ALONE, (OTHERS,), NOW, READ)
    assert tally.history(ALONE, (PLACE,)).task.count(Counter.CALLS, "7") == 5


def test_tasks_that_share_an_agent_share_its_hour_and_nothing_else() -> None:
    other = Spans("tsk_2", ALONE.until, ALONE.for_user, ALONE.agents, ("tsk_2", *ALONE.all[1:]))
    tally = Tally(NOW)
    tally.found([])
    tally.add(ALONE, SLOTS, NOW, READ)
    tally.add(other, SLOTS, NOW, READ)
    assert tally.history(other, ()).task.count(Counter.CALLS) == 1
    assert tally.history(other, ()).agent.count(Counter.CALLS) == 2
    added = tally.added
    assert added[Key("agt_a", "", ENDS)] == Row(labels=2, calls=2)
    assert added[Key("tsk_1", "", ALONE.until)] == added[Key("tsk_2", "", ALONE.until)] == READ


def test_only_the_rows_of_its_own_resources_are_asked_for() -> None:
    other = Spans("tsk_2", 1, (), (), ("tsk_2",))
    asked = wanted([(ALONE, (PLACE,)), (other, (Place("8", "repository/8"),))])
    assert asked["tsk_1"] == ["", OTHERS, "repository/7"]
    assert asked["tsk_2"] == ["", OTHERS, "repository/8"]
