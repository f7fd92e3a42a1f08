"""`valetkey serve` as it is, but that it kills itself, as kill -9 would, when it comes to one labelled step.

Run as `python -m tests.support.struck_serve STEP serve --json`.
"""

import os
import signal
import sys

from valetkey.cli.main import main
from valetkey.server import app as built


def _dies_at(step: str) -> None:
    start = built.App.start

    async def struck(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async def started(self: built.App) -> None:
        await start(self)
        self.databases.step = self.mariadb.step = self.services.rotate_database.step = struck

    built.App.start = started  # type: ignore[method-assign]


if __name__ == "__main__":
    _dies_at(sys.argv.pop(1))
    sys.exit(main())
