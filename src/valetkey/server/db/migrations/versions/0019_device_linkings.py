"""Codes by which an account is connected on another device."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "device_linkings",
        sa.Column("linking", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("app", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("wait_seconds", sa.Integer(), nullable=False),
        sa.Column("poll_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("linking", name=op.f("pk_device_linkings")),
    )
    op.create_index(op.f("ix_device_linkings_expires_at"), "device_linkings", ["expires_at"], unique=False)


downgrade = refuse_downgrade
