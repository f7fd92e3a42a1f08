"""The command of `valetkey run` as a child process: its own process group, the terminal, signals, exit code.

Signals that reach this process go on to the child's group; on a terminal the child's group has the terminal, so that
Ctrl-C reaches it alone and Ctrl-Z stops both. Knows nothing of credentials.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NoReturn

CANNOT_RUN: Final = 126
NO_SUCH_COMMAND: Final = 127
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(BaseException):
    """A signal came while no child runs; whatever was begun has to be ended."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class CannotStart(Exception):
    """The command cannot be started; `exit_code` says which way, as a shell would."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextlib.contextmanager
def signals() -> "Iterator[Signals]":
    """Handle signals for the length of a run, then leave them as they were."""
    handler = Signals()
    ignored = {number for number in _PASSED_ON if signal.getsignal(number) is signal.SIG_IGN}  # nohup stays nohup
    before = {number: signal.signal(number, handler) for number in _PASSED_ON if number not in ignored}
    try:
        yield handler
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Signals:
    """Where a signal goes: to the child while there is one, out as `Interrupted` before, nowhere at the end."""

    def __init__(self) -> None:
        self._deliver: Callable[[int], object] = self._interrupt

    def __call__(self, number: int, _frame: object) -> None:
        self._deliver(number)

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run the command to its end; return what a shell would call its exit code. Raises `CannotStart`."""
        early: list[int] = []
        self._deliver = early.append
        try:
            child = subprocess.Popen(command, env=dict(environ), process_group=0)  # noqa: S603 - that is the point
        except FileNotFoundError as error:
            raise CannotStart(f"{command[0]}: no such command", exit_code=NO_SUCH_COMMAND) from error
        except OSError as error:
            raise CannotStart(f"{command[0]}: {error.strerror}", exit_code=CANNOT_RUN) from error
        self._deliver = lambda number: _signal_group(child.pid, number)
        for number in early:
            self._deliver(number)
        with _terminal() as terminal:
            child.returncode = os.waitstatus_to_exitcode(_ended(child.pid, terminal))
        return child.returncode if child.returncode >= 0 else 128 - child.returncode

    def hold_back(self) -> None:
        """From now on nothing interrupts: what was begun is being ended."""
        self._deliver = lambda _number: None

    def _interrupt(self, number: int) -> NoReturn:
        raise Interrupted(number)


def _ended(pid: int, terminal: int | None) -> int:
    """The status of the child once it has ended; while it is stopped on a terminal, so are we."""
    _give(terminal, pid)
    # A child quicker than us may have asked for the terminal before it had it, and been stopped for that.
    _signal_group(pid, signal.SIGCONT)
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return status
        if terminal is not None:
            _give(terminal, os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
            _give(terminal, pid)
            _signal_group(pid, signal.SIGCONT)


@contextlib.contextmanager
def _terminal() -> Iterator[int | None]:
    """The terminal, when it is there and ours to give; it is taken back at the end."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        yield None
        return
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():
            yield None
            return
        try:
            yield terminal
        finally:
            _give(terminal, os.getpgrp())
    finally:
        os.close(terminal)


def _give(terminal: int | None, process_group: int) -> None:
    if terminal is None:
        return
    # Whoever is not in the foreground is stopped for trying this, unless the signal that does it is held.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, process_group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _signal_group(process_group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_group, number)
