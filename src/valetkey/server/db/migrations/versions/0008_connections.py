"""Apps at APIs, and credentials that are renewed."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # NOTE: until now a credential was sealed once, under the generation of the connection itself, which was 1.
    op.add_column("connections", sa.Column("credential_generation", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "apps",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("integration", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apps")),
        sa.UniqueConstraint("org", "integration", name=op.f("uq_apps_org_integration")),
    )
    op.create_table(
        "refreshables",
        sa.Column("connection", sa.String(length=40), nullable=False),
        sa.Column("app", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("refreshed_at", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=40), nullable=True),
        sa.Column("held_until", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("unanswered", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_refreshables")),
    )
    op.create_index(op.f("ix_refreshables_state_due_at"), "refreshables", ["state", "due_at"], unique=False)


downgrade = refuse_downgrade
