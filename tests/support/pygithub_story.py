"""What an ordinary PyGithub program does with a base URL and a token, step by step.

Each outcome is `{"ok": True, "value": …}` or `{"ok": False, "type", "status", "message"}` as PyGithub reports it.
"""

from collections.abc import Callable
from typing import Any

from github import Auth, Github, GithubException

Outcome = dict[str, Any]


def pygithub_story(
    base_url: str, token: str, *, name: str = "acme-corp/backend", forbidden: str = "acme-corp/payroll"
) -> dict[str, Outcome]:
    """Read a repository, its issues to the second page and a pull request; then try what may be refused."""
    with (
        _client(base_url, token) as hub,
        _client(base_url, token, lazy=True) as lazy,
        _client(base_url, "ghp_nobody000000000000000000000000000000") as stranger,
    ):
        return {
            "repository": _outcome(lambda: hub.get_repo(name).full_name),
            "all_pages": _outcome(lambda: [issue.title for issue in hub.get_repo(name).get_issues()]),
            "lazy_issue": _outcome(lambda: lazy.get_repo(name).get_issue(1).title),
            "completed_repository": _outcome(lambda: lazy.get_repo(name).default_branch),
            "completed_pull": _outcome(lambda: hub.get_repo(name).get_pulls()[0].additions),
            "write": _outcome(lambda: hub.get_repo(name).create_issue("From PyGithub").number),
            "other_repository": _outcome(lambda: hub.get_repo(forbidden).full_name),
            "stranger": _outcome(lambda: stranger.get_repo(name).full_name),
        }


def _client(base_url: str, token: str, *, lazy: bool = False) -> Github:
    # Its pauses are politeness towards the real GitHub.
    return Github(
        base_url=base_url, auth=Auth.Token(token), lazy=lazy, seconds_between_requests=0, seconds_between_writes=0
    )


def _outcome(act: Callable[[], Any]) -> Outcome:
    try:
        return {"ok": True, "value": act()}
    except GithubException as refused:
        message = refused.message or (refused.data.get("message") if isinstance(refused.data, dict) else None)
        readable = {"type": type(refused).__name__, "status": refused.status, "message": message, "text": str(refused)}
        return {"ok": False, **readable}
