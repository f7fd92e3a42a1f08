"""Every table, in one place. Times are whole seconds since the epoch; JSON is stored as text; ids are text."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id(name: str = "id", *, primary: bool = True) -> Column[str]:
    return Column(name, String(40), primary_key=primary, nullable=False)


def _ref(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, String(40), nullable=optional)


def _time(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=optional)


def _mac() -> Column[bytes]:
    return Column("mac", LargeBinary(32), primary_key=True)


def _text(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, Text, nullable=optional)


# The deployment, its fence and its change feed
deployment = Table("deployment", metadata, _id(), _time("created_at"))
fence = Table("fence", metadata, Column("one", Integer, primary_key=True), Column("seq", BigInteger, nullable=False))
changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _id("node"),
)
revoked = Table(
    "revoked",
    metadata,
    _id("node"),
    Column("seq", BigInteger, nullable=False),
    _time("at"),
    _ref("by"),
    _text("reason"),
)

# Principals
organizations = Table("organizations", metadata, _id(), _text("name"), _text("default_ceiling"), _time("created_at"))
users = Table(
    "users", metadata, _id(), _ref("org"), _text("email"), _text("role"), _text("status"), _time("created_at"),
    UniqueConstraint("org", "email"),
)  # fmt: skip
invitations = Table(
    "invitations", metadata, _mac(), _text("kind"), _ref("user", optional=True), _time("expires_at"),
    _time("used_at", optional=True),
)  # fmt: skip
user_credentials = Table(
    "user_credentials", metadata, _mac(), _id("id", primary=False), _ref("org"), _ref("user"), _time("created_at"),
    _time("expires_at"), UniqueConstraint("id"),
)  # fmt: skip
agents = Table(
    "agents", metadata, _id(), _ref("org"), _text("name"), _ref("owner"), _text("status"), _text("ceiling"),
    _text("jwks", optional=True), _time("created_at"), UniqueConstraint("org", "name"),
)  # fmt: skip
agent_secrets = Table("agent_secrets", metadata, _mac(), _ref("agent"), _time("created_at"))
service_accounts = Table(
    "service_accounts", metadata, _id(), _ref("org"), _text("name"), _text("status"), _text("scopes"),
    _time("created_at"), UniqueConstraint("org", "name"),
)  # fmt: skip
service_account_secrets = Table(
    "service_account_secrets", metadata, _mac(), _ref("service_account"), _time("created_at")
)
assertions = Table("assertions", metadata, _id("client"), _id("jti"), _time("expires_at"))

# What was permitted
delegations = Table(
    "delegations", metadata, _id(), _ref("org"), _ref("user"), _ref("agent"), _text("basis"), _text("mode"),
    _text("purpose"), _text("grants"), _text("share_with"), Column("tasks_per_day", Integer, nullable=False),
    _ref("created_by"), _time("created_at"), _time("expires_at"), Index(None, "user"), Index(None, "agent"),
)  # fmt: skip
tasks = Table(
    "tasks", metadata, _id(), _ref("org"), _ref("delegation"), _ref("agent"), _ref("parent", optional=True),
    _ref("root"), Column("depth", Integer, nullable=False), _text("grants"), _text("purpose"), _text("evidence"),
    _time("created_at"), _time("expires_at"), Index(None, "delegation"), Index(None, "root"),
)  # fmt: skip
evidence = Table(
    "evidence", metadata, _mac(), _ref("delegation"), _ref("user"), _time("expires_at"), _time("used_at", optional=True)
)
counters = Table(
    "counters", metadata, _id("task"), Column("line", Integer, primary_key=True, autoincrement=False),
    Column("spent", BigInteger, nullable=False), Column("cap", BigInteger, nullable=False),
)  # fmt: skip

# Connections
connections = Table(
    "connections", metadata, _id(), _ref("org"), _ref("owner", optional=True), _text("integration"), _text("name"),
    _text("account"), _text("base_url"), _text("powers"), Column("generation", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False), _time("created_at"), UniqueConstraint("org", "owner", "name"),
)  # fmt: skip
entitlements = Table(
    "entitlements", metadata, _id(), _ref("org"), _ref("user"), _ref("connection"), _text("grant_text"),
    _ref("created_by"), _time("created_at"), Index(None, "user", "connection"),
)  # fmt: skip

# Keys
vault_keys = Table(
    "vault_keys", metadata, _id(), _text("state"), Column("generation", Integer, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False), _time("created_at"),
)  # fmt: skip
signing_keys = Table(
    "signing_keys", metadata, _id("kid"), _text("purpose"), _text("alg"), _text("state"), _text("public"),
    Column("sealed", LargeBinary, nullable=False), _time("created_at"), _time("signs_from"),
    _time("retired_at", optional=True),
)  # fmt: skip

# Audit
audit_writers = Table(
    "audit_writers",
    metadata,
    _id("writer"),
    Column("number", Integer, nullable=False, unique=True),
    _time("claimed_at"),
)
audit_records = Table(
    "audit_records", metadata, _id("writer"), Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _id("id", primary=False), _text("event"), _ref("refers", optional=True),
    Column("digest", LargeBinary(32), nullable=False),    Column("body", LargeBinary, nullable=False),
)  # fmt: skip
Index("ix_audit_records_refers", audit_records.c.refers, sqlite_where=audit_records.c.refers.is_not(None),
      postgresql_where=audit_records.c.refers.is_not(None))  # fmt: skip
Index("ix_audit_records_id", audit_records.c.id)
