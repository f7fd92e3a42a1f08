"""`valetkey run --agent NAME --grant … -- CMD`: a command that calls APIs as an agent and holds no credential.

1. Record the delegation and open a task, as the person who is signed in (or take a task token from standard input).
2. Start the proxy on loopback; it signs in as the agent and mints a credential when the first call comes, bound to a
   key that is made for this run and never leaves this process, and neither does that of its certificates.
3. Run the command with the proxy, addresses and a placeholder in its environment, and nothing of ours.
4. End the task, whatever happened; return the command's exit code.
"""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from valetkey.cli import run_databases
from valetkey.cli.child import CANNOT_RUN, NO_SUCH_COMMAND, CannotStart, Interrupted, Signals, signals
from valetkey.cli.child_environment import child_environment, trust_file
from valetkey.cli.output import inert, notice
from valetkey.cli.problems import Parser, Usage
from valetkey.cli.signed_in import as_agent, signed_in
from valetkey.cli.token import duration, holder, target_address
from valetkey.client.addressed import routes_of
from valetkey.client.errors import InvalidRequest, ValetkeyError
from valetkey.client.fresh import Fresh
from valetkey.client.proving import ProofKey
from valetkey.client.proxy import Proxy
from valetkey.client.sync import Client
from valetkey.client.unverified import unverified_claims

SUMMARY = """Run a command that calls APIs as an agent. The command gets a proxy on this machine and a placeholder,
never a credential; what it sends to a granted API goes on as the agent. The task ends when it ends. Its exit code is
returned. It runs as you: it can read your files and reach the network without the proxy."""


class OpenTask(NamedTuple):
    """The task of this run, and the APIs it leads to."""

    id: str
    task_token: str
    apis: frozenset[str]


def parser() -> argparse.ArgumentParser:
    example = (
        "valetkey run --agent pr-reviewer-v2 --grant github:repo:read@acme-corp/backend -- "
        "git clone https://github.com/acme-corp/backend"
    )
    made = Parser("run", SUMMARY, example=example)
    made.add_argument("--agent", metavar="NAME", help="who acts; its secret is on this machine (VALETKEY_AGENT_SECRET)")
    made.add_argument("--grant", action="append", default=[], metavar="GRANT", help="what it may do; may be repeated")
    made.add_argument("--ttl", type=duration, default=600, metavar="DURATION", help="until when; 10m otherwise")
    made.add_argument("--purpose", default="", metavar="TEXT", help="why, in a few words; the audit keeps them")
    made.add_argument("--max-calls", type=int, metavar="N", help="at most so many calls per grant")
    made.add_argument("--task-token-stdin", action="store_true", help="use the task of this token instead")
    made.add_argument("--for", dest="apis", action="append", metavar="API", help="with a task token: lead only there")
    made.add_argument(
        "--other-hosts",
        choices=("tunnel", "refuse"),
        default="tunnel",
        help="what the proxy does with hosts that are no API Valetkey knows; tunnel otherwise",
    )
    made.add_argument(
        "--tunnel", action="append", default=[], metavar="HOST", help="lead there untouched, an API or not; repeatable"
    )
    made.add_argument("--json", action="store_true", help="answer errors with JSON on stdout")
    made.add_argument("command", nargs="*", metavar="-- CMD ARGS…")
    return made


def main(arguments: Sequence[str]) -> int:
    asked = _asked(arguments)
    if shutil.which(asked.command[0]) is None:  # before anything is recorded for it
        return _not_started(asked.command[0])
    _unreadable()
    with signals() as passing:
        try:
            return _run(asked, passing)
        except Interrupted as interrupted:
            return interrupted.exit_code
        except CannotStart as error:
            notice(f"valetkey: {inert(error)}")
            return error.exit_code


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    given = list(arguments)
    cut = given.index("--") if "--" in given else len(given)
    asked = parser().parse_args(given[:cut])
    if asked.command:
        raise Usage("The command comes after --.", hint="valetkey run … -- CMD ARGS…")
    asked.command = given[cut + 1 :]
    if not asked.command:
        raise Usage("There is no command to run.", hint="valetkey run … -- CMD ARGS…")
    if asked.task_token_stdin == bool(asked.grant):
        raise Usage("Say what the run may do: either --grant …, or --task-token-stdin.", hint="valetkey run --help")
    if not asked.task_token_stdin and not asked.agent and "VALETKEY_AGENT" not in os.environ:
        raise Usage("Say who acts: --agent NAME.", hint="valetkey agent list")
    return asked


def _run(asked: argparse.Namespace, passing: Signals) -> int:
    key = ProofKey()  # of this run: what is minted here is worth nothing outside this process
    agent_name = asked.agent or os.environ.get("VALETKEY_AGENT")
    if asked.task_token_stdin:
        task_token = _line_of_stdin()
        with as_agent(agent_name or holder(task_token), key=key) as agent:
            task = OpenTask(
                str(unverified_claims(task_token).get("task", "")),
                task_token,
                frozenset(asked.apis or [integration["name"] for integration in agent.integrations.list()]),
            )
            with _ending(agent, task.id, passing):
                return _with_proxy(agent, task, asked, passing, key)
    with as_agent(agent_name, key=key) as agent, signed_in() as person:
        agent.who_am_i()  # a secret that is refused is found now, and nothing has been recorded for it
        delegation = person.delegations.create(
            agent=str(agent_name),
            grants=asked.grant,
            seconds=asked.ttl,
            purpose=asked.purpose or f"valetkey run {Path(asked.command[0]).name}",
            max_calls=asked.max_calls,
        )
        opened = person.tasks.create(delegation["id"], seconds=asked.ttl, purpose=asked.purpose or None)
        with _ending(person, opened["id"], passing):
            apis = frozenset(grant.partition(":")[0].partition("/")[0] for grant in asked.grant)
            task = OpenTask(opened["id"], opened.get("task_token", ""), apis - run_databases.KINDS)
            return _with_proxy(agent, task, asked, passing, key)


def _with_proxy(agent: Client, task: OpenTask, asked: argparse.Namespace, passing: Signals, key: ProofKey) -> int:
    from valetkey.cli.authority import Authority  # NOTE: heavy; a mistake in the command line is told without it

    addresses = {api: target_address(api, agent) for api in task.apis}
    gateway = target_address("any", agent).rpartition("/p/")[0]
    logins = run_databases.taken(agent, task.task_token, gateway, asked.grant)

    def mint(api: str) -> tuple[str, float]:
        minted = agent.tokens.create(task.task_token, target=addresses[api])
        return minted["token"], minted["expires_in"]

    routes = routes_of(agent.integrations.list())
    authority = Authority({route.host for route in routes if route.api in task.apis} or {"invalid"})
    proxy = Proxy(
        gateway,
        task.apis,
        Fresh(mint),
        key,
        routes=routes,
        context=authority.context,
        say=lambda sentence: notice(f"valetkey: {inert(sentence)}"),
        tunnel=frozenset(host.lower().removesuffix(".") for host in asked.tunnel),
        refuses_others=asked.other_hosts == "refuse",
    )
    environ = run_databases.clean(os.environ) if logins else os.environ
    with (
        trust_file(authority.certificate, os.environ) as trusted,
        run_databases.environment(logins) as for_databases,
    ):
        proxy.start()
        try:
            return passing.run(asked.command, child_environment(environ, proxy, trusted) | for_databases)
        finally:
            passing.hold_back()
            proxy.close()


@contextmanager
def _ending(client: Client, task: str, passing: Signals) -> Iterator[None]:
    """Whatever happens inside, the task ends; if it cannot be ended, say so and until when it lives."""
    try:
        yield
    finally:
        passing.hold_back()
        try:
            client.revocations.create(task, reason="run ended")
        except ValetkeyError as error:
            notice(f"valetkey: the task {task} could not be ended: {inert(error.detail)}")
            notice(f"  try: valetkey revoke {task}   (it also ends by itself)")


def _not_started(command: str) -> int:
    is_there = Path(command).exists() and "/" in command
    notice(f"valetkey: {inert(command)}: {'cannot be run' if is_there else 'no such command'}")
    return CANNOT_RUN if is_there else NO_SUCH_COMMAND


def _line_of_stdin() -> str:
    """One line of standard input and not a byte more: the rest is the command's."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 16 * 1024:
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            break
        line += byte
    if not line.strip():
        raise Usage("No task token came on standard input.", hint="valetkey task open … --token-only | valetkey run …")
    try:
        return line.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidRequest("This is not a token.") from None


def _unreadable() -> None:
    """Keep other processes of the same person, the command among them, out of this one's memory and environment."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_dumpable = 4
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)
