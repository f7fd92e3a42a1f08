"""`valetkey demo`: the main job, end to end, in a throw-away folder on this machine.

A real server on SQLite, a practice GitHub on loopback, and everything through the doors a stranger would use. Each step
says what should happen and what did; the exit code is 0 only if all of them went as they should.
"""

import asyncio
import json as json_format
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from valetkey.cli import demo_consent
from valetkey.cli.demo_stage import BACKEND, GITHUB, PAYROLL, SLACK, Stage, staged
from valetkey.client.errors import ValetkeyError
from valetkey.server.audit.verify_files import verify_export

Connects = Literal["token", "consent"]
_MAIN_STEPS = 11


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that should happen, and what was seen."""

    id: str
    expected: str
    seen: str
    ok: bool


class Story:
    """The steps so far; prints each as it happens unless only the JSON is wanted."""

    def __init__(self, *, quiet: bool) -> None:
        self.steps: list[Step] = []
        self._quiet = quiet
        self._colour = sys.stdout.isatty() and not quiet

    def say(self, text: str = "") -> None:
        """A line of narration."""
        if not self._quiet:
            print(text, flush=True)

    def check(self, id: str, expected: str, seen: str, *, ok: bool) -> None:  # noqa: A002 - the public name of a step
        """Record a step and show it."""
        self.steps.append(Step(id, expected, seen, ok))
        mark = "ok  " if ok else "FAIL"
        if self._colour:
            mark = f"\033[{32 if ok else 31}m{mark}\033[0m"
        self.say(f"  {mark} {id:<20} {expected}\n       {'':<20} -> {seen}")

    def step(self, id: str, expected: str, seen: str, ok: bool) -> None:  # noqa: A002 - as `check`
        """The same, for what is told elsewhere."""
        self.check(id, expected, seen, ok=ok)


def demo(*, connect: Connects = "token", json: bool = False) -> int:
    """Run the main job; 0 only if every step went as it should.

    `connect` says how Alice's account is connected: by a pasted token, or by consent at the practice GitHub.
    """
    by_consent = connect == "consent"
    story = Story(quiet=json)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="valetkey-demo-") as folder:
        asyncio.run(_run(story, Path(folder), by_consent=by_consent))
    expected = _MAIN_STEPS + (len(demo_consent.STEPS) if by_consent else 0)
    ok = len(story.steps) == expected and all(step.ok for step in story.steps)
    if json:
        print(json_format.dumps({"ok": ok, "steps": [asdict(step) for step in story.steps]}, indent=2))
    good = sum(step.ok for step in story.steps)
    story.say(f"\n{good} of {len(story.steps)} steps as expected, in {time.monotonic() - started:.1f} s.")
    story.say("Next: make serve, then the first real use in README.md.")
    return 0 if ok else 1


async def _run(story: Story, folder: Path, *, by_consent: bool) -> None:
    story.say("Valetkey: an AI for Alice, read-only on acme-corp/backend at GitHub, for ten minutes.\n")
    async with staged(folder, in_a_browser=by_consent) as stage:
        story.say(f"server    {stage.url} (SQLite in a throw-away folder)")
        story.say(f"upstream  {stage.github.base_url} (a practice GitHub)\n")
        await asyncio.to_thread(_tell, story, stage, folder, by_consent=by_consent)


def _tell(story: Story, stage: Stage, folder: Path, *, by_consent: bool) -> None:
    alice = stage.alice
    agent = stage.register("pr-reviewer-v2")
    if by_consent:
        connection = demo_consent.connected(story.step, stage)
    else:
        connection = alice.connections.create("github", credential=stage.real_credential)
    delegation = alice.delegations.create(
        agent="pr-reviewer-v2",
        grants=["github:repo:read@acme-corp/backend"],
        seconds=600,
        purpose="review the open pull requests",
        share_with=[stage.register("test-reader").name],
    )
    task = alice.tasks.create(delegation["id"])
    token = agent.token(task["task_token"], GITHUB)
    story.say(f"connected {connection['integration']} as {connection['account']}; its real token is sealed here")
    story.say(f"agreed    {delegation['sentence']}")
    story.say(f"claims    {json_format.dumps(alice.tokens.explain(token)['claims'], indent=2)}\n".replace("\n", "\n  "))

    _at_the_gateway(story, stage, token)
    _beyond_the_delegation(story, stage, task)
    _sub_agent(story, stage, task)
    _ends(story, stage, task)
    if by_consent:
        demo_consent.ended(story.step, stage)
    _audit(story, stage, folder)


def _at_the_gateway(story: Story, stage: Stage, token: str) -> None:
    status, body = stage.call(token, "GET", f"/repos/{BACKEND}/issues?per_page=3")
    ok = status == 200 and isinstance(body, list) and len(body) == 3
    seen = f"{status}, {len(body)} issues" if ok else _refusal(status, body)
    story.check("allowed-read", "list the issues of acme-corp/backend: allowed", seen, ok=ok)

    status, body = stage.call(token, "GET", f"/repos/{PAYROLL}/issues")
    untouched = stage.github.received("GET", f"/repos/{PAYROLL}/issues") == 0
    ok = status == 403 and body["code"] == "denied" and untouched
    story.check("denied-repository", "the same on acme-corp/payroll: denied", _refusal(status, body), ok=ok)

    status, body = stage.call(token, "POST", f"/repos/{BACKEND}/issues", {"title": "hello"})
    untouched = stage.github.received("POST", f"/repos/{BACKEND}/issues") == 0
    ok = status == 403 and body["code"] == "denied" and untouched
    story.check("denied-write", "open an issue: denied, no write was delegated", _refusal(status, body), ok=ok)

    stage.github.rename(BACKEND, "acme-corp/backend-old")
    stage.github.rename(PAYROLL, BACKEND)
    status, body = stage.call(token, "GET", f"/repos/{BACKEND}/issues")
    ok = status == 403 and body.get("reason") == "resource_changed"
    seen = _refusal(status, body)
    stage.github.rename(BACKEND, PAYROLL)
    stage.github.rename("acme-corp/backend-old", BACKEND)
    story.check("denied-renamed", "payroll renamed to backend: denied, another repository", seen, ok=ok)


def _beyond_the_delegation(story: Story, stage: Stage, task: Any) -> None:
    seen, ok = _refused(lambda: stage.agents["pr-reviewer-v2"].token(task["task_token"], SLACK), "denied")
    story.check("denied-integration", "a credential for Slack: denied, never delegated", seen, ok=ok)


def _sub_agent(story: Story, stage: Stage, task: Any) -> None:
    parent, child = stage.agents["pr-reviewer-v2"], stage.agents["test-reader"]
    narrower = parent.client.tasks.create_child(
        task["id"], agent="test-reader", grants=["github:issues:read@acme-corp/backend"]
    )
    token = child.token(narrower["task_token"], GITHUB)
    status, body = stage.call(token, "GET", f"/repos/{BACKEND}/issues/1")
    seen = f"{status}, issue {body['number']}" if status == 200 else _refusal(status, body)
    story.check("child-allowed", "a sub-agent with issues:read reads an issue: allowed", seen, ok=status == 200)
    status, body = stage.call(token, "GET", f"/repos/{BACKEND}/contents/README.md")
    ok = status == 403 and body["code"] == "denied"
    story.check("child-denied", "the sub-agent reads a file: denied, outside its part", _refusal(status, body), ok=ok)


def _ends(story: Story, stage: Stage, task: Any) -> None:
    agent = stage.agents["pr-reviewer-v2"]
    brief = agent.token(task["task_token"], GITHUB, seconds=2)
    before, _ = stage.call(brief, "GET", f"/repos/{BACKEND}")
    time.sleep(2.1)
    status, body = stage.call(brief, "GET", f"/repos/{BACKEND}")
    ok = before == 200 and status == 401 and body["code"] == "expired"
    story.check("expired", "a 2-second credential, 2 seconds later: expired", _refusal(status, body), ok=ok)

    token = agent.token(task["task_token"], GITHUB)
    before, _ = stage.call(token, "GET", f"/repos/{BACKEND}")
    report = stage.alice.revocations.create(task["id"], reason="the demo is over")
    status, body = stage.call(token, "GET", f"/repos/{BACKEND}")
    ok = before == 200 and status == 403 and body["code"] == "revoked"
    hops = ", ".join(f"{hop['hop']} {hop['outcome']}" for hop in report["hops"])
    story.check("revoked", "Alice revokes the task: the very next call is refused", _refusal(status, body), ok=ok)
    story.say(f"       {'':<20}    report: {hops}")


def _audit(story: Story, stage: Stage, folder: Path) -> None:
    trail, checkpoints = folder / "audit.ndjson", folder / "checkpoints.ndjson"
    stage.wait_for_checkpoint()
    checkpoints.write_bytes(b"".join(stage.alice.audit.checkpoints()))
    trail.write_bytes(b"".join(stage.alice.audit.export()))
    pin = stage.alice.audit.pin()
    report = verify_export(trail, checkpoints, [pin])
    seen = f"{report.records} records, {report.checkpoints} checkpoints, all hold"
    if not report.ok:
        seen = f"first bad: {report.first_bad}"
    story.check("audit-verified", "the audit trail, verified offline with a pinned key", seen, ok=report.ok)

    lines = trail.read_bytes().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if b'"reason":"resource_changed"' in line)
    record = json_format.loads(lines[number])
    lines[number] = lines[number].replace(b'"call.denied"', b'"call.allowed"')
    tampered = folder / "tampered.ndjson"
    tampered.write_bytes(b"".join(lines))
    bad = verify_export(tampered, checkpoints, [pin]).first_bad
    ok = bad is not None and (bad.seq, bad.id) == (record["seq"], record["id"])
    seen = bad.reason if bad is not None else "nothing noticed"
    story.check("tamper-caught", f"record {record['seq']} turned from denied to allowed: caught there", seen, ok=ok)


def _refusal(status: int, body: Any) -> str:
    if isinstance(body, dict) and "code" in body:
        return f"{status} {body['code']}: {body['detail']}"
    return f"{status} {str(body)[:120]}"


def _refused(work: Callable[[], object], code: str) -> tuple[str, bool]:
    try:
        work()
    except ValetkeyError as error:
        return f"{error.code}: {error.detail}", error.code == code
    return "it was issued", False
