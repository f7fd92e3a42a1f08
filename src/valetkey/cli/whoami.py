"""`valetkey whoami`: who the server takes you for. A helper verb: starts without the command line library."""

import argparse
from collections.abc import Sequence

from valetkey.cli.output import facts, show
from valetkey.cli.problems import Parser
from valetkey.cli.signed_in import as_agent, signed_in

SUMMARY = "Show who you are signed in as, and where."


def parser() -> argparse.ArgumentParser:
    made = Parser("whoami", SUMMARY, example="valetkey whoami --json")
    made.add_argument("--agent", metavar="NAME", help="as this agent, whose secret is on this machine")
    made.add_argument("--json", action="store_true", help="answer with JSON on stdout, errors too")
    return made


def main(arguments: Sequence[str]) -> int:
    asked = parser().parse_args(arguments)
    with as_agent(asked.agent) if asked.agent else signed_in() as client:
        found = client.who_am_i()
        url = client.url
    text = facts(
        {
            "name": found["name"],
            "kind": found["kind"],
            "id": found["id"],
            "role": found.get("role"),
            "organization": found["organization"]["name"],
            "server": url,
            "gateway": found["gateway"],
        }
    )
    return show({**found, "url": url}, as_json=asked.json, text=text)
