"""Calls that wait for a person, what people answered, and answers that hold until a task ends."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("agent", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=40), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("current", sa.String(length=112), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("current", name=op.f("uq_approvals_current")),
    )
    op.create_index(op.f("ix_approvals_org_created_at"), "approvals", ["org", "created_at"], unique=False)
    op.create_index(op.f("ix_approvals_user_agent"), "approvals", ["user", "agent"], unique=False)
    op.create_table(
        "approval_answers",
        sa.Column("approval", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("approval", "user", name=op.f("pk_approval_answers")),
    )
    op.create_table(
        "standing_answers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=40), nullable=False),
        sa.Column("like", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_answers")),
    )
    op.create_index(op.f("ix_standing_answers_task"), "standing_answers", ["task"], unique=False)
    op.create_index(op.f("ix_standing_answers_user"), "standing_answers", ["user"], unique=False)


downgrade = refuse_downgrade
