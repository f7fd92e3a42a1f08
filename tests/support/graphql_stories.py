"""GraphQL calls made up from a table and one seed: mostly what it lists, now and then one fact beside it.

One story is a document and many calls with it: other variables, another operation, another envelope. Nothing here says
what a call is; that is for who reads it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.support.naive_graphql import Api

UUID = "11111111-1111-4111-8111-111111111111"
NAMES = ["LIN-123", "LIN", "OPS-7", UUID, "acme-corp", "a b", ""]
GAPS = [" ", " ", " ", ", ", "\n", "\t", '\n# issue(id: "OPS-7") { title }\n', "\n#\r\n"]


@dataclass(frozen=True)
class Sent:
    """One call as it arrives."""

    method: str
    query: str
    kind: str
    body: bytes


@dataclass
class Variable:
    type: str
    default: str
    planned: Any


@dataclass
class Story:
    """The document, and what can be said about it."""

    api: Api
    draw: Random
    fragments: list[str] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    earlier: set[str] = field(default_factory=set)
    """Variables of operations before the one that is being written."""
    text: str = ""

    def chance(self, one_in: int) -> bool:
        return self.draw.randrange(one_in) == 0

    def tell(self) -> "Story":
        kinds = ["query", "query", "mutation"]
        definitions = []
        count = self.draw.choice([1, 1, 1, 1, 2, 3])
        for number in range(count):
            name = f"Q{number}" if number or not self.chance(3 if count == 1 else 20) else ""
            self.operations.append(name)
            kind = "subscription" if self.chance(60) else self.draw.choice(kinds)
            definitions.append(self.operation(kind, "Q0" if number and self.chance(40) else name))
        definitions += self.fragments
        if self.chance(40):
            definitions.append(self.draw.choice(["fragment Left on Query { viewer { id } }", "type T { a: Int }"]))
        if self.chance(60):
            definitions.insert(0, self.draw.choice(definitions))
        if self.chance(100):
            definitions[0] = f'"{self.draw.choice(["a remark", "{ viewer { id } }"])}" {definitions[0]}'
        self.draw.shuffle(definitions)
        self.text = self.gap().join(definitions)
        if self.chance(80):
            at = self.draw.randrange(len(self.text))
            self.text = self.text[:at] + self.draw.choice(["{", "}", '"', "$", "...", ""]) + self.text[at + 1 :]
        return self

    def operation(self, kind: str, name: str) -> str:
        before = set(self.variables)
        self.earlier = before if not self.chance(30) else set()
        body = self.selection(self.roots(kind), kind.capitalize(), deep=0)
        used = [one for one in self.variables if one not in before] if not self.chance(60) else []
        if self.chance(30):
            used += self.draw.sample(sorted(self.variables), min(1, len(self.variables)))
        declared = ", ".join(self.declared(one) for one in used)
        word = "" if kind == "query" and not name and not declared else f"{kind} {name}"
        directive = " @live" if self.chance(150) else ""
        return f"{word}{f'({declared})' if declared else ''}{directive} {body}"

    def declared(self, name: str) -> str:
        it = self.variables[name]
        return f"${name}: {it.type}{it.default}"

    def gap(self) -> str:
        return self.draw.choice(GAPS)

    def roots(self, kind: str) -> list[str]:
        listed = [call for call in self.api.calls if call[0].startswith(f"{kind}/") and call[0] != "query/*"]
        return [self.root(listed) for _ in range(self.draw.choice([1, 1, 1, 1, 2, 3]))]

    def root(self, listed: list[list[str]]) -> str:
        if not listed or self.chance(50):
            return "apiKeys { id }"
        call = self.draw.choice(listed)
        _, _, _, _, names, takes, returns, _ = call
        arguments: dict[str, Any] = {}
        for word in names.split():
            if self.chance(3 if word.endswith("?") else 20):
                continue
            for place in self.draw.sample(
                word.removesuffix("?").split("|"), 2 if "|" in word and self.chance(9) else 1
            ):
                paths, kind = place.split(">")
                for path in paths.split("+"):
                    if not self.chance(15):
                        plain = UUID if kind.endswith(".uuid") else "LIN"
                        self.lay(arguments, path, plain if not self.chance(3) else self.draw.choice(NAMES))
        for path in self.draw.sample(takes.split(), min(len(takes.split()), self.draw.randrange(3))):
            if path.endswith("~"):
                path = ".".join([path[:-1], *self.draw.choices(sorted(self.api.words), k=self.draw.randint(1, 2))])
                path += ".or" if self.chance(12) else ""
            if path != "*":
                self.lay(arguments, path, self.anything())
        if self.chance(25):
            path = self.draw.choice(["secret", "input.secret", "filter.or", "id.x"])
            self.lay(arguments, path, self.anything() if not self.chance(3) else ["x"])
        name = call[0].partition("/")[2].partition(":")[0]
        below = ""
        if returns == "*":
            below = " { name fields { type { x: name } } }"
        elif returns and not self.chance(60):
            below = " " + self.selection(self.fields(returns, 1), returns.partition(".")[0], deep=1)
        elif self.chance(60):
            below = " { id }"
        return f"{self.alias()}{name}{self.arguments(arguments)}{self.condition()}{below}"

    def lay(self, arguments: dict[str, Any], path: str, value: Any) -> None:
        *above, last = path.split(".")
        for name in above:
            if not isinstance(arguments.get(name), dict):
                arguments[name] = {}
            arguments = arguments[name]
        arguments[last] = value

    def anything(self) -> Any:
        return self.draw.choice(
            ["x", 3, 2.5, None, True, "LIN", [], {}, ["LIN", None], {"eq": "x"}, [{"key": "y"}], ["y"]]
        )

    # --- selections
    def selection(self, fields: list[str], type_: str, *, deep: int) -> str:
        """The fields in braces, some of them behind fragments of either kind."""
        items = []
        for one in fields:
            for _ in range(2):
                if not self.chance(5):
                    break
                one = self.wrapped(one, type_)
            items.append(one)
        return "{" + self.gap() + self.gap().join(items) + " }"

    def wrapped(self, one: str, type_: str) -> str:
        other = self.draw.choice([type_] * 6 + ["Node", "Query", "Mutation", *sorted(self.api.types)[:3]]).split(".")[0]
        if self.chance(2):
            on = f" on {other}" if not self.chance(3) else ""
            return f"...{on}{self.condition()} {{ {one} }}"
        name = f"F{len(self.fragments)}" if not self.chance(30) else "F0"
        inside = f" ...{self.draw.choice(['F0', 'F1', 'F9'])}" if self.chance(30) else ""
        self.fragments.append(f"fragment {name} on {other} {{{self.gap()}{one}{inside} }}")
        again = f" ...{name}" if self.chance(12) else ""
        return f"...{name}{self.condition()}{again}"

    def fields(self, type_: str, deep: int) -> list[str]:
        known = self.api.types[type_]
        stays = [name for name, (_, returns, s) in known.items() if s and (deep < 4 or not returns)]
        leads = [name for name, (_, returns, s) in known.items() if not s and (deep < 4 or not returns)]
        found = []
        for _ in range(self.draw.choice([1, 1, 1, 2])):
            names = leads if leads and self.chance(9) else stays
            if self.chance(70):
                found.append(self.draw.choice(["inviteHash", "id { id }", "secret(x: 1)"]))
            elif names:
                found.append(self.inner(known, self.draw.choice(names), deep))
        return found or ["__typename"]

    def inner(self, known: dict[str, tuple[list[str], str, bool]], name: str, deep: int) -> str:
        takes, returns, _ = known[name]
        arguments: dict[str, Any] = {}
        for path in self.draw.sample([*takes, *self.api.paging], self.draw.choice([0, 0, 0, 0, 1, 2])):
            words = [path[:-1], self.draw.choice(sorted(self.api.words))] if path.endswith("~") else [path]
            self.lay(arguments, ".".join(words), self.anything())
        if self.chance(40):
            self.lay(arguments, self.draw.choice(["secret", "filter.secret", "filter.or"]), self.anything())
        below = (
            " " + self.selection(self.fields(returns, deep + 1), returns.partition(".")[0], deep=deep)
            if returns
            else ""
        )
        return f"{self.alias()}{name}{self.arguments(arguments)}{self.condition()}{below}"

    def alias(self) -> str:
        return self.draw.choice([*[""] * 6, "issue: ", "title: ", f"a{self.draw.randrange(4)}: "])

    def condition(self) -> str:
        if not self.chance(6):
            return ""
        if self.chance(25):
            return self.draw.choice([" @defer", " @skip", " @include(if: true, if: true)", " @skip(if: $none)"])
        if self.chance(3):
            return f" @{self.draw.choice(['skip', 'include'])}(if: {self.lifted(self.chance(2), 'Boolean')})"
        both = " @include(if: true)" if self.chance(9) else ""
        return f" @{self.draw.choice(['skip', 'include'])}(if: {self.draw.choice(['true', 'false'])}){both}"

    # --- values
    def arguments(self, given: dict[str, Any]) -> str:
        if not given:
            return ""
        pairs = [f"{name}:{self.gap()}{self.value(value)}" for name, value in given.items()]
        if self.chance(80):
            pairs.append(pairs[0])
        return f"({', '.join(pairs)})"

    def value(self, value: Any) -> str:
        """A literal, in which a variable stands for some part or all of it."""
        if self.chance(7):
            return self.lifted(value)
        match value:
            case dict():
                pairs = [f"{name}: {self.value(inner)}" for name, inner in value.items()]
                pairs += pairs[:1] if self.chance(150) else []
                return "{" + ", ".join(pairs) + "}"
            case list():
                return "[" + " ".join(self.lifted(one) if self.chance(3) else self.value(one) for one in value) + "]"
            case str():
                return self.text_of(value)
        return json.dumps(value)

    def text_of(self, value: str) -> str:
        escaped = "".join(f"\\u{ord(letter):04X}" for letter in value[:3]) + value[3:]
        return (
            self.draw.choice(
                [
                    *[json.dumps(value)] * 6,
                    f'"{escaped}"',
                    f'"""{value}"""',
                    f'"""\n  {value}\n  """',
                    value.partition("-")[0],
                ]
            )
            or '""'
        )

    def lifted(self, value: Any, type_: str = "") -> str:
        if self.chance(6) and (again := sorted(self.variables.keys() - self.earlier)):
            return "$" + self.draw.choice(again)
        name = f"v{len(self.variables)}"
        needed = "!" if self.chance(4) else ""
        default = f" = {self.literal(value if self.chance(2) else self.anything())}" if self.chance(4) else ""
        default += " @live" if self.chance(150) else ""
        self.variables[name] = Variable(
            (type_ or self.draw.choice(["String", "[ID!]", "Filter"])) + needed, default, value
        )
        return f"${name}"

    def literal(self, value: Any) -> str:
        match value:
            case dict():
                return "{" + ", ".join(f"{name}: {self.literal(inner)}" for name, inner in value.items()) + "}"
            case list():
                return "[" + ", ".join(map(self.literal, value)) + "]"
        return json.dumps(value)

    # --- calls
    def calls(self, count: int) -> Iterator[Sent]:
        """That many calls with the document; the first is as plain as it can be."""
        for number in range(count):
            named = self.draw.choice(self.operations) if number else self.operations[0]
            named = self.draw.choice(["", "Q9"]) if number and self.chance(30) else named
            members: dict[str, Any] = {"query": self.text}
            if named or self.chance(3):
                members["operationName"] = named
            used = self.used(named)
            given = {name: self.variables[name].planned for name in used}
            if number:
                given = {name: self.given(value) for name, value in given.items() if not self.chance(6)}
            if self.chance(40):
                given[self.draw.choice(["none", *self.variables])] = "LIN-123"
            if given or self.chance(3):
                members["variables"] = given
            yield self.enveloped(members) if number and self.chance(9) else plain(json.dumps(members))

    def used(self, named: str) -> list[str]:
        """Variables that some operation declares, as far as a glance at the text can tell."""
        at = self.text.find(f" {named}(" if named else "query (")
        return (
            [name for name in self.variables if f"${name}:" in self.text[at : self.text.find(")", at)]]
            if at >= 0
            else []
        )

    def given(self, planned: Any) -> Any:
        return planned if not self.chance(3) else self.draw.choice([self.draw.choice(NAMES), self.anything()])

    def enveloped(self, members: dict[str, Any]) -> Sent:
        """The same document as something else than one plain request, or nearly."""
        body = json.dumps(members)
        stored = {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}
        return self.draw.choice(
            [
                plain(f"[{body}]"),
                plain(f"\n[{body}, {body}]"),
                plain(json.dumps(members | {"extensions": stored})),
                plain(json.dumps({"extensions": stored, "variables": members.get("variables")})),
                plain(json.dumps(members | {self.draw.choice(["id", "documentId", "Query", "queries"]): "ab"})),
                plain(json.dumps(members | {"extensions": self.draw.choice([{}, None])})),
                plain(json.dumps(members | {"operationName": self.draw.choice([None, "", 7, ["Q0"]])})),
                plain(json.dumps(members | {"variables": self.draw.choice([None, [], "x", {}])})),
                plain(json.dumps(members | {"query": self.draw.choice([None, "", " ", [self.text]])})),
                plain(body[:-1] + f', "query": {json.dumps(self.text)}}}'),
                plain(body[:-1] + ', "\\u0071uery": "{ viewer { id } }"}'),
                plain(body[: len(body) // 2]),
                plain(f"{body} {{}}"),
                plain(f" {body}\n"),
                Sent("GET", "query=" + self.text[:40], "", b""),
                Sent("GET", "", "application/json", body.encode()),
                Sent("POST", "query=x", "application/json", body.encode()),
                *(
                    Sent("POST", "", kind, body.encode())
                    for kind in ("application/graphql", "text/plain", "multipart/form-data; boundary=x", "")
                ),
                *(
                    Sent("POST", "", kind, body.encode())
                    for kind in (
                        "application/json; charset=utf-8",
                        "Application/JSON",
                        "application/json; charset=utf-16",
                    )
                ),
            ]
        )


def plain(body: str) -> Sent:
    return Sent("POST", "", "application/json", body.encode())
