"""Every table, in one place. Times are whole seconds since the epoch; JSON is stored as text; ids are text."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

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
organizations = Table(
    "organizations", metadata, _id(), _text("name"), _text("default_ceiling"), _time("created_at"),
    _text("unknown_client_ceiling", optional=True),
)  # fmt: skip
users = Table(
    "users", metadata, _id(), _ref("org"), _text("email"), _text("role"), _text("status"), _time("created_at"),
    UniqueConstraint("org", "email"),
)  # fmt: skip
invitations = Table(
    "invitations", metadata, _mac(), _text("kind"), _ref("user", optional=True), _time("expires_at"),
    _time("used_at", optional=True), _ref("by", optional=True), _time("created_at", optional=True), Index(None, "user"),
)  # fmt: skip
user_credentials = Table(
    "user_credentials", metadata, _mac(), _id("id", primary=False), _ref("org"), _ref("user"), _time("created_at"),
    _time("expires_at"), _text("name", optional=True), UniqueConstraint("id"), Index(None, "user"),
)  # fmt: skip
cli_logins = Table(
    "cli_logins", metadata, _mac(), _id("id", primary=False), _ref("org"), _ref("user"), _ref("session"), _text("name"),
    _text("redirect_uri"), _text("challenge"), _time("created_at"), _time("expires_at"),
    _time("used_at", optional=True), _ref("credential", optional=True), UniqueConstraint("id"), Index(None, "user"),
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
engines = Table(
    "engines", metadata, _id(), Column("mac", LargeBinary(32), nullable=False, unique=True), _ref("org"), _text("name"),
    _text("integration"), _text("address"), _ref("created_by"), _time("created_at"), UniqueConstraint("org", "name"),
)  # fmt: skip
assertions = Table("assertions", metadata, _id("client"), _id("jti"), _time("expires_at"))

# Signing in: what proves a person, and the browsers that are signed in
passwords = Table("passwords", metadata, _id("user"), _text("hash"), _time("set_at"))
one_time_passwords = Table(
    "one_time_passwords", metadata, _id("user"), Column("sealed", LargeBinary, nullable=False),
    _time("confirmed_at", optional=True), Column("last_step", BigInteger, nullable=False),
)  # fmt: skip
recovery_codes = Table(
    "recovery_codes", metadata, _mac(), _ref("user"), _time("created_at"), _time("used_at", optional=True),
    Index(None, "user"),
)  # fmt: skip
passkeys = Table(
    "passkeys", metadata, Column("credential", LargeBinary, primary_key=True), _ref("user"), _text("name"),
    Column("public_key", LargeBinary, nullable=False), Column("sign_count", BigInteger, nullable=False),
    _time("created_at"), _time("last_used_at", optional=True), Index(None, "user"),
)  # fmt: skip
sign_in_steps = Table(
    "sign_in_steps", metadata, _mac(), _text("kind"), _ref("user", optional=True), _text("facts"), _time("expires_at"),
    _time("used_at", optional=True),
)  # fmt: skip
sessions = Table(
    "sessions", metadata, _mac(), _id("id", primary=False), _ref("org"), _ref("user"), _text("amr"), _text("acr"),
    _time("auth_time"), _time("created_at"), _time("last_used_at"), _time("expires_at"), _text("browser"),
    _text("address"), UniqueConstraint("id"), Index(None, "user"),
)  # fmt: skip
identity_providers = Table(
    "identity_providers", metadata, _id(), _ref("org"), _text("name"), _text("issuer"), _text("client_id"),
    Column("sealed", LargeBinary, nullable=True), _text("settings"), _time("created_at"),
    UniqueConstraint("org", "issuer"),
)  # fmt: skip
external_identities = Table(
    "external_identities", metadata, Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True), _ref("user"), _time("created_at"),
)  # fmt: skip
attempts = Table(
    "attempts", metadata, Column("key", String(80), primary_key=True), _time("began_at"),
    Column("count", Integer, nullable=False),
)  # fmt: skip

# OAuth clients: what an agent registered of itself, and clients that registered themselves
agent_clients = Table("agent_clients", metadata, _id("agent"), _text("metadata"), _time("changed_at"))
outside_clients = Table(
    "outside_clients", metadata, Column("id", String(512), primary_key=True), _text("kind"),
    _ref("org", optional=True), _text("metadata"), _text("digest"),
    Column("secret_mac", LargeBinary(32), nullable=True), Column("management_mac", LargeBinary(32), nullable=True),
    _time("created_at"), _time("last_used_at"), _time("expires_at", optional=True),
)  # fmt: skip
client_agents = Table(
    "client_agents", metadata, _id("user"), Column("client", String(512), primary_key=True), _ref("agent"),
    _text("digest"), _time("created_at"), Index(None, "agent"),
)  # fmt: skip
initial_access_tokens = Table(
    "initial_access_tokens", metadata, _mac(), _ref("org"), _ref("created_by"), Column("left", Integer, nullable=False),
    _time("created_at"), _time("expires_at"),
)  # fmt: skip
trusted_issuers = Table(
    "trusted_issuers", metadata, _id(), _ref("org"), Column("issuer", String(255), nullable=False), _text("kind"),
    _text("jwks_uri", optional=True), _text("jwks", optional=True), _text("rules"), _ref("created_by"),
    _time("created_at"),
)  # fmt: skip
resource_servers = Table(
    "resource_servers", metadata, _id(), _ref("org"), _text("name"), _text("title"), _text("audience"), _text("layout"),
    _text("algorithm"), _text("scopes"), _ref("service_account", optional=True), _ref("agent", optional=True),
    _ref("created_by"), _time("created_at"), UniqueConstraint("name"), UniqueConstraint("audience"),
)  # fmt: skip

# What was permitted
delegations = Table(
    "delegations", metadata, _id(), _ref("org"), _ref("user"), _ref("agent"), _text("basis"), _text("mode"),
    _text("purpose"), _text("grants"), _text("share_with"), Column("tasks_per_day", Integer, nullable=False),
    _ref("created_by"), _time("created_at"), _time("expires_at"), _time("used_at", optional=True),
    Index(None, "user"), Index(None, "agent"),
)  # fmt: skip
tasks = Table(
    "tasks", metadata, _id(), _ref("org"), _ref("delegation"), _ref("agent"), _ref("parent", optional=True),
    _ref("root"), Column("depth", Integer, nullable=False), _text("grants"), _text("purpose"), _text("evidence"),
    _time("created_at"), _time("expires_at"), Index(None, "delegation"), Index(None, "root"),
)  # fmt: skip
evidence = Table(
    "evidence", metadata, _mac(), _ref("delegation"), _ref("user"), _time("expires_at"), _time("used_at", optional=True)
)
authorization_requests = Table(
    "authorization_requests", metadata, _mac(), _text("kind"), Column("client", String(512), nullable=False),
    _text("parameters"), _ref("session", optional=True), _time("created_at"), _time("expires_at"),
    _time("used_at", optional=True), _ref("answer", optional=True),
)  # fmt: skip
consents = Table(
    "consents", metadata, _id("delegation"), Column("client", String(512), nullable=False), _text("digest"),
    _text("asked"), _time("created_at"),
)  # fmt: skip
authorization_codes = Table(
    "authorization_codes", metadata, _mac(), _id("id", primary=False), Column("client", String(512), nullable=False),
    _ref("org"), _ref("user"), _ref("agent"), _ref("delegation"), _ref("task", optional=True), _text("facts"),
    _time("created_at"), _time("expires_at"), _time("used_at", optional=True), _time("answered_at", optional=True),
    UniqueConstraint("id"),
)  # fmt: skip
refresh_tokens = Table(
    "refresh_tokens", metadata, _mac(), _id("id", primary=False), _ref("family"),
    Column("client", String(512), nullable=False), _ref("org"), _ref("user"), _ref("agent"), _ref("delegation"),
    _ref("task", optional=True), _text("facts"), _time("created_at"), _time("expires_at"),
    _time("replaced_at", optional=True), _time("used_at", optional=True), Column("replays", Integer, nullable=False),
    Column("successor", LargeBinary, nullable=True), Column("predecessor", LargeBinary(32), nullable=True),
    UniqueConstraint("id"), Index(None, "family"),
)  # fmt: skip
decoupled_requests = Table(
    "decoupled_requests", metadata, _mac(), _id("id", primary=False), _text("kind"),
    Column("user_code_mac", LargeBinary(32), nullable=True, unique=True),
    Column("client", String(512), nullable=False), _ref("user", optional=True), _text("parameters"), _text("status"),
    _text("outcome", optional=True), Column("interval", Integer, nullable=False), _time("polled_at"), _text("origin"),
    Column("sealed", LargeBinary, nullable=True),
    _time("created_at"), _time("expires_at"), _ref("task", optional=True), _time("used_at", optional=True),
    _time("answered_at", optional=True), UniqueConstraint("id"), Index(None, "user"),
)  # fmt: skip
dpop_proofs = Table(
    "dpop_proofs", metadata, Column("jkt", String(43), primary_key=True), Column("jti", String(43), primary_key=True),
    _time("expires_at"), Index(None, "expires_at"),
)  # fmt: skip
# What is spent of budgets, and what a task and the last hour of an agent remember
budgets = Table(
    "budgets", metadata, _id("task"), Column("line", Integer, primary_key=True, autoincrement=False),
    Column("measure", String(10), primary_key=True), Column("resource", String(200), primary_key=True),
    Column("spent", BigInteger, nullable=False), Column("held", BigInteger, nullable=False),
)  # fmt: skip
memories = Table(
    "memories", metadata, Column("span", String(100), primary_key=True),
    Column("resource", String(200), primary_key=True),
    Column("until", BigInteger, primary_key=True, autoincrement=False), Column("labels", Integer, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in ("calls", "writes", "rows", "bytes")),
    Column("comments", BigInteger, nullable=False, server_default="0"), Index(None, "until"),
)  # fmt: skip

# Connections
connections = Table(
    "connections", metadata, _id(), _ref("org"), _ref("owner", optional=True), _text("integration"), _text("name"),
    _text("account"), _text("base_url"), _text("powers"), Column("generation", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False), _time("created_at"), UniqueConstraint("org", "owner", "name"),
    Column("credential_generation", Integer, nullable=False, server_default="1"), _time("used_at", optional=True),
)  # fmt: skip
apps = Table(
    "apps", metadata, _id(), _ref("org"), _text("integration"), _text("client_id"),
    Column("sealed", LargeBinary, nullable=True), _text("settings"), Column("generation", Integer, nullable=False),
    _ref("created_by"), _time("created_at"), UniqueConstraint("org", "integration"),
)  # fmt: skip
refreshables = Table(
    "refreshables", metadata, _id("connection"), _ref("app"), Column("sealed", LargeBinary, nullable=True),
    _text("facts"), _text("state"), Column("generation", Integer, nullable=False),
    _time("expires_at", optional=True), _time("due_at", optional=True), _time("refreshed_at"),
    _ref("holder", optional=True), _time("held_until", optional=True), Column("tries", Integer, nullable=False),
    Column("unanswered", Integer, nullable=False), _text("problem", optional=True), Index(None, "state", "due_at"),
)  # fmt: skip
linkings = Table(
    "linkings", metadata, _mac(), _id("id", primary=False), _ref("org"), _ref("user"), _ref("session"), _ref("app"),
    _text("facts"), _time("created_at"), _time("expires_at"), _time("used_at", optional=True), UniqueConstraint("id"),
    Index(None, "expires_at"),
)  # fmt: skip
device_linkings = Table(
    "device_linkings", metadata, _id("linking"), _ref("org"), _ref("user"), _ref("app"),
    Column("sealed", LargeBinary, nullable=True), _text("facts"), Column("wait_seconds", Integer, nullable=False),
    _time("poll_at"), _time("expires_at"), Index(None, "expires_at"),
)  # fmt: skip
connect_codes = Table(
    "connect_codes", metadata, _id(), Column("mac", LargeBinary(32), nullable=False, unique=True), _ref("org"),
    _ref("user"), _ref("agent", optional=True), _ref("connection", optional=True), _text("facts"), _text("state"),
    _text("reason"), _ref("session", optional=True), _ref("linked", optional=True), _time("created_at"),
    _time("expires_at"), Index(None, "user"), Index(None, "expires_at"),
)  # fmt: skip
upstream_revocations = Table(
    "upstream_revocations", metadata, _id("connection"), _ref("org"), _text("state"), _text("detail"),
    Column("tries", Integer, nullable=False), _time("next_at", optional=True), _time("created_at"),
    Index(None, "state", "next_at"),
)  # fmt: skip
entitlements = Table(
    "entitlements", metadata, _id(), _ref("org"), _ref("user"), _ref("connection"), _text("grant_text"),
    _ref("created_by"), _time("created_at"), Index(None, "user", "connection"),
)  # fmt: skip

# Rules
policies = Table(
    "policies", metadata, _id(), _ref("org"), Column("number", Integer, nullable=False), _text("text"),
    _text("digest"), _text("people"), _text("why"), _ref("applied_by"), _time("applied_at"),
    UniqueConstraint("org", "number"),
)  # fmt: skip
own_rules = Table(
    "own_rules", metadata, _id("user"), _text("text"), Column("number", Integer, nullable=False)
)  # fmt: skip

# Credentials that are out
leases = Table(
    "leases", metadata, _id(), _ref("org"), _ref("user"), _ref("agent"), _ref("task"), _ref("delegation"),
    _ref("connection"), _text("integration"), _text("grants"), _text("nodes"), _text("state"), _text("fingerprint"),
    Column("sealed", LargeBinary, nullable=True), _time("opened_at"), _time("ends_at"),
    _time("upstream_ends_at", optional=True), Column("tries", Integer, nullable=False), _time("next_at", optional=True),
    _text("problem"), Index(None, "org"), Index(None, "org", "state"), Index(None, "state", "ends_at"),
    Index(None, "task"),
)  # fmt: skip

# Approvals
approvals = Table(
    "approvals", metadata, _id(), _ref("org"), _ref("user"), _ref("agent"), _ref("task"), _text("key"),
    Column("current", String(112), nullable=True, unique=True), _text("state"), _text("facts"),
    Column("sealed", LargeBinary, nullable=True), _text("message"), _time("created_at"), _time("expires_at"),
    _time("seen_at", optional=True), _time("answered_at", optional=True), _text("decision"),
    _time("told_at", optional=True), Index(None, "org", "created_at"), Index(None, "user", "agent"),
    Index(None, "expires_at", sqlite_where=text("sealed IS NOT NULL"), postgresql_where=text("sealed IS NOT NULL")),
)  # fmt: skip
approval_answers = Table(
    "approval_answers", metadata, _id("approval"), _id("user"), _text("proof"), _time("created_at"),
)  # fmt: skip
notice_addresses = Table(
    "notice_addresses", metadata, _id(), _ref("org"), _ref("user"), _text("kind"), _text("place"),
    Column("sealed", LargeBinary, nullable=False), _time("created_at"), _time("tried_at"),
    _time("told_at", optional=True), Column("failures", Integer, nullable=False), _text("problem"), Index(None, "user"),
    _time("confirmed_at", optional=True),
)  # fmt: skip
notices_due = Table(  # what an address is still to be told: written with the approval, gone once it was told
    "notices_due", metadata, _id("address"), _id("approval"), Column("tries", Integer, nullable=False),
)  # fmt: skip
notice_codes = Table(  # what was mailed to an address that is not confirmed yet
    "notice_codes", metadata, _id(), _ref("address"), _ref("user"), Column("mac", LargeBinary(32), nullable=False),
    _time("created_at"), _time("expires_at"), Column("tries", Integer, nullable=False), Index(None, "user"),
    Index(None, "address"),
)  # fmt: skip
approval_proofs = Table(  # for which approval a person went to sign in anew
    "approval_proofs", metadata, _id("user"), _ref("approval"), _ref("session"), _time("began_at"),
)  # fmt: skip
standing_answers = Table(
    "standing_answers", metadata, _id(), _ref("org"), _ref("user"), _ref("task"), _text("like"), _text("words"),
    _time("created_at"), _time("ended_at", optional=True), Index(None, "task"), Index(None, "user"),
)  # fmt: skip

# Keys
vault_keys = Table(
    "vault_keys", metadata, _id(), _text("state"), Column("generation", Integer, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False), _time("created_at"),
)  # fmt: skip
vault_pepper = Table(  # one row, once the root key was changed: what handles are authenticated with
    "vault_pepper", metadata, Column("one", Integer, primary_key=True), Column("wrapped", LargeBinary, nullable=False)
)
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
audit_marks = Table(  # what each record is about, to be found by: see audit/sight
    "audit_marks", metadata, Column("mark", BigInteger, primary_key=True, autoincrement=False), _id("id"),
    sqlite_with_rowid=False,
)  # fmt: skip
audit_indexed = Table("audit_indexed", metadata, _id("writer"), Column("seq", BigInteger, nullable=False))
audit_tree = Table(  # of each chain, one digest for every 256 records, 65,536 and so on: see audit/tree
    "audit_tree", metadata, _id("writer"), Column("level", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(32), nullable=False), sqlite_with_rowid=False,
)  # fmt: skip
