"""Command lines that are signed in by a browser, and what they call themselves."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("user_credentials", sa.Column("name", sa.Text(), nullable=True))
    op.create_index(op.f("ix_user_credentials_user"), "user_credentials", ["user"], unique=False)
    op.create_table(
        "cli_logins",
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("user", sa.String(length=40), nullable=False),
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("credential", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_cli_logins")),
        sa.UniqueConstraint("id", name=op.f("uq_cli_logins_id")),
    )
    op.create_index(op.f("ix_cli_logins_user"), "cli_logins", ["user"], unique=False)


downgrade = refuse_downgrade
