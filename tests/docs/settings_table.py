"""Writes docs/settings.md from the fields of `Settings`."""

from dataclasses import MISSING, fields
from pathlib import Path

from valetkey.server.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """# Settings

From `valetkey.toml` in the working folder (or the file `VALETKEY_CONFIG` names), then the environment, which wins.
Unknown keys are refused. A variable may be given as `…_FILE`, naming a file that holds the value.

"""


def table() -> str:
    """One row per setting."""
    rows = ["| setting | variable | default | what it is |", "|---|---|---|---|"]
    for field in fields(Settings):
        default = field.default if field.default is not MISSING else "none"
        shown = {"": "unset", "None": "unset", "()": "none"}.get(str(default), str(default))
        rows.append(f"| `{field.name}` | `VALETKEY_{field.name.upper()}` | {shown} | {field.metadata['doc']} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    FILE.write_text(HEAD + table())
