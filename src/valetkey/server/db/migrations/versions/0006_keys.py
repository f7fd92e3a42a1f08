"""The pepper outlives the root key it came from."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "vault_pepper",
        sa.Column("one", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_vault_pepper")),
    )


downgrade = refuse_downgrade
