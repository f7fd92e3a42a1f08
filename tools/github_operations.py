"""Renew the table of GitHub's operations from GitHub's own OpenAPI description.

    python tools/github_operations.py api.github.com.json           write the table
    python tools/github_operations.py api.github.com.json --check   say whether it is up to date

The description is in the npm package `@octokit/openapi`, file `generated/api.github.com.json`. It says which operations
exist; `github_operations.rules` says where each belongs. An operation without a rule, or a rule no operation needs,
stops the tool.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

RULES = Path(__file__).with_suffix(".rules")
TABLE = Path(__file__).parent.parent / "src/valetkey/server/integrations/catalogue/github.operations.tsv"
COLUMNS = (
    *("operation", "method", "template", "category", "access", "scope"),
    *("resource", "tags", "judged", "values", "never", "guards"),
)
METHODS = ("get", "post", "put", "patch", "delete")
SHORT = {"R": "/repos/{owner}/{repo}", "O": "/orgs/{org}", "S": "/organizations/{org}"}
TAGS = frozenset({"mints", "reveals", "access", "outlives", "publishes", "runs", "read", "searches"})

# The same call under a second name: GitHub documents the path `compare/{base}...{head}` as two operations.
ALIASES = frozenset({"repos/compare-commits"})
# Bodies that hold text people are shown: they are read, for where their links lead.
TEXT = frozenset({
    "checks/create", "checks/update", "gists/create", "gists/create-comment", "gists/update",
    "gists/update-comment", "issues/create", "issues/create-comment", "issues/create-label",
    "issues/create-milestone", "issues/update", "issues/update-comment", "issues/update-label",
    "issues/update-milestone", "projects/create-draft-item-for-authenticated-user",
    "projects/create-draft-item-for-org", "projects/update-item-for-org", "projects/update-item-for-user",
    "pulls/create", "pulls/create-reply-for-review-comment", "pulls/create-review", "pulls/create-review-comment",
    "pulls/dismiss-review", "pulls/merge", "pulls/merge-async", "pulls/submit-review", "pulls/update",
    "pulls/update-review", "pulls/update-review-comment", "repos/create-commit-comment",
    "repos/create-commit-status", "repos/create-deployment", "repos/create-deployment-status",
    "repos/create-release", "repos/update", "repos/update-commit-comment", "repos/update-release",
    "repos/update-release-asset",
})  # fmt: skip
# What puts one more comment before people.
COMMENTS = frozenset({
    "gists/create-comment", "issues/create-comment", "pulls/create-reply-for-review-comment", "pulls/create-review",
    "pulls/create-review-comment", "pulls/submit-review", "repos/create-commit-comment",
})  # fmt: skip
# SECURITY: a one-time code that a caller exchanges for an app's private key; it must not reach the audit trail.
NEVER_JUDGED = frozenset({"code"})

# SECURITY: in `main...owner:branch` the colon names another repository of the fork network.
# Guarded by tests/rules/test_github_operations.py::test_a_comparison_cannot_reach_into_another_repository
NEVER = {"repos/compare-commits-with-basehead": "basehead=:", "dependency-graph/diff-range": "basehead=:"}

# Files that act after the task: what runs on a schedule or on the next push, and who must agree to a change.
_FILE_GUARDS = (
    *("path:.github/workflows/:workflows:write", "path:.github/actions/:workflows:write"),
    *("path:.github/dependabot.yml:workflows:write", "path:.github/dependabot.yaml:workflows:write"),
    *("path:CODEOWNERS:access", "path:.github/CODEOWNERS:access", "path:docs/CODEOWNERS:access"),
)
GUARDS = {"repos/create-or-update-file-contents": _FILE_GUARDS, "repos/delete-file": _FILE_GUARDS}

# The fields that name the resource, by the beginning of the path.
RESOURCES = {
    "/repos/{owner}/{repo}": "repository:owner/repo",
    "/agents/repos/{owner}/{repo}": "repository:owner/repo",
    "/repos/{template_owner}/{template_repo}": "repository:template_owner/template_repo",
    "/orgs/{org}": "organization:org",
    "/organizations/{org}": "organization:org",
    "/enterprises/{enterprise}": "enterprise:enterprise",
    "/gists/{gist_id}": "gist:gist_id",
}


class Rule:
    """One line of the rules: which operations it takes, where they belong."""

    def __init__(self, line: str) -> None:
        methods, path, self.scope, *tags = line.split()
        self.line, self.used = line, False
        self.tags = frozenset(tags[0].split(",")) if tags else frozenset[str]()
        if self.tags - TAGS:
            raise SystemExit(f"unknown tag: {line}")
        self.methods = {"*": frozenset(METHODS), "W": frozenset(METHODS) - {"get"}}.get(
            methods, frozenset(methods.lower().split(","))
        )
        head, slash, rest = path.partition("/")
        glob = re.escape(SHORT.get(head, head) + slash + rest)
        self.path = re.compile(glob.replace(r"\*\*", ".+").replace(r"\*", "[^/]+"))

    def fits(self, method: str, path: str) -> bool:
        """Whether this rule is about the operation."""
        return method in self.methods and self.path.fullmatch(path) is not None


def table(document: dict[str, Any], rules: list[Rule], source: str) -> str:
    """The text of the table. Raises SystemExit naming every operation and rule that does not fit."""
    rows, lost = [], []
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                rule = next((rule for rule in rules if rule.fits(method, path)), None)
                if rule is None:
                    lost.append(f"no rule: {method.upper()} {path}")
                    continue
                rule.used = True
                rows.append(_row(document, method, path, methods[method], rule))
    lost += [f"nothing needs: {rule.line}" for rule in rules if not rule.used]
    if lost:
        raise SystemExit("\n".join(lost))
    head = [
        "# Written by tools/github_operations.py; change tools/github_operations.rules instead.",
        f"# source: {source}",
        f"# operations: {len(rows)}",
        "\t".join(COLUMNS),
    ]
    return "\n".join([*head, *sorted(rows)]) + "\n"


def _row(document: dict[str, Any], method: str, path: str, operation: dict[str, Any], rule: Rule) -> str:
    name = operation["operationId"]
    fields = {
        p["name"]: p for p in (_resolved(document, p) for p in operation.get("parameters", [])) if p["in"] == "path"
    }
    several = {field for field, p in fields.items() if p.get("x-multi-segment")}
    template = re.sub(r"\{([^}]+)\}", lambda m: "{+" + m[1] + "}" if m[1] in several else m[0], path)
    resource = next((r for begin, r in RESOURCES.items() if (path + "/").startswith(begin + "/")), "account")
    tags = set(rule.tags - {"read"})
    tags |= {"deprecated"} if operation.get("deprecated") else set()
    tags |= {"redirects"} if "302" in operation["responses"] else set()
    tags |= {"alias"} if name in ALIASES else set()
    tags |= {"text"} if name in TEXT else set()
    tags |= {"comments"} if name in COMMENTS else set()
    tags |= {"elsewhere"} if "servers" in operation else set()
    schemas = {field: _resolved(document, p["schema"]) for field, p in fields.items()}
    values = [f"{field}={'|'.join(schema['enum'])}" for field, schema in schemas.items() if "enum" in schema]
    judged = [
        f for f in re.findall(r"\{([^}]+)\}", path) if f not in NEVER_JUDGED | {*resource.partition(":")[2].split("/")}
    ]
    access = "read" if method == "get" or "read" in rule.tags else "write"
    cells = [name, method.upper(), template, "/".join(filter(None, _category(operation))), access, rule.scope, resource]
    cells += [
        ",".join(sorted(tags)),
        ",".join(judged),
        ";".join(values),
        NEVER.get(name, ""),
        ";".join(GUARDS.get(name, ())),
    ]
    return "\t".join(cells)


def _category(operation: dict[str, Any]) -> tuple[str, str]:
    about = operation["x-github"]
    return about["category"], about["subcategory"] or ""


def _resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    for key in value["$ref"].removeprefix("#/").split("/"):
        document = document[key]
    return document


def read_rules(text: str) -> list[Rule]:
    """The rules, in their order."""
    return [Rule(line) for line in text.splitlines() if line and not line.startswith("#")]


def main(arguments: list[str]) -> int:
    """Write or compare the table."""
    if not arguments or set(arguments[1:]) - {"--check"}:
        print(__doc__)
        return 2
    document = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    source = f"@octokit/openapi {document['info']['version']} api.github.com.json"
    text = table(document, read_rules(RULES.read_text(encoding="utf-8")), source)
    if "--check" not in arguments:
        TABLE.write_text(text, encoding="utf-8")
        return 0
    same = TABLE.read_text(encoding="utf-8") == text
    print("up to date" if same else "out of date: run this tool without --check")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
