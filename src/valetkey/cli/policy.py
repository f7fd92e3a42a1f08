"""`valetkey policy check | test | diff | apply | show | list | ready | explain | replay`: the organization's rules.

`check`, `test` and `cedar` read a file with the server's own rules; they run here, without a server or a login.
"""

import difflib
import json as json_format
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from valetkey.cli import exit_codes
from valetkey.cli.durations import converted
from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, moment, notice, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

if TYPE_CHECKING:
    from valetkey.client.answers import Policy
    from valetkey.server.integrations.model import Integration

app = group("policy", "The organization's rules: who may do what where, who is asked, and what is denied.")

Integrations = Annotated[Path | None, Parameter(help="The folder your own integrations are described in.")]


@app.command
def check(file: Path, /, *, integrations: Integrations = None, json: Json = False) -> int:
    """Say whether a policy is understood. Needs no server.

    For example: valetkey policy check policy.toml
    """
    from valetkey.server.policy.checking import problems_of
    from valetkey.server.policy.versions.model import compiled

    text, catalogue = _text(file), _catalogue(integrations)
    rules = list(dict.fromkeys(clause.id for clause in compiled(text, catalogue, id="").clauses))
    problems = problems_of(text, catalogue)
    said = "\n".join(inert(problem) for problem in problems) or f"{len(rules)} rules, all understood."
    show({"ok": not problems, "rules": rules, "problems": problems}, as_json=json, text=said)
    return exit_codes.FAILURE if problems else exit_codes.OK


@app.command
def cedar(file: Path, /, *, integrations: Integrations = None) -> int:
    """Print the rules of a file as Cedar, as they are judged. Needs no server.

    For example: valetkey policy cedar policy.toml
    """
    from valetkey.server.policy.cedar import cedar_text
    from valetkey.server.policy.reading import read_policy

    written = read_policy(_text(file), _catalogue(integrations))
    print("\n\n".join([*(cedar_text(rule) for rule in written.rules), written.cedar.strip()]).strip())
    return exit_codes.OK


@app.command(name="test")
def run_cases(file: Path, /, *, integrations: Integrations = None, json: Json = False) -> int:
    """Run the cases that stand beside the rules in a file. Needs no server.

    For example: valetkey policy test policy.toml
    """
    from valetkey.server.policy.checking import tried

    results = tried(_text(file), _catalogue(integrations))
    if not results:
        raise Usage(f"{file} holds no cases.", hint="Write them as [[case]] beside the rules; see docs/policy.md.")
    rows = [{"case": r.name, "expected": r.expected, "decided": r.decided, "by": list(r.rules)} for r in results]
    failed = [r for r in results if r.decided != r.expected]
    text = table(rows, ["case", "expected", "decided", "by"], empty="")
    show(rows, as_json=json, text=f"{text}\n{len(results) - len(failed)} of {len(results)} as expected.")
    return exit_codes.FAILURE if failed else exit_codes.OK


@app.command
def apply(
    file: Path,
    /,
    *,
    after: Annotated[int | None, Parameter(help="The version it was made from; the one in force if left out.")] = None,
    why: Annotated[str, Parameter(help="Why, for whoever reads the trail.")] = "",
    json: Json = False,
) -> int:
    """Put a policy in force, from the next call on. To go back: show an old version, and apply its text.

    For example: valetkey policy apply policy.toml --after 3 --why "Freeze the backend"
    """
    text = _text(file)
    with signed_in() as client:
        made_from = _number(client.policies.list()) if after is None else after
        version = client.policies.apply(text, after=made_from, why=why)
    return show(version, as_json=json, text=_facts(version))


@app.command(name="list")
def list_versions(*, json: Json = False) -> int:
    """List the versions of the policy, the one in force last.

    For example: valetkey policy list
    """
    with signed_in() as client:
        versions = client.policies.list()
    rows = [{**version, "applied_at": moment(version["applied_at"])} for version in versions]
    columns = ["number", "id", "applied_at", "applied_by", "why"]
    text = "" if json else table(rows, columns, empty="No policy was applied yet: what is delegated is allowed.")
    return show(versions, as_json=json, text=text)


@app.command(name="show")
def show_version(version: str = "", /, *, json: Json = False) -> int:
    """Print the policy in force, or another version of it, by number or id.

    For example: valetkey policy show 3 > policy.toml
    """
    with signed_in() as client:
        name = version or str(_number(client.policies.list()))
        if name == "0":
            notice("No policy was applied yet: what is delegated is allowed.")
            return show(None, as_json=json, text="")
        found = client.policies.get(name)
    return show(found, as_json=json, text=found.get("text", "").rstrip("\n"))


@app.command
def ready(
    mode: Literal["off", "observe", "enforce"] | None = None,
    /,
    *,
    why: Annotated[str, Parameter(help="Why, for whoever reads the trail.")] = "",
    json: Json = False,
) -> int:
    """Turn the ready rules off, observe or enforce them; without a word, show them and what they do.

    For example: valetkey policy ready enforce --why "A week of records looked right"
    """
    with signed_in() as client:
        found = client.policies.ready() if mode is None else client.policies.choose_ready(mode, why=why)
    rows = [dict(rule) for rule in found["rules"]]
    said = f"mode     {inert(found['mode'])}\nedition  {inert(found['edition'])}"
    return show(found, as_json=json, text=f"{said}\n\n{table(rows, ['id', 'effect', 'why'], empty='')}")


@app.command
def diff(file: Path, /, *, json: Json = False) -> int:
    """Show how a file differs from the policy in force. Exit code 1 where it does.

    For example: valetkey policy diff policy.toml
    """
    new = _text(file)
    with signed_in() as client:
        number = _number(client.policies.list())
        old = client.policies.get(str(number)).get("text", "") if number else ""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), f"version {number}", str(file), lineterm=""))
    show({"version": number, "differs": bool(lines), "lines": lines}, as_json=json, text="\n".join(map(inert, lines)))
    return exit_codes.FAILURE if lines else exit_codes.OK


@app.command
def explain(
    decision: Annotated[str, Parameter(help="A recorded decision (aud_…); or, of a call, its method.")],
    path: Annotated[str, Parameter(help="Of a call: what follows the API's address, from /.")] = "",
    /,
    *,
    task: Annotated[str, Parameter(help="Of a call: the task it would be made in, which acts for you.")] = "",
    api: Annotated[str, Parameter(name="--for", help="Of a call: the integration it goes to.")] = "",
    body: Annotated[Path | None, Parameter(help="Of a call: the file that holds its body.")] = None,
    content_type: Annotated[str, Parameter(help="Of a call: what its body is.")] = "application/json",
    json: Json = False,
) -> int:
    """Say why a recorded call was decided as it was, or what would be decided of one that was not made.

    For example: valetkey policy explain aud_01...
    Or: valetkey policy explain POST /repos/acme-corp/backend/issues --task tsk_01... --for github --body new.json
    """
    if bool(path) != bool(task and api) or (body and not path):
        raise Usage("A call is METHOD and path, with --task and --for.", hint="A recorded decision is its id alone.")
    with signed_in() as client:
        if not path:
            said = client.policies.explain(decision)
            return show(said, as_json=json, text=facts(dict(said)))
        sent = {} if body is None else {"body": _read(body), "content_type": content_type}
        told = client.policies.foresee(task=task, integration=api, method=decision, path=path, **sent)
    return show(told, as_json=json, text=facts(dict(told)))


@app.command
def replay(
    *,
    policy: Annotated[Path, Parameter(help="The policy to try.")],
    since: Annotated[int, Parameter(converter=converted, help="How far back: 7d.")] = 7 * 86_400,
    json: Json = False,
) -> int:
    """Show which recorded calls a policy would decide otherwise. Nothing is applied.

    For example: valetkey policy replay --since 7d --policy new.toml
    """
    changes: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    with signed_in() as client, _bar() as advance:
        for line in _lines(client.policies.replay(_text(policy), seconds=since)):
            if "seen" in line:
                advance(line["seen"], line["of"])
            elif "changes" in line:
                changes.append(line)
            else:
                counts = line
    if not counts:
        raise ConnectionError("The answer ended before its end.")
    rows = [{**change, "by": change["rules"], "decision": change["changes"]} for change in changes]
    text = "" if json or not rows else table(rows, ["decision", "call", "was", "now", "by"], empty="") + "\n"
    told = f"{counts['stay']} stay, {counts['change']} change, {counts['undecided']} cannot be decided from the record."
    return show({**counts, "changes": changes}, as_json=json, text=f"{text}{told}")


def _lines(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (json_format.loads(line) for line in whole if line)


@contextmanager
def _bar() -> "Iterator[Any]":
    """Draws how far it is on a terminal, and nothing elsewhere."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _seen, _of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("records", total=None)
        yield lambda seen, of: progress.update(task, completed=seen, total=of)


def _number(versions: "list[Policy]") -> int:
    return max((version["number"] for version in versions), default=0)


def _facts(version: "Policy") -> str:
    return facts({**version, "applied_at": moment(version["applied_at"])})


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read: {type(error).__name__}.") from error


def _text(file: Path) -> str:
    text = _read(file)
    if file.suffix == ".cedar":
        if "'''" in text:
            raise Usage("A text in Cedar cannot hold three single quotes in a row.")
        return f"cedar = '''\n{text}'''\n"
    return text


def _catalogue(folder: Path | None) -> "dict[str, Integration]":
    from valetkey.server.integrations.catalogue import load_catalogue, load_folder

    built_in = load_catalogue()
    return dict(built_in if folder is None else load_folder(folder, built_in, own=("", ""), loopback=True))
