"""Migrations go forward only: what one drops was sealed, and nothing could put it back."""

from valetkey.server.errors import Conflict


def refuse_downgrade() -> None:
    """What every migration does on the way back. Raises `Conflict`; the schema and what is in it stay as they are."""
    raise Conflict(
        "A database is not taken back to an earlier version.",
        hint="Start the newer version; or restore the backup made before the upgrade: valetkey db restore FILE.",
    )
