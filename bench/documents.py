"""What reading a GraphQL call costs once its document was seen: far less than parsing it."""

import json
import time
from collections.abc import Callable
from statistics import median

from graphql import parse

from bench.rows import Row
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.reading import Said

_QUERY = """
query Issues($team: String!, $n: Int = 50) {
  issues(filter: {team: {key: {eq: $team}}}, first: $n) {
    nodes {
      id identifier title description priority
      state { id name type } assignee { id name } labels { nodes { id name } }
      comments { nodes { id body user { name } } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""
_CALLS, _ROUNDS = 2000, 9


def row() -> Row:
    """Microseconds of processor time from a body's bytes to its operations and the bytes that are sent."""
    reader = load_integration("linear").reader
    assert reader is not None
    body = json.dumps({"query": _QUERY, "variables": {"team": "LIN"}}).encode()
    said = Said(method="POST", segments=("graphql",), query=(), content_type="application/json", body=body)
    reader(said)
    rounds = [(_cost(lambda: reader(said)), _cost(lambda: parse(_QUERY), calls=100)) for _ in range(_ROUNDS)]
    ours, theirs = (median(column) for column in zip(*rounds, strict=True))
    note = "µs to read a GraphQL call whose document was seen before, against only parsing it (graphql-core)"
    return Row(id="graphql", ours=ours, theirs=theirs, ratio=theirs / ours, goal=15, met=ours <= 15, note=note)


def _cost(work: Callable[[], object], *, calls: int = _CALLS) -> float:
    started = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - started) / calls * 1e6
