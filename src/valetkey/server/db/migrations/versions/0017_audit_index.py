"""What audit records are found by, and the trees over them. Both are filled afterwards, by following every chain."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "audit_marks",
        sa.Column("mark", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(40), primary_key=True, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_indexed",
        sa.Column("writer", sa.String(40), primary_key=True, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "audit_tree",
        sa.Column("writer", sa.String(40), primary_key=True, nullable=False),
        sa.Column("level", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )


downgrade = refuse_downgrade
