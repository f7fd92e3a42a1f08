"""Who made a one-time code, and when: the person it was for is told."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("invitations", sa.Column("by", sa.String(length=40), nullable=True))
    op.add_column("invitations", sa.Column("created_at", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_invitations_user"), "invitations", ["user"], unique=False)


downgrade = refuse_downgrade
