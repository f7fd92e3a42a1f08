"""When a connection was last used, for its person to see."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("connections", sa.Column("used_at", sa.BigInteger(), nullable=True))


downgrade = refuse_downgrade
