"""Policies of organizations by version, and users' own rules."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String(40), primary_key=True, nullable=False),
        sa.Column("org", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("people", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("applied_by", sa.String(40), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("org", "number", name="uq_policies_org_number"),
    )
    op.create_table(
        "own_rules",
        sa.Column("user", sa.String(40), primary_key=True, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
    )


downgrade = refuse_downgrade
