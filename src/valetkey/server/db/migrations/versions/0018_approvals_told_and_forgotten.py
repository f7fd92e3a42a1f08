"""Approvals: kept calls can be forgotten, people can be told, and who proves herself does it for one of them."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.alter_column("sealed", existing_type=sa.LargeBinary(), nullable=True)
        batch_op.add_column(sa.Column("told_at", sa.BigInteger(), nullable=True))
    op.create_index(
        op.f("ix_approvals_expires_at"),
        "approvals",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("sealed IS NOT NULL"),
        postgresql_where=sa.text("sealed IS NOT NULL"),
    )
    op.create_table(
        "approval_proofs",
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("approval", sa.String(length=40), nullable=False),
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_approval_proofs")),
    )
    op.create_table(
        "notice_addresses",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_addresses")),
    )
    op.create_index(op.f("ix_notice_addresses_user"), "notice_addresses", ["user"], unique=False)


downgrade = refuse_downgrade
