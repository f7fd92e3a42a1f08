"""A refresh token names the one it replaced, so that its use ends that one without reading its family."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("predecessor", sa.LargeBinary(length=32), nullable=True))
    # The one of its family that was replaced and whose successor nobody used yet.
    op.execute(
        """
        UPDATE refresh_tokens SET predecessor = (
            SELECT before.mac FROM refresh_tokens AS before
            WHERE before.family = refresh_tokens.family AND before.mac <> refresh_tokens.mac
              AND before.replaced_at IS NOT NULL AND before.used_at IS NULL
            ORDER BY before.replaced_at DESC LIMIT 1
        )
        WHERE replaced_at IS NULL AND used_at IS NULL
        """
    )


downgrade = refuse_downgrade
