"""What a task remembers counts its comments and messages apart from its other writes."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("memories", sa.Column("comments", sa.BigInteger(), server_default="0", nullable=False))
    # What was written before is not known by its kind. It counts as comments: rules ask rather than miss.
    op.execute("UPDATE memories SET comments = writes")


downgrade = refuse_downgrade
