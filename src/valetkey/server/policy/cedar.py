"""Rules as Cedar, and Cedar as prepared handles. Knows no call and no decision.

One rule of TOML is one policy per agent it names, so that a slice can leave out what is about others. What an
administrator writes in Cedar takes the same way: every policy has an `@id`; `@ask` on a permit makes it ask; `@observe`
records it and nothing else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

from valetkey.server.errors import InvalidRequest
from valetkey.server.policy.rules import ID, Effect, Rule, action_uids, folded, quoted

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ANNOTATIONS: Final = frozenset({"id", "ask", "observe", "why"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One policy of Cedar: whose slice it belongs to, and its syntax tree. `rule` is None where Cedar was written."""

    key: str
    id: str
    effect: Effect
    observe: bool
    why: str
    agent: str  # empty: any
    integration: str  # empty: any
    tree: Mapping[str, Any]
    rule: Rule | None


def cedar_text(rule: Rule) -> str:
    """The rule in Cedar, as it is judged."""
    return "\n\n".join(_policy(rule, agent) for agent in (rule.agents or ("",)))


def clauses_of(rules: Iterable[Rule], cedar: str) -> tuple[Clause, ...]:
    """Every clause of a policy. Raises `InvalidRequest` for Cedar that is none or lacks a name."""
    found: list[Clause] = []
    owners: list[tuple[Rule, str]] = [(rule, agent) for rule in rules for agent in (rule.agents or ("",))]
    if owners:
        trees = _trees("\n".join(_policy(rule, agent) for rule, agent in owners))
        for number, ((rule, agent), tree) in enumerate(zip(owners, trees, strict=True)):
            found.append(
                Clause(
                    key=f"r{number}",
                    id=rule.id,
                    effect=rule.effect,
                    observe=rule.observe,
                    why=rule.why,
                    agent=agent,
                    integration=rule.integration,
                    tree=tree,
                    rule=rule,
                )
            )
    names = {rule.id for rule, _ in owners}
    for number, tree in enumerate(_trees(cedar) if cedar.strip() else ()):
        found.append(_written(tree, number, names))
        names.add(found[-1].id)
    return tuple(found)


def handle_of(clauses: Iterable[Clause], *, all_permit: bool = False) -> "cedarpy.PolicySet":
    """A prepared set. With `all_permit`, each says only whether it applies."""
    trees = {c.key: {**c.tree, "effect": "permit"} if all_permit else dict(c.tree) for c in clauses}
    document = {"templates": {}, "staticPolicies": trees, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def _policy(rule: Rule, agent: str) -> str:
    head = [f"@id({quoted(rule.id)})"]
    head += ["@ask"] if rule.effect is Effect.ASK else []
    head += ["@observe"] if rule.observe else []
    head += [f"@why({quoted(rule.why)})"] if rule.why else []
    who = f"principal == Agent::{quoted(agent)}" if agent else "principal"
    uids = ", ".join(f"Action::{quoted(uid)}" for uid in _actions(rule))
    verb = "forbid" if rule.effect is Effect.DENY else "permit"
    body = " && ".join(_tests(rule))
    what = f"action in [{uids}]" if uids else "action"
    return "\n".join([*head, f"{verb} ({who}, {what}, resource)" + (f"\nwhen {{ {body} }}" if body else "") + ";"])


def _actions(rule: Rule) -> list[str]:
    if rule.actions:
        return [uid for action in rule.actions for uid in action_uids(action, rule.integration)]
    return [f"{rule.integration}:*"] if rule.integration else []


def _tests(rule: Rule) -> list[str]:
    # NOTE: a plain word such as "write" means any API; the rule's own API is said beside it.
    found = [f"context.integration == {quoted(rule.integration)}"] if rule.integration else []
    if rule.users:
        found.append(f"[{', '.join(quoted(user) for user in rule.users)}].contains(context.user)")
    if rule.resources:
        found.append(f"({' || '.join(_resource(name) for name in rule.resources)})")
    found += [f"!({_resource(name)})" for name in rule.except_resources]
    for name, wanted in (("public", rule.public), ("leaves", rule.leaves), ("named", rule.named)):
        if wanted is not None:
            found.append(f"context.{name}" if wanted else f"!context.{name}")
    return [*found, *(f"({condition.cedar})" for condition in rule.conditions)]


def _resource(name: str) -> str:
    if name.startswith(ID):
        return f"context.resource.id == {quoted(name.removeprefix(ID))}"
    if name.endswith("/*"):
        return f"context.resource.owner == {quoted(folded(name[:-2]))}"
    return f"context.resource.name == {quoted(folded(name))}"


def _trees(text: str) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        said = str(error).splitlines()[0][:300]
        raise InvalidRequest(f"This is no Cedar: {said}", hint="valetkey policy check FILE says where.") from error
    if document["templates"] or document["templateLinks"]:
        raise InvalidRequest("Cedar templates are not read.", hint="Write the policy out for each of its subjects.")
    policies = document["staticPolicies"]
    return [policies[f"policy{number}"] for number in range(len(policies))]


def _written(tree: Mapping[str, Any], number: int, taken: set[str]) -> Clause:
    notes = {name: value or "" for name, value in tree.get("annotations", {}).items()}
    name = notes.get("id", "")
    if not _ID.fullmatch(name) or name in taken:
        raise InvalidRequest(
            f"Policy number {number + 1} in Cedar has no name of its own.", hint='Write @id("a-name") above it.'
        )
    if unknown := sorted(notes.keys() - _ANNOTATIONS):
        raise InvalidRequest(
            f"{name}: the annotation @{unknown[0]} means nothing here.",
            hint=f"Known: {', '.join(sorted(_ANNOTATIONS))}.",
        )
    if "ask" in notes and tree["effect"] == "forbid":
        raise InvalidRequest(f"{name}: a forbid cannot ask.", hint="Put @ask on a permit.")
    effect = Effect.DENY if tree["effect"] == "forbid" else Effect.ASK if "ask" in notes else Effect.ALLOW
    who, what = tree["principal"], tree["action"]
    agent = who["entity"]["id"] if who["op"] == "==" and who["entity"]["type"] == "Agent" else ""
    named = [e["id"] for e in what.get("entities", [what["entity"]] if "entity" in what else [])]
    apis = {re.split("[/:]", uid)[0] if re.search("[/:]", uid) else "" for uid in named}
    return Clause(
        key=f"c{number}",
        id=name,
        effect=effect,
        observe="observe" in notes,
        why=notes.get("why", ""),
        agent=agent,
        integration=apis.pop() if len(apis) == 1 else "",
        tree=tree,
        rule=None,
    )
