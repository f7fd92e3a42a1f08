"""What a decision under a policy costs, and how fast recorded calls are replayed. One thread, no I/O: its CPU time."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from tests.support import permission as p

from bench.cores import measured
from bench.rows import Row, most_row
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.cedar import clauses_of
from valetkey.server.policy.decide import decide
from valetkey.server.policy.history import Counter, History, Memory
from valetkey.server.policy.layer import Layer
from valetkey.server.policy.model import Allow
from valetkey.server.policy.reading import read_policy
from valetkey.server.policy.replay import Replay
from valetkey.server.policy.ruled import ruled
from valetkey.server.policy.rules import Effect, Rule

HELD = p.grant("github:repo:write@*")
FIRST, REPEAT, CALLS = 400, 4_000, 5_000
PEOPLE = ("agt_reviewer", "usr_alice")


def _rule(number: int, agent: str) -> str:
    effect = "allow" if number == 0 else "deny"
    when = "" if number == 0 else f"when = {{ counts = {{ writes = {1_000 + number} }} }}\n"
    return (
        f'[[rule]]\nid = "{agent}-{number}"\neffect = "{effect}"\nagents = ["{agent}"]\nintegration = "github"\n{when}'
    )


def _policy(others: int) -> Layer:
    """Ten rules that apply to the usual call, and so many about other agents."""
    text = "".join(_rule(n, "reviewer") for n in range(10))
    usual = read_policy(text, p.CATALOGUE).rules
    more = [Rule(id=f"o{n}", effect=Effect.DENY, agents=(f"other{n}",), integration="github") for n in range(others)]
    return Layer(id="pol_1", number=1, clauses=clauses_of([*usual, *more], ""))


def rows() -> list[Row]:
    """First sight, repeat, growth, and replay."""
    layers = {others: _policy(others) for others in (10, 990, 10_000)}
    with measured():
        first = {others: median(_first(layer) for _ in range(3)) for others, layer in layers.items()}
        repeat = median(_repeat(layers[990]) for _ in range(5))
        replayed = median(_replay() for _ in range(3))
    growth = first[10_000] / first[10]
    return [
        most_row(
            "decide", first[990], goal=150, note="µs, a call never seen, 1,000 rules of which 10 apply; slice ready"
        ),
        most_row("decide-repeat", repeat, goal=15, note="µs, the same call again; conditions and counters looked at"),
        most_row("decide-growth", growth, goal=1.5, note="10,000 rules outside the slice against 10"),
        Row(id="replay", ours=round(replayed), goal=5_000, met=replayed >= 5_000, note="recorded calls/s, in memory"),
    ]


def _first(layer: Layer) -> float:
    authority = p.authority(HELD, policy=layer)
    calls = [
        p.call("GET", "/repos/acme-corp/backend/issues", ResourceFacts("repository", f"acme/r{n}", str(n)))
        for n in range(FIRST)
    ]
    layer._verdicts.clear()
    decide(p.call("GET", "/repos/acme-corp/backend/issues"), authority, authority.task.grants, p.CATALOGUE, p.NOW + 1)
    return _each(lambda call: decide(call, authority, authority.task.grants, p.CATALOGUE, p.NOW + 1), calls)


def _repeat(layer: Layer) -> float:
    """The counter moves from call to call, as it does for an agent at work."""
    authority = p.authority(HELD, policy=layer)
    call = p.call("GET", "/repos/acme-corp/backend/issues")
    histories = [History(task=Memory(counts={(Counter.WRITES, ""): n % 500})) for n in range(REPEAT)]
    remembered = Allow()  # what `gateway/held` keeps of such a call
    return _each(lambda h: ruled(remembered, call, authority, p.CATALOGUE, p.NOW + 1, h), histories)


def _replay() -> float:
    names = dict(zip(PEOPLE, ("reviewer", "alice@acme.com"), strict=True))
    replay = Replay(_rule(0, "reviewer") + _rule(0, "other"), p.CATALOGUE, names)
    record = {
        "integration": "github", "chain": ["agt_reviewer"], "user": "usr_alice", "operation": "issues/list-for-repo",
        "resource": "acme/x", "parameters": {},
    }  # fmt: skip
    calls = [{**record, "resource": f"acme/r{n % 50}", "resource_id": str(n % 50)} for n in range(CALLS)]
    return 1e6 / _each(lambda members: replay.of("call.allowed", members, float(p.NOW)), calls)


def _each(run: Callable[..., object], items: Sequence[Any]) -> float:
    began = time.thread_time()
    for item in items:
        run(item)
    return (time.thread_time() - began) / len(items) * 1e6
