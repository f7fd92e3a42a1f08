"""Files only this user may read: created once, whole and durable, or not at all; read only if nobody else could.

Knows nothing of what they hold.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.errors import RootKeyRefused

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def create_once(path: Path, make: Callable[[], SecretBytes]) -> bool:
    """Create `path`, mode 0600, in a folder of mode 0700; whether this call was the one that did.

    1. write a file of another name and sync it  2. link it to `path`, which fails if `path` exists, so that no reader
    ever meets half a key  3. sync the folder, also when another won: its entry must be durable before it is used.
    """
    try:
        _make_folder(path.parent)
        with _folder(path.parent) as folder:
            return _create(path.name, make, folder)
    except OSError as error:
        raise RootKeyRefused(f"The root key cannot be written to {path}: {error.strerror}.") from error


def read_private(path: Path, *, at_most: int) -> SecretBytes:
    """Return what `path` holds.

    Raises `RootKeyRefused` unless it is a plain file of this user in a folder of this user, closed to everyone else.
    """
    with _folder(path.parent) as folder:
        try:
            handle = os.open(path.name, _READ, dir_fd=folder)
        except FileNotFoundError as error:
            raise RootKeyRefused(f"There is no root key at {path}.") from error
        except OSError as error:
            raise RootKeyRefused(f"The root key {path} cannot be read, or is a symbolic link.") from error
        try:
            _check(os.fstat(handle), path, kind=stat.S_ISREG, what="a plain file", mode="0600")
            return SecretBytes(os.read(handle, at_most + 1))
        except OSError as error:
            raise RootKeyRefused(f"The root key {path} cannot be read: {error.strerror}.") from error
        finally:
            os.close(handle)


def _make_folder(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise RootKeyRefused(f"{path} is not a folder of its own that can be read.") from error
    try:
        _check(os.fstat(handle), path, kind=stat.S_ISDIR, what="a folder", mode="0700")
        yield handle
    finally:
        os.close(handle)


def _create(name: str, make: Callable[[], SecretBytes], folder: int) -> bool:
    draft = f".{name}.{os.urandom(8).hex()}"
    if os.access(name, os.F_OK, dir_fd=folder, follow_symlinks=False):
        with contextlib.suppress(OSError):  # the folder may be mounted read-only by now, and is durable then
            os.fsync(folder)
        return False
    try:
        _write(draft, make(), folder)
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        os.fsync(folder)
    return True


def _write(name: str, content: SecretBytes, folder: int) -> None:
    handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    with os.fdopen(handle, "wb", buffering=0) as file:
        if file.write(content.reveal()) != len(content.reveal()):
            raise OSError("the root key was not written whole")
        os.fsync(handle)


def _check(found: os.stat_result, path: Path, *, kind: Callable[[int], bool], what: str, mode: str) -> None:
    if not kind(found.st_mode):
        raise RootKeyRefused(f"{path} is not {what}.")
    if found.st_uid != os.geteuid():
        raise RootKeyRefused(f"{path} belongs to another user.")
    if found.st_mode & 0o077:
        raise RootKeyRefused(f"{path} is open to other users.", hint=f"Run `chmod {mode} {path}`, then start again.")
