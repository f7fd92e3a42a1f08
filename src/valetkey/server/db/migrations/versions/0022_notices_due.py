"""Notices are kept until they are sent, and a mail address is confirmed by its person before anything is sent there."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("notice_addresses", sa.Column("confirmed_at", sa.BigInteger(), nullable=True))
    op.execute("UPDATE notice_addresses SET confirmed_at = created_at")
    op.create_table(
        "notices_due",
        sa.Column("address", sa.String(length=40), nullable=False),
        sa.Column("approval", sa.String(length=40), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("address", "approval", name=op.f("pk_notices_due")),
    )
    op.create_table(
        "notice_codes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_codes")),
    )
    op.create_index(op.f("ix_notice_codes_user"), "notice_codes", ["user"], unique=False)
    op.create_index(op.f("ix_notice_codes_address"), "notice_codes", ["address"], unique=False)


downgrade = refuse_downgrade
