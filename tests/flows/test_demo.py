"""`valetkey demo` is the promise on the first page: it must hold, and it must be able to fail."""

import json

import pytest

from valetkey.cli import demo_stage
from valetkey.cli.demo import demo

STEPS = [
    "allowed-read",
    "denied-repository",
    "denied-write",
    "denied-renamed",
    "denied-integration",
    "child-allowed",
    "child-denied",
    "expired",
    "revoked",
    "audit-verified",
    "tamper-caught",
]


def test_every_step_of_the_main_job_goes_as_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert [step["id"] for step in told["steps"]] == STEPS
    assert all(step["ok"] and step["expected"] and step["seen"] for step in told["steps"])


def test_a_demo_whose_upstream_answers_otherwise_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: the upstream forgets every issue, so the first step cannot go as it should."""
    unchanged = demo_stage.PracticeGitHub.add_repository

    def without_issues(self: demo_stage.PracticeGitHub, full_name: str, **more: object) -> object:
        return unchanged(self, full_name, **(more | {"issues": 0}))  # type: ignore[arg-type]

    monkeypatch.setattr(demo_stage.PracticeGitHub, "add_repository", without_issues)
    assert demo(json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert not next(step for step in told["steps"] if step["id"] == "allowed-read")["ok"]
