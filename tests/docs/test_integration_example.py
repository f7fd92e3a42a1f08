"""The example in docs/integrations.md is read by the rules every file is read by."""

import re
import tomllib
from pathlib import Path

from valetkey.server.integrations.catalogue import parse_integration
from valetkey.server.integrations.catalogue.parse import _File
from valetkey.server.integrations.operations import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_is_an_integration() -> None:
    rows = [line.split("\t") for line in block("tsv").splitlines()]
    table = "\n".join("\t".join(row + [""] * (len(COLUMNS) - len(row)) if len(row) > 1 else row) for row in rows)
    acme = parse_integration(tomllib.loads(block("toml")), table)
    assert set(acme.operations) == {"tickets/list", "tickets/open", "webhooks/add"}
    assert acme.contains("tickets:write", "tickets/list")
    assert not acme.contains("tickets:write", "webhooks/add")


def test_every_option_of_a_file_is_named() -> None:
    assert [name for name in _File.__dataclass_fields__ if name not in PAGE] == []
