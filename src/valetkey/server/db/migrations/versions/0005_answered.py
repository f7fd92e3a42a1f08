"""When an answer that was redeemed was ready to be sent, and which task a device or backchannel answer opened."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("authorization_codes", sa.Column("answered_at", sa.BigInteger(), nullable=True))
    op.add_column("decoupled_requests", sa.Column("task", sa.String(length=40), nullable=True))
    op.add_column("decoupled_requests", sa.Column("used_at", sa.BigInteger(), nullable=True))
    op.add_column("decoupled_requests", sa.Column("answered_at", sa.BigInteger(), nullable=True))


downgrade = refuse_downgrade
