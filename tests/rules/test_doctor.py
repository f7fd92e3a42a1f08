"""What the doctor concludes from what it is shown; every finding that is not fine says how to mend it."""

from pathlib import Path

import pytest

from valetkey.cli.doctor import modes, origins, senders, skew, sqlite_version

NOON = "Tue, 24 Nov 2026 12:00:00 GMT"
NOON_SECONDS = 1_795_521_600.0


@pytest.mark.parametrize("here", [NOON_SECONDS, NOON_SECONDS + 0.9, NOON_SECONDS + 5, NOON_SECONDS - 5])
def test_clocks_that_agree_are_fine(here: float) -> None:
    assert skew(NOON, between=(here, here + 0.1)).level == "ok"


@pytest.mark.parametrize("here", [NOON_SECONDS + 60, NOON_SECONDS - 60])
def test_clocks_that_do_not_agree_are_a_failure(here: float) -> None:
    found = skew(NOON, between=(here, here + 0.1))
    assert found.level == "failure"
    assert found.fix


def test_a_slow_answer_is_not_taken_for_a_wrong_clock() -> None:
    assert skew(NOON, between=(NOON_SECONDS - 20, NOON_SECONDS + 20)).level == "ok"


def test_a_server_without_a_date_proves_nothing() -> None:
    assert skew("", between=(0, 1)).level == "skipped"


def test_pages_and_gateway_on_one_name_are_a_warning() -> None:
    same = list(origins("https://a.example", "https://a.example:443"))
    assert [(f.id, f.level) for f in same if f.level != "ok"] == [("gateway-apart", "warning")]


def test_a_gateway_on_a_name_of_its_own_is_fine() -> None:
    assert {f.level for f in origins("https://a.example", "https://gateway.a.example")} == {"ok"}


def test_plain_http_beyond_this_machine_is_a_failure() -> None:
    found = list(origins("https://a.example", "http://gateway.a.example"))
    assert [(f.id, f.level) for f in found] == [("public-url", "ok"), ("gateway-url", "failure")]
    assert found[-1].fix


def test_a_private_folder_is_fine(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "valetkey.db").touch(mode=0o600)
    assert [f.level for f in modes(tmp_path)] == ["ok"]


def test_a_folder_others_can_enter_is_a_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (found,) = modes(tmp_path)
    assert found.level == "failure"
    assert f"chmod 700 {tmp_path}" in found.fix


def test_an_open_file_in_a_private_folder_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "valetkey.db").touch()
    (tmp_path / "valetkey.db").chmod(0o644)
    assert [f.level for f in modes(tmp_path)] == ["warning"]


@pytest.mark.parametrize(("version", "level"), [((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok")])
def test_an_sqlite_with_the_wal_reset_bug_is_a_warning(version: tuple[int, ...], level: str) -> None:
    assert sqlite_version(version).level == level


def test_a_server_others_reach_says_which_proxies_it_believes() -> None:
    assert senders((), is_on_loopback=True).level == "ok"
    unsaid = senders((), is_on_loopback=False)
    assert unsaid.level == "warning"
    assert "VALETKEY_TRUSTED_PROXIES" in unsaid.fix
    assert senders(("10.0.0.7", "10.1.0.0/16", "fd00::1"), is_on_loopback=False).level == "ok"
    for wide in ("10.0.0.0/8", "fd00::/64"):
        found = senders((wide,), is_on_loopback=False)
        assert (found.level, wide in found.seen) == ("warning", True)
