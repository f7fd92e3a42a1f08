"""Arguments as values: literals and variables of a document, resolved to what the API will see.

Responsible for the coercion rules that change a value (GraphQL, section 6.1.2 and 6.4.1: a variable nobody gave leaves
its argument out). Refuses to know which argument means what.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from valetkey.server.errors import InvalidRequest

ABSENT: Final = object()
_LONGEST_NUMBER: Final = 24


@dataclass(frozen=True, slots=True)
class Variable:
    """A place a variable fills. As an item of a list it is null when nobody gave it, and elsewhere not there."""

    name: str
    is_item: bool = False


def tree(node: ValueNode, declared: frozenset[str]) -> Any:
    """The value as written: Python data with `Variable` in it. Raises `InvalidRequest`."""
    match node:
        case VariableNode():
            if node.name.value not in declared:
                raise InvalidRequest(f"The document uses ${node.name.value}, and declares no such variable.")
            return Variable(node.name.value)
        case IntValueNode() | FloatValueNode():
            if len(node.value) > _LONGEST_NUMBER:
                raise InvalidRequest("The document has a number that is too long.")
            return int(node.value) if isinstance(node, IntValueNode) else float(node.value)
        case StringValueNode() | EnumValueNode() | BooleanValueNode():
            return node.value
        case NullValueNode():
            return None
        case ListValueNode():
            items = [tree(item, declared) for item in node.values or ()]
            return [Variable(item.name, is_item=True) if isinstance(item, Variable) else item for item in items]
        case ObjectValueNode():
            found = {field.name.value: tree(field.value, declared) for field in node.fields or ()}
            if len(found) != len(node.fields or ()):
                raise InvalidRequest("The document names a field of one object twice.")
            return found
    raise InvalidRequest("The document has a value nobody knows.")


def resolved(value: Any, variables: Mapping[str, Any]) -> Any:
    """The value as the API will see it; `ABSENT` where nobody gave one.

    >>> resolved({"id": Variable("id"), "first": Variable("n"), "in": [Variable("n")]}, {"id": "LIN-1"})
    {'id': 'LIN-1', 'in': [None]}
    """
    match value:
        case Variable(name):
            return variables.get(name, ABSENT)
        case list():
            items = [resolved(item, variables) for item in value]
            return [None if item is ABSENT else item for item in items]
        case dict():
            members = ((name, resolved(inner, variables)) for name, inner in value.items())
            return {name: inner for name, inner in members if inner is not ABSENT}
    return value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path; items of a list have the list's. Nothing in it: no leaf.

    >>> list(leaves({"id": "a", "input": {"labelIds": ["x", "y"], "title": None, "more": {}}}))
    [('id', 'a'), ('input.labelIds', 'x'), ('input.labelIds', 'y'), ('input.title', None), ('input.more', {})]
    """
    match value:
        case dict() if value:
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        case list() if value:
            for item in value:
                yield from leaves(item, path)
        case _ if path:
            yield path, value


def at(value: Any, path: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """What stands at that path of objects, and what of the path is left when a variable stands before its end.

    `ABSENT` where nothing stands. A list is never looked into.

    >>> at({"filter": {"team": Variable("t")}}, ["filter", "team", "key"])
    (Variable(name='t', is_item=False), ['key'])
    """
    for position, name in enumerate(path):
        if isinstance(value, Variable):
            return value, path[position:]
        if not isinstance(value, dict) or name not in value:
            return ABSENT, ()
        value = value[name]
    return value, ()
