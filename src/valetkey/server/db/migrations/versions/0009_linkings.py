"""Accounts on their way to being connected, and what is still to be ended at APIs."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "linkings",
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("app", sa.String(length=40), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_linkings")),
        sa.UniqueConstraint("id", name=op.f("uq_linkings_id")),
    )
    op.create_index(op.f("ix_linkings_expires_at"), "linkings", ["expires_at"], unique=False)
    op.create_table(
        "upstream_revocations",
        sa.Column("connection", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_upstream_revocations")),
    )
    op.create_index(
        op.f("ix_upstream_revocations_state_next_at"), "upstream_revocations", ["state", "next_at"], unique=False
    )


downgrade = refuse_downgrade
