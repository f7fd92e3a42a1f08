"""Short codes that lead a person to connecting an account."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "connect_codes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("agent", sa.String(length=40), nullable=True),
        sa.Column("connection", sa.String(length=40), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("session", sa.String(length=40), nullable=True),
        sa.Column("linked", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connect_codes")),
        sa.UniqueConstraint("mac", name=op.f("uq_connect_codes_mac")),
    )
    op.create_index(op.f("ix_connect_codes_user"), "connect_codes", ["user"], unique=False)
    op.create_index(op.f("ix_connect_codes_expires_at"), "connect_codes", ["expires_at"], unique=False)


downgrade = refuse_downgrade
