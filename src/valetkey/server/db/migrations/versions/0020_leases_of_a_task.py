"""What a task has leased before is found by its task; what an organization has out is counted without what is over."""

from alembic import op

from valetkey.server.db.one_way import refuse_downgrade

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_index("ix_leases_task", "leases", ["task"])
    op.create_index("ix_leases_org_state", "leases", ["org", "state"])


downgrade = refuse_downgrade
