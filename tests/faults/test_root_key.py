"""The root key's file: others must not have been able to read it, it must be whole, and there is only ever one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from valetkey.server.secret import Secret
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.passphrase import PassphraseRoot
from valetkey.server.vault.kms.root import FileRoot, proves_decrypt

PASSPHRASE = Secret("six random words of a dictionary")


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "root"


def test_a_root_key_is_created_once_and_private(path: Path) -> None:
    made = FileRoot.load_or_create(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert names(path.parent) == ["root"]
    assert path.stat().st_size == 32
    assert FileRoot.load_or_create(path).id == FileRoot.load(path).id == made.id
    proves_decrypt(made)


def test_a_generous_umask_changes_nothing(path: Path) -> None:
    before = os.umask(0)
    try:
        FileRoot.load_or_create(path)
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_two_root_keys_differ_and_do_not_print_themselves(path: Path, tmp_path: Path) -> None:
    one, two = FileRoot.load_or_create(path), FileRoot.load_or_create(tmp_path / "other" / "root")
    assert one.id != two.id
    assert path.read_bytes().hex() not in repr(one)
    assert one.id not in path.read_bytes().hex()


def test_a_root_key_mounted_for_reading_only_is_loaded(path: Path) -> None:
    FileRoot.load_or_create(path)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    assert FileRoot.load(path)
    path.parent.chmod(0o700)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_a_file_open_to_others_is_refused_and_told_how_to_close(path: Path, mode: int) -> None:
    FileRoot.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(RootKeyRefused, match="open to other users") as refusal:
        FileRoot.load_or_create(path)
    assert "chmod 0600" in refusal.value.next_step


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o710, 0o777, 0o1777])
def test_a_folder_open_to_others_is_refused(path: Path, mode: int) -> None:
    FileRoot.load_or_create(path)
    path.parent.chmod(mode)
    with pytest.raises(RootKeyRefused, match="open to other users") as refusal:
        FileRoot.load(path)
    assert "chmod 0700" in refusal.value.next_step


def test_a_file_or_folder_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid() != 0:  # only root can give a file away; anyone can be shown root's
        with pytest.raises(RootKeyRefused, match="belongs to another user"):
            FileRoot.load(Path("/etc/hostname"))
        return
    FileRoot.load_or_create(path)
    for each in (path, path.parent):
        os.chown(each, 12345, -1)
        with pytest.raises(RootKeyRefused, match="belongs to another user"):
            FileRoot.load(path)
        os.chown(each, 0, -1)
    assert FileRoot.load(path)


def test_a_symbolic_link_is_refused_even_to_a_good_key(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "root"
    FileRoot.load_or_create(elsewhere)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(elsewhere)
    with pytest.raises(RootKeyRefused):
        FileRoot.load_or_create(path)


def test_a_dangling_link_does_not_make_the_key_appear_elsewhere(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "planted")
    with pytest.raises(RootKeyRefused):
        FileRoot.load_or_create(path)
    assert not (tmp_path / "planted").exists()


def test_a_folder_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    FileRoot.load_or_create(path)
    (tmp_path / "alias").symlink_to(path.parent)
    with pytest.raises(RootKeyRefused):
        FileRoot.load(tmp_path / "alias" / "root")


@pytest.mark.parametrize("plant", [Path.mkdir, lambda path: os.mkfifo(path, 0o600)], ids=["folder", "pipe"])
def test_what_is_no_plain_file_is_refused_without_waiting(path: Path, plant: Callable[[Path], None]) -> None:
    path.parent.mkdir(mode=0o700)
    plant(path)
    with pytest.raises(RootKeyRefused, match="not a plain file"):
        FileRoot.load_or_create(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"k", os.urandom(31), os.urandom(33), os.urandom(4096), bytes(32), b"\xff" * 32],
    ids=["empty", "one", "short", "long", "huge", "zeros", "ones"],
)
def test_a_key_cut_short_too_long_or_never_written_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(RootKeyRefused):
        FileRoot.load_or_create(path)
    assert path.read_bytes() == content


def test_a_missing_key_is_not_made_by_loading(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with pytest.raises(RootKeyRefused, match="no root key"):
        FileRoot.load(path)
    assert names(path.parent) == []


def test_where_nothing_can_be_written_the_refusal_says_so(tmp_path: Path) -> None:
    with pytest.raises(RootKeyRefused, match="cannot be written"):
        FileRoot.load_or_create(tmp_path / "no" / "such" / "root")


RACER = """
import sys
from pathlib import Path
from valetkey.server.vault.kms.root import FileRoot
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    print(FileRoot.load_or_create(Path(sys.argv[1]) / f"race-{number}" / "root").id, flush=True)
"""


def test_of_eight_processes_that_create_at_once_exactly_one_key_wins(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    seen = [racer.communicate()[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 8
    stored = [FileRoot.load(tmp_path / f"race-{number}" / "root").id for number in range(40)]
    assert seen == [stored] * 8
    assert len(set(stored)) == 40
    assert all(names(tmp_path / f"race-{number}") == ["root"] for number in range(40))


DYING = """
import os, sys
from pathlib import Path
from valetkey.server.vault.kms import private_file
from valetkey.server.secret import SecretBytes
def make():
    return SecretBytes(os.urandom(32))
def link(*args, **kwargs):
    os._exit(9)
os.link = link
private_file.create_once(Path(sys.argv[1]), make)
"""


def test_a_process_that_dies_while_creating_leaves_no_half_key_behind(path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DYING, str(path)], check=False).returncode == 9
    assert not path.exists()
    assert FileRoot.load_or_create(path).id == FileRoot.load(path).id
    assert all((path.parent / name).stat().st_mode & 0o077 == 0 for name in names(path.parent))


# Locked by a passphrase


def test_a_passphrase_opens_the_root_key_it_locked(path: Path) -> None:
    made = PassphraseRoot.load_or_create(path, PASSPHRASE)
    assert PassphraseRoot.load_or_create(path, PASSPHRASE).id == PassphraseRoot.load(path, PASSPHRASE).id == made.id
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSPHRASE.reveal() not in path.read_text()
    proves_decrypt(made)


def test_another_passphrase_opens_nothing(path: Path) -> None:
    PassphraseRoot.load_or_create(path, PASSPHRASE)
    with pytest.raises(RootKeyRefused, match="passphrase does not open"):
        PassphraseRoot.load_or_create(path, Secret(PASSPHRASE.reveal() + " "))


def test_a_short_passphrase_is_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(RootKeyRefused, match="at least 16"):
        PassphraseRoot.load_or_create(path, Secret("hunter2"))
    assert names(path.parent) == []


def test_the_same_words_typed_with_other_code_points_open_it(path: Path) -> None:
    made = PassphraseRoot.load_or_create(path, Secret("caf\u00e9 cr\u00e8me br\u00fbl\u00e9e"))
    assert PassphraseRoot.load(path, Secret("cafe\u0301 cre\u0300me bru\u0302le\u0301e")).id == made.id


@pytest.mark.parametrize(
    "changed",
    [
        {"memory_kib": 8}, {"memory_kib": 2**40}, {"memory_kib": "65536"}, {"memory_kib": 65536.0}, {"iterations": 1},
        {"iterations": 10**9}, {"lanes": 0}, {"lanes": True}, {"kdf": "none"}, {"format": 2}, {"salt": ""},
        {"salt": "zz"}, {"salt": None}, {"locked": ""}, {"more": 1},
    ],
)  # fmt: skip
def test_a_file_whose_terms_were_changed_is_refused(path: Path, changed: dict[str, Any]) -> None:
    PassphraseRoot.load_or_create(path, PASSPHRASE)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(RootKeyRefused, match="not a root key locked"):
        PassphraseRoot.load(path, PASSPHRASE)


@pytest.mark.parametrize("changed", [{"iterations": 4}, {"lanes": 3}, {"salt": "00" * 16}, {"locked": "00" * 60}])
def test_a_file_changed_within_what_is_allowed_does_not_open(path: Path, changed: dict[str, Any]) -> None:
    PassphraseRoot.load_or_create(path, PASSPHRASE)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(RootKeyRefused, match="passphrase does not open"):
        PassphraseRoot.load(path, PASSPHRASE)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 1000, "{}", "\x00" * 300, "x" * 5000])
def test_a_file_that_is_cut_short_or_something_else_is_refused(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(RootKeyRefused, match="not a root key locked"):
        PassphraseRoot.load_or_create(path, PASSPHRASE)


def test_a_locked_file_open_to_others_is_refused(path: Path) -> None:
    PassphraseRoot.load_or_create(path, PASSPHRASE)
    path.chmod(0o644)
    with pytest.raises(RootKeyRefused, match="open to other users"):
        PassphraseRoot.load(path, PASSPHRASE)
