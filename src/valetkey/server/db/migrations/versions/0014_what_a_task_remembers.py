"""What a task remembers: labels and counters of it and of its agents' last hour. And more budgets than calls."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("task", sa.String(length=40), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.String(length=10), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task", "line", "measure", "resource", name=op.f("pk_budgets")),
    )
    op.execute(
        "INSERT INTO budgets (task, line, measure, resource, spent, held) "
        "SELECT task, line, 'calls', '', spent, 0 FROM counters"
    )
    op.drop_table("counters")
    op.create_table(
        "memories",
        sa.Column("span", sa.String(length=100), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("writes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("span", "resource", "until", name=op.f("pk_memories")),
    )
    op.create_index(op.f("ix_memories_until"), "memories", ["until"], unique=False)


downgrade = refuse_downgrade
