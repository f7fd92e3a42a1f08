"""A document, read: which operation runs, every field it selects with fragments expanded, and our own print of it.

In order: size, tokens and nesting before anything is parsed; then the one operation; then its selection, expanded under
a budget, so that fragments of fragments cost no more than what they say. A field is there whatever its `@skip` or
`@include` says. What is sent is the print of the operation and of the fragments it uses, and nothing else. Refuses to
know APIs, types and what is allowed. GraphQL, sections 2 and 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    Lexer,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Source,
    TokenKind,
    parse,
    print_ast,
)

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.graphql.values import resolved, tree

MOST_CHARACTERS: Final = 1 << 16
MOST_TOKENS: Final = 4000
MOST_NESTED: Final = 40
"""Brackets of all kinds that are open at once."""
MOST_DEEP: Final = 20
MOST_FIELDS: Final = 2000
"""Selected fields after fragments are expanded, and fragments entered."""
MOST_ALIASES: Final = 50

_OPENS: Final = frozenset({TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L})
_CLOSES: Final = frozenset({TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R})
_CONDITIONS: Final = frozenset({"skip", "include"})


@dataclass(frozen=True, slots=True)
class Selected:
    """One field. `on` is the type its innermost fragment is for, empty where there is none between it and `below`'s."""

    name: str
    on: str
    arguments: Mapping[str, Any]
    below: tuple["Selected", ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """The variables of the operation: all of them, those that need a value, and the values of those nobody gave."""

    names: frozenset[str]
    required: frozenset[str]
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """What will be executed, and its print."""

    kind: str
    """`query` or `mutation`."""
    name: str
    text: str
    declared: Declared
    fields: tuple[Selected, ...]

    def without_fields(self) -> "Document":
        """The same for keeping, once its fields are understood: expanded, they may be far longer than the text."""
        return replace(self, fields=())

    def variables(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every variable that has one. Raises `InvalidRequest` for one too many or too few."""
        declared = self.declared
        if not declared.names.issuperset(given):
            extra = given.keys() - declared.names
            raise InvalidRequest(f"The document declares no {_listed(extra)}.", hint="Leave it out of `variables`.")
        values = {**declared.defaults, **given}
        if lacking := {name for name in declared.required if values.get(name) is None}:
            raise InvalidRequest(f"A value is missing for {_listed(lacking)}.", hint="Add it to `variables`.")
        return values


def read(text: str, operation: str) -> Document:
    """Read a document, of which `operation` runs (empty: the only one). Raises `InvalidRequest`."""
    _bound(text)
    try:
        document = parse(text, no_location=True, max_tokens=MOST_TOKENS)
    except (GraphQLError, RecursionError, ValueError) as error:
        raise InvalidRequest("The document is no GraphQL.", detail=str(error)) from None
    chosen, fragments = _chosen(document, operation)
    declared = _declared(chosen)
    expanding = _Expanding(fragments, declared.names)
    fields = tuple(expanding.selected(chosen.selection_set, "", 1, ()))
    sent = DocumentNode(definitions=(chosen, *(fragments[name] for name in expanding.used)))
    printed = print_ast(sent)
    # SECURITY: what leaves is read once more, so that a fault of the printer is a refusal and not another call.
    # Guarded by tests/attacks/test_graphql.py::test_what_leaves_is_our_print_of_what_was_judged
    if parse(printed, no_location=True) != sent:
        raise InvalidRequest("The document does not survive being written down again.")
    return Document(chosen.operation.value, chosen.name.value if chosen.name else "", printed, declared, fields)


def _bound(text: str) -> None:
    """GQ-02: no limit is left to who parses or expands."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidRequest(f"The document is longer than {MOST_CHARACTERS} characters.", hint="Use variables.")
    # NOTE: upper bounds first: counting characters is far cheaper than reading tokens, and nearly always enough.
    if len(text) <= MOST_TOKENS and sum(map(text.count, "{[(")) <= MOST_NESTED:
        return
    lexer, depth, tokens = Lexer(Source(text)), 0, 0
    try:
        while (token := lexer.advance()).kind is not TokenKind.EOF:
            tokens += 1
            depth += (token.kind in _OPENS) - (token.kind in _CLOSES)
            if tokens > MOST_TOKENS or depth > MOST_NESTED:
                raise InvalidRequest(
                    f"The document has more than {MOST_TOKENS} tokens, or is nested deeper than {MOST_NESTED}.",
                    hint="Ask for less at once.",
                )
    except GraphQLError as error:
        raise InvalidRequest("The document is no GraphQL.", detail=str(error)) from None


def _chosen(
    document: DocumentNode, operation: str
) -> tuple[OperationDefinitionNode, dict[str, FragmentDefinitionNode]]:
    operations: dict[str, OperationDefinitionNode] = {}
    fragments: dict[str, FragmentDefinitionNode] = {}
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            known: dict[str, Any] = fragments
        elif isinstance(definition, OperationDefinitionNode):
            known = operations
        else:
            raise InvalidRequest("The document defines something else than operations and fragments.")
        # SECURITY: newer grammars know text before a definition, older ones refuse it: one reading, or none.
        # Guarded by tests/attacks/test_graphql.py::test_gq_01_what_is_no_plain_request_never_leaves
        if definition.description is not None:
            raise InvalidRequest("The document describes a definition.", hint="Write it as a remark, after `#`.")
        name = definition.name.value if definition.name else ""
        if name in known:
            raise InvalidRequest(f"The document defines {name or 'an operation without a name'} twice.")
        if definition.directives:
            raise InvalidRequest("Directives stand on fields and fragments only.")
        known[name] = definition
    if not operation and len(operations) == 1:
        [chosen] = operations.values()
    elif operation in operations and operation:
        chosen = operations[operation]
    else:
        raise InvalidRequest(
            "It does not say which operation runs."
            if len(operations) != 1
            else f"There is no operation {operation!r}.",
            hint="Name one that the document defines as `operationName`.",
        )
    if chosen.operation is OperationType.SUBSCRIPTION:
        raise InvalidRequest("Subscriptions are not carried.", hint="Ask again with a query instead.")
    return chosen, fragments


def _declared(chosen: OperationDefinitionNode) -> Declared:
    names: set[str] = set()
    required: set[str] = set()
    defaults: dict[str, Any] = {}
    for definition in chosen.variable_definitions or ():
        name = definition.variable.name.value
        if name in names or definition.directives or definition.description is not None:
            raise InvalidRequest(f"${name} is declared twice, or with a directive or a description.")
        names.add(name)
        if isinstance(definition.type, NonNullTypeNode):
            required.add(name)
        if definition.default_value is not None:
            defaults[name] = resolved(tree(definition.default_value, frozenset()), {})
    return Declared(frozenset(names), frozenset(required), defaults)


@dataclass(slots=True)
class _Expanding:
    """One expansion, and what it has cost so far."""

    fragments: Mapping[str, FragmentDefinitionNode]
    declared: frozenset[str]
    used: dict[str, None] = field(default_factory=dict)
    cost: int = 0
    aliases: int = 0

    def selected(self, selection: SelectionSetNode, on: str, deep: int, within: tuple[str, ...]) -> Iterator[Selected]:
        """Every field of a selection, those of its fragments in their places."""
        if deep > MOST_DEEP or len(within) > MOST_DEEP:
            raise InvalidRequest(
                f"The document selects deeper than {MOST_DEEP} fields or fragments.", hint="Ask for less at once."
            )
        for node in selection.selections:
            self.cost += 1
            if self.cost > MOST_FIELDS:
                raise InvalidRequest(f"The document selects more than {MOST_FIELDS} fields.", hint="Ask for less.")
            self._conditions(node.directives)
            match node:
                case FieldNode():
                    yield self._field(node, on, deep, within)
                case InlineFragmentNode():
                    type_ = node.type_condition.name.value if node.type_condition else on
                    yield from self.selected(node.selection_set, type_, deep, within)
                case FragmentSpreadNode():
                    name = node.name.value
                    fragment = self.fragments.get(name)
                    if fragment is None or name in within:
                        raise InvalidRequest(f"The fragment {name} is not defined, or contains itself.")
                    self.used[name] = None
                    type_ = fragment.type_condition.name.value
                    yield from self.selected(fragment.selection_set, type_, deep, (*within, name))

    def _field(self, node: FieldNode, on: str, deep: int, within: tuple[str, ...]) -> Selected:
        if node.alias is not None:
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise InvalidRequest(f"The document has more than {MOST_ALIASES} aliases.", hint="Send several calls.")
        arguments = {argument.name.value: tree(argument.value, self.declared) for argument in node.arguments or ()}
        if len(arguments) != len(node.arguments or ()):
            raise InvalidRequest(f"An argument of {node.name.value} is given twice.")
        below = () if node.selection_set is None else tuple(self.selected(node.selection_set, "", deep + 1, within))
        return Selected(node.name.value, on, arguments, below)

    def _conditions(self, directives: Sequence[DirectiveNode] | None) -> None:
        """`@skip` and `@include` with their one argument; who knows what another one does?"""
        names = [directive.name.value for directive in directives or ()]
        if not _CONDITIONS.issuperset(names) or len(set(names)) != len(names):
            raise InvalidRequest("Only @skip and @include are taken, each once.", hint="Leave other directives out.")
        for directive in directives or ():
            if [argument.name.value for argument in directive.arguments or ()] != ["if"]:
                raise InvalidRequest(f"@{directive.name.value} has one argument, `if`.")
            tree((directive.arguments or ())[0].value, self.declared)


def _listed(names: set[str] | frozenset[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names))[:200]
