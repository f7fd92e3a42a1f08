"""docs/settings.md is the table of `Settings`, no more, no less. To renew it: `python -m tests.docs.settings_table`."""

from pathlib import Path

from tests.docs.settings_table import FILE, table


def test_every_setting_is_documented_as_it_is() -> None:
    assert Path(FILE).read_text().endswith(table()), "run: python -m tests.docs.settings_table"
