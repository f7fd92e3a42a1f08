"""Durations as people write them, and nothing that only looks like one."""

import pytest

from valetkey.cli.durations import seconds


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("10m", 600), ("2h", 7200), ("30d", 2_592_000), ("1s", 1)])
def test_a_number_and_a_unit(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "0m", "-5m", "+5m", "1.5h", "10 m", " 10m", "10m\n", "10M", "1h30m", "١0m", "9" * 10 + "s", "10w"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write 90s, 10m, 2h or 30d"):
        seconds(text)
