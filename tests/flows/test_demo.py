"""`valetkey demo` is the promise on the first page: it must hold, and it must be able to fail."""

import json

import pytest

from valetkey.cli import demo_stage, practice_oauth
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


def test_alice_is_connected_by_consent_instead_and_ended_there_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(connect="consent", json=True) == 0
    told = json.loads(capsys.readouterr().out)
    steps = {step["id"]: step for step in told["steps"]}
    assert list(steps) == ["declined-there", "connected-there", *STEPS[:9], "ended-there", *STEPS[9:]]
    assert all(step["ok"] for step in told["steps"])
    assert steps["declined-there"]["seen"].startswith("0 accounts connected, 0 tokens given out; the page says")
    assert steps["connected-there"]["seen"] == "account alice; asked for repo, GitHub gave repo"
    assert steps["ended-there"]["seen"].startswith("200 before, 401 after")


def test_a_github_that_only_says_it_ended_the_token_fails_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: it answers 204 and goes on taking the token."""
    monkeypatch.setattr(
        practice_oauth.PracticeConsent, "ended", lambda *_, **__: (204, [], practice_oauth.Content("", ""))
    )
    assert demo(connect="consent", json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert [step["id"] for step in told["steps"] if not step["ok"]] == ["ended-there"]


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
