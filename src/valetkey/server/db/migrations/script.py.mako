"""${message}."""

import sqlalchemy as sa
from alembic import op

from valetkey.server.db.one_way import refuse_downgrade
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


downgrade = refuse_downgrade
