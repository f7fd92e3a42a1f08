"""What a task has leased before is found by its task."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_index("ix_leases_task", "leases", ["task"])


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
