"""`valetkey token` mints a delegated credential as the agent; `valetkey token explain` says what a token allows.

Helper verbs: they start without the command line library. The credential alone is printed, so that it can be used in
`$(…)`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from valetkey.cli.durations import EXAMPLES, seconds
from valetkey.cli.output import facts, moment, notice, show
from valetkey.cli.problems import Parser, Usage
from valetkey.cli.signed_in import as_agent, signed_in
from valetkey.client.errors import NotAuthenticated
from valetkey.client.profile import Profile
from valetkey.client.proving import ProofKey
from valetkey.client.sync import Client
from valetkey.client.unverified import unverified_claims

SUMMARY = "Mint a delegated credential from a task token; `token explain` says what a token allows."


def parser() -> argparse.ArgumentParser:
    example = "valetkey token --task-token-stdin --for github --ttl 60s   (see also: valetkey token explain --help)"
    made = Parser("token", SUMMARY, example=example)
    task = made.add_mutually_exclusive_group()
    task.add_argument("--task-token", metavar="TOKEN", help="the task token, or - for standard input")
    task.add_argument("--task-token-stdin", action="store_true", help="read the task token from standard input")
    made.add_argument("--for", dest="target", metavar="API", required=True, help="github, https://api.github.com, …")
    made.add_argument("--ttl", type=duration, metavar="DURATION", help=f"how long: {EXAMPLES}")
    made.add_argument("--scope", action="append", metavar="SCOPE", help="only this scope; may be repeated")
    made.add_argument("--grant", action="append", default=[], metavar="GRANT", help="only this; may be repeated")
    made.add_argument("--agent", metavar="NAME", help="the agent; the one the task belongs to otherwise")
    made.add_argument("--dpop-key", type=Path, metavar="FILE", help="bind it to this P-256 private key (PEM)")
    made.add_argument("--json", action="store_true", help="answer with JSON on stdout, errors too")
    return made


def explain_parser() -> argparse.ArgumentParser:
    made = Parser("token explain", "Say what a token allows, in words.", example="valetkey token explain - < token")
    made.add_argument("token", metavar="TOKEN", help="the token, or - for standard input")
    made.add_argument("--agent", metavar="NAME", help="ask as this agent, whose secret is on this machine")
    made.add_argument("--json", action="store_true", help="answer with JSON on stdout, errors too")
    return made


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["explain"]:
        return _explain(explain_parser().parse_args(arguments[1:]))
    asked = parser().parse_args(arguments)
    task_token = given_task_token(asked.task_token, from_stdin=asked.task_token_stdin)
    key = ProofKey.from_file(asked.dpop_key) if asked.dpop_key else None
    with as_agent(asked.agent or holder(task_token), key=key) as client:
        minted = client.tokens.create(
            task_token,
            target=target_address(asked.target, client),
            scope=" ".join(asked.scope) if asked.scope else None,
            grants=asked.grant,
            seconds=asked.ttl,
        )
    return show(minted, as_json=asked.json, text=minted["token"])


def duration(text: str) -> int:
    """A duration, for argparse."""
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def given_task_token(text: str | None, *, from_stdin: bool) -> str:
    """The task token: from standard input, the argument, or VALETKEY_TASK_TOKEN. Raises `Usage`."""
    if from_stdin or text == "-":
        text = sys.stdin.readline(64 * 1024)
    token = (text or os.environ.get("VALETKEY_TASK_TOKEN") or "").strip()
    if not token:
        raise Usage("A task token is needed.", hint="valetkey task open … | valetkey token --task-token-stdin …")
    return token


def holder(task_token: str) -> str | None:
    """Whose task it is, by what the token says, where that agent's secret is here; the server decides by its own."""
    claims = unverified_claims(task_token)
    is_named = "VALETKEY_AGENT" in os.environ
    return None if is_named else str(claims.get("client_id") or "") or None


def target_address(name: str, client: Client) -> str:
    """The audience or gateway address of an API somebody named in short."""
    if "://" in name:
        return name
    gateway = Profile().gateway or client.who_am_i()["gateway"]
    return f"{gateway}/p/{name}"


def _explain(asked: argparse.Namespace) -> int:
    is_piped = asked.token == "-"  # noqa: S105 - a dash is nobody's secret
    token = sys.stdin.readline(64 * 1024).strip() if is_piped else asked.token
    with as_agent(asked.agent) if asked.agent else _whoever() as client:
        found = client.tokens.explain(token)
    claims = found["claims"]
    if not asked.json and not found["valid"]:
        notice(f"Not valid: {found.get('reason') or 'the server does not say why'}")
    text = facts(
        {
            "sentence": found["sentence"],
            "valid": found["valid"],
            "id": claims.get("jti"),
            "for": claims.get("aud"),
            "task": claims.get("task"),
            "delegation": claims.get("delegation"),
            "until": moment(claims.get("exp")),
        }
    )
    return show(found, as_json=asked.json, text=text)


def _whoever() -> Client:
    """The person who is signed in, else the one agent that is saved here."""
    try:
        return signed_in()
    except NotAuthenticated:
        if not Profile().saved_agents():
            raise
        return as_agent(None)
