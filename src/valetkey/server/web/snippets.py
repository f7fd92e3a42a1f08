"""What a developer copies: the same first call in curl, Python, JavaScript and an MCP client's settings. Pure text."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    title: str
    text: str


def snippets(*, issuer: str, gateway: str, client_id: str, name: str) -> list[Snippet]:
    """With the real addresses and ids in them; secrets are read from the environment, never shown."""
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    token_type = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - the name of a type
    curl = f"""# a task token comes from a consent, or from: valetkey task open dlg_…
TOKEN=$(curl -s {issuer}/oauth/token \\
  -u "{client_id}:$VALETKEY_AGENT_SECRET" \\
  -d grant_type={exchange} \\
  -d subject_token="$VALETKEY_TASK_TOKEN" -d subject_token_type={token_type} \\
  -d resource={gateway}/p/github | jq -r .access_token)
curl -s -H "Authorization: Bearer $TOKEN" {gateway}/p/github/repos/acme-corp/backend/issues"""
    python = f"""import os
from github import Auth, Github  # any client that takes a base URL and a token
from valetkey import Client

with Client("{issuer}", credential="{client_id}:" + os.environ["VALETKEY_AGENT_SECRET"]) as agent:
    token = agent.tokens.create(os.environ["VALETKEY_TASK_TOKEN"], target="{gateway}/p/github")["token"]
github = Github(base_url="{gateway}/p/github", auth=Auth.Token(token))
print([issue.title for issue in github.get_repo("acme-corp/backend").get_issues()])"""
    javascript = f"""import {{ Octokit }} from "octokit";

const form = new URLSearchParams({{
  grant_type: "{exchange}",
  subject_token: process.env.VALETKEY_TASK_TOKEN,
  subject_token_type: "{token_type}",
  resource: "{gateway}/p/github",
}});
const basic = Buffer.from("{client_id}:" + process.env.VALETKEY_AGENT_SECRET).toString("base64");
const answer = await fetch("{issuer}/oauth/token", {{
  method: "POST", body: form, headers: {{ authorization: "Basic " + basic }},
}});
const octokit = new Octokit({{ auth: (await answer.json()).access_token, baseUrl: "{gateway}/p/github" }});
console.log((await octokit.rest.issues.listForRepo({{ owner: "acme-corp", repo: "backend" }})).data);"""
    mcp = json.dumps(
        {
            "mcpServers": {
                name: {
                    "url": "https://YOUR-MCP-SERVER/mcp",
                    "auth": {"type": "oauth", "issuer": issuer, "client_id": client_id},
                }
            }
        },
        indent=2,
    )
    return [Snippet("curl", curl), Snippet("Python", python), Snippet("JavaScript", javascript), Snippet("MCP", mcp)]
