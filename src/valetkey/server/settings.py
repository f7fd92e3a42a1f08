"""One frozen Settings, from `valetkey.toml` and `VALETKEY_*`; the environment wins; unknown keys are refused."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

DEFAULT_PORT = 8470
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DATABASES = ("postgresql://", "sqlite:///")
RANGES = {
    "standing_max_days": (1, 30),
    "max_depth": (0, 6),
    "resource_cache_seconds": (0, 60),
    "upstream_timeout_seconds": (1, 3600),
    "gateway_calls_per_api": (0, 100_000),
    "gateway_calls_per_person": (0, 100_000),
    "unused_client_days": (1, 3650),
    "oauth_failures_per_minute": (0, 100_000),
    "oauth_begun_per_minute": (0, 100_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can choose. Times are seconds unless the name says otherwise."""

    host: str = field(default="127.0.0.1", metadata={"doc": "address to listen on"})
    port: int = field(default=DEFAULT_PORT, metadata={"doc": "port of the pages, the API and the gateway"})
    health_port: int = field(default=0, metadata={"doc": "port of /healthz, /readyz and /metrics; 0 is port + 1"})
    decision_port: int = field(
        default=0, metadata={"doc": "port on loopback where engines (nginx, Envoy, …) ask for decisions; 0 is off"}
    )
    decision_grpc_port: int = field(
        default=0, metadata={"doc": "the same for Envoy asking by gRPC; needs the extra valetkey[grpc]; 0 is off"}
    )
    public_url: str = field(default="", metadata={"doc": "how clients reach the server; also the issuer name"})
    gateway_url: str = field(default="", metadata={"doc": "how agents reach /p; a host name of its own is safer"})
    data: Path = field(default=Path("valetkey-data"), metadata={"doc": "folder of the database, keys, checkpoints"})
    database_url: Secret | None = field(default=None, metadata={"doc": "postgresql://… ; unset means SQLite in data"})
    root: str = field(
        default="", metadata={"doc": "what holds the root key: file, passphrase, vault (or OpenBao), aws, gcp or azure"}
    )
    root_passphrase: Secret | None = field(default=None, metadata={"doc": "root key from a passphrase, not a file"})
    root_key: str = field(default="", metadata={"doc": "which key of the key service locks the root key; docs/keys.md"})
    root_url: str = field(default="", metadata={"doc": "where the key service is; aws and gcp have a usual place"})
    root_identity: str = field(
        default="",
        metadata={"doc": "AppRole role id, AWS access key id, or Azure login address with tenant and client"},
    )
    root_secret: Secret | None = field(
        default=None, metadata={"doc": "Vault token or secret id, AWS secret key, GCP key file, Azure client secret"}
    )
    root_network: str = field(
        default="public",
        metadata={"doc": "public, private or loopback: where the key service may be, and nowhere else"},
    )
    root_ca: Path | None = field(default=None, metadata={"doc": "PEM file of a company's own authority, for root_url"})
    token_seconds: int = field(default=300, metadata={"doc": "lifetime of a delegated credential"})
    token_max_seconds: int = field(default=900, metadata={"doc": "longest lifetime anyone may ask for"})
    task_seconds: int = field(default=600, metadata={"doc": "lifetime of a task"})
    task_max_seconds: int = field(default=8 * 3600, metadata={"doc": "longest lifetime of a task"})
    standing_max_days: int = field(default=30, metadata={"doc": "longest lifetime of a standing delegation"})
    max_depth: int = field(default=3, metadata={"doc": "how many sub-agents may follow one another"})
    resource_cache_seconds: int = field(default=60, metadata={"doc": "age of a name's id that still serves a read"})
    upstream_timeout_seconds: int = field(default=60, metadata={"doc": "silence of an upstream before giving up"})
    gateway_calls_per_api: int = field(
        default=1000, metadata={"doc": "calls under way to one API on each node; 0 is no limit"}
    )
    gateway_calls_per_person: int = field(
        default=200, metadata={"doc": "calls under way to one API for one person on each node; 0 is no limit"}
    )
    oauth_failures_per_minute: int = field(
        default=600,
        metadata={"doc": "refused OAuth requests in a client's name from one address, on each node; 0 is no limit"},
    )
    oauth_begun_per_minute: int = field(
        default=300,
        metadata={
            "doc": "authorization, pushed, device and backchannel requests of one address, client or signed-in person, "
            "on each node; 0 is no limit"
        },
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata={
            "doc": "addresses or networks of your own proxies: their X-Forwarded-For says where a request came from, "
            "nobody else's, and never anything but that; Forwarded is not read"
        },
    )
    algorithms: Mapping[str, str] = field(
        default_factory=dict, metadata={"doc": "integration name to Ed25519 or RS256; ES256 where it is not named"}
    )
    upstreams: Mapping[str, str] = field(
        default_factory=dict, metadata={"doc": "integration name to base URL, for self-hosted and practice APIs"}
    )
    integrations: Path | None = field(
        default=None, metadata={"doc": "folder of files that describe more APIs; docs/integrations.md"}
    )
    unsafe_loopback_upstreams: tuple[str, ...] = field(
        default=(), metadata={"doc": "host:port pairs inside this machine the gateway may call; never in production"}
    )
    private_databases: tuple[str, ...] = field(
        default=(), metadata={"doc": "host:port pairs of databases in your own network that may be connected"}
    )

    client_documents: str = field(
        default="on",
        metadata={"doc": "on or off: whether a client may be named by the https address of its description"},
    )
    dynamic_registration: str = field(
        default="off",
        metadata={"doc": "off, token (with an initial access token) or open: who may use /oauth/register"},
    )
    unused_client_days: int = field(
        default=90, metadata={"doc": "days after which a registered client nobody used is forgotten"}
    )
    smtp: str = field(default="", metadata={"doc": "host:port of the mail server that sends notices; unset sends none"})
    smtp_tls: str = field(
        default="starttls",
        metadata={"doc": "starttls or implicit: how the mail server is spoken to; never in the clear"},
    )
    smtp_from: str = field(default="", metadata={"doc": "the address notices come from"})
    smtp_login: str = field(default="", metadata={"doc": "name to sign in with at the mail server"})
    smtp_password: Secret | None = field(default=None, metadata={"doc": "password to sign in with at the mail server"})
    smtp_network: str = field(
        default="public",
        metadata={"doc": "public, private or loopback: where the mail server may be, and nowhere else"},
    )
    smtp_ca: Path | None = field(default=None, metadata={"doc": "PEM file of a company's own authority, for smtp"})

    @property
    def root_kind(self) -> str:
        """What holds the root key, also where nobody said it."""
        return self.root or ("file" if self.root_passphrase is None else "passphrase")

    @property
    def is_on_loopback(self) -> bool:
        """Whether clients reach this server on this machine only."""
        return urlsplit(self.issuer).hostname in LOOPBACK

    @property
    def issuer(self) -> str:
        """The issuer identifier, without a trailing slash."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def origin(self) -> str:
        """What browsers send as `Origin` from our pages."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `trusted_proxies`."""
        return tuple(ip_network(text) for text in self.trusted_proxies)

    @property
    def gateway(self) -> str:
        """Where `/p/…` is reached, without a trailing slash."""
        return (self.gateway_url or self.issuer).rstrip("/")


def load_settings(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Read the file (`valetkey.toml` here, or `VALETKEY_CONFIG`), then the environment. Unknown keys raise."""
    environ = os.environ if environ is None else environ
    known = {f.name: f for f in fields(Settings)}
    values: dict[str, Any] = {}
    path = file or Path(environ.get("VALETKEY_CONFIG", "valetkey.toml"))
    if path.is_file():
        for key, value in _document(path).items():
            if key not in known and key.removesuffix("_file") in known:
                key, value = key.removesuffix("_file"), _contents(key, Path(str(value)))
            if key not in known:
                raise InvalidRequest(f"{path}: unknown setting {key!r}", hint=f"Known settings: {', '.join(known)}.")
            values[key] = _typed(key, known[key].type, value)
    elif "VALETKEY_CONFIG" in environ:
        raise InvalidRequest(f"VALETKEY_CONFIG names {path}, which does not exist")
    for variable, value in environ.items():
        name = variable.removeprefix("VALETKEY_").lower()
        if not variable.startswith("VALETKEY_") or name in _CLIENT_VARIABLES or name.startswith("test_"):
            continue
        if name.endswith("_file") and name.removesuffix("_file") in known:
            name, value = name.removesuffix("_file"), _contents(variable, Path(value))
            if f"VALETKEY_{name.upper()}" in environ:
                raise InvalidRequest(f"{variable} and VALETKEY_{name.upper()} are both set", hint="Keep one of them.")
        if name not in known:
            raise InvalidRequest(f"unknown setting {variable}", hint=f"Known settings: {', '.join(known)}.")
        values[name] = _typed(name, known[name].type, value)
    settings = Settings(**values)
    _refuse_dangerous(settings)
    return settings


_CLIENT_VARIABLES = {"url", "token", "profile", "config", "agent", "agent_secret", "no_browser", "log", "debug", "home"}


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read: {type(error).__name__}") from error


def _contents(variable: str, path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{variable} names {path}, which cannot be read") from error
    if not value:
        raise InvalidRequest(f"{variable} names {path}, which is empty")
    return value


def _typed(name: str, kind: Any, value: Any) -> Any:
    text = str(kind)
    try:
        if "Secret" in text:
            return Secret(str(value))
        if kind is int:
            return int(value)
        if "Path" in text:
            return Path(value)
        if "Mapping" in text:
            pairs = (
                value.items() if isinstance(value, Mapping) else (p.split("=", 1) for p in str(value).split(",") if p)
            )
            return {str(k): str(v) for k, v in pairs}
        if "tuple" in text:
            return tuple(value) if isinstance(value, list) else tuple(p.strip() for p in str(value).split(",") if p)
    except ValueError as error:
        raise InvalidRequest(f"setting {name} has an unusable value") from error
    return str(value)


def _refuse_dangerous(settings: Settings) -> None:
    for url in (settings.issuer, settings.gateway):
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port  # reading the port proves it is one
        except ValueError as error:
            raise InvalidRequest(f"{url} is not an http(s) address") from error
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidRequest(f"{url} is not an http(s) address", hint="Write https://HOST[:PORT][/PATH].")
        if parts.scheme == "http" and host not in LOOPBACK:
            raise InvalidRequest(f"{url} is plain http", hint="Use https; plain http serves loopback names only.")
    for place in settings.unsafe_loopback_upstreams:
        if urlsplit(f"//{place}").hostname not in LOOPBACK:
            raise InvalidRequest(f"{place} is not a place inside this machine")
    for text in settings.trusted_proxies:
        try:
            everybody = ip_network(text).prefixlen == 0
        except ValueError as error:
            raise InvalidRequest(
                f"{text} is no address and no network of a proxy.", hint="Write 10.0.0.7, 10.0.0.0/24 or fd00::/64."
            ) from error
        if everybody:
            raise InvalidRequest(f"{text} trusts everybody.", hint="List the addresses of your own proxies.")
    for name, url in settings.upstreams.items():
        local = urlsplit(url).netloc in settings.unsafe_loopback_upstreams
        if not url.startswith("https://") and not (url.startswith("http://") and local):
            raise InvalidRequest(
                f"The upstream {name} is not reached by https.", hint="Real credentials never travel in the clear."
            )
    for name, algorithm in settings.algorithms.items():
        if algorithm not in ("ES256", "Ed25519", "RS256"):
            raise InvalidRequest(f"{name}: {algorithm} is not an algorithm this server signs with.")
    for name in ("port", "health_port", "decision_port", "decision_grpc_port"):
        if not 0 <= getattr(settings, name) <= 65_535:
            raise InvalidRequest(f"{name} is not a port")
    choices = {
        "client_documents": ("on", "off"),
        "dynamic_registration": ("off", "token", "open"),
        "root": ("", "file", "passphrase", "vault", "aws", "gcp", "azure"),
        "root_network": ("public", "private", "loopback"),
        "smtp_tls": ("starttls", "implicit"),
        "smtp_network": ("public", "private", "loopback"),
    }
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise InvalidRequest(f"{name} is one of {', '.join(filter(None, allowed))}")
    for name in RANGES:
        least, most = RANGES[name]
        if not least <= getattr(settings, name) <= most:
            raise InvalidRequest(f"{name} must be between {least} and {most}")
    _refuse_half_a_mail_server(settings)
    if settings.root_passphrase is not None and settings.root not in ("", "passphrase"):
        raise InvalidRequest(f"root is {settings.root}, and root_passphrase is set too", hint="Keep one of them.")
    if settings.root_passphrase is not None and not settings.root_passphrase.reveal().strip():
        raise InvalidRequest("root_passphrase is empty", hint="Set it, or leave it out to use a key file.")
    if settings.database_url is not None and not settings.database_url.reveal().startswith(DATABASES):
        raise InvalidRequest("database_url is not one of a database this server knows.", hint=f"{', '.join(DATABASES)}")
    if not 1 <= settings.token_seconds <= settings.token_max_seconds <= 900:
        raise InvalidRequest("token_seconds must be between 1 and token_max_seconds, and that at most 900")
    if not 1 <= settings.task_seconds <= settings.task_max_seconds <= 8 * 3600:
        raise InvalidRequest("task_seconds must be between 1 and task_max_seconds, and that at most 28800")


def _refuse_half_a_mail_server(settings: Settings) -> None:
    if not settings.smtp:
        return
    host, _, port = settings.smtp.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535
    if not is_port or not re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:]+\]", host):
        raise InvalidRequest(f"smtp is {settings.smtp!r}, which is no place.", hint="Write mail.example.com:587.")
    if not re.fullmatch(r"[A-Za-z0-9._+-]+@[a-z0-9.-]+", settings.smtp_from):
        raise InvalidRequest("smtp_from is not an e-mail address.", hint="Write valetkey@example.com.")
    if bool(settings.smtp_login) != (settings.smtp_password is not None):
        raise InvalidRequest("smtp_login and smtp_password belong together.", hint="Set both, or neither.")
    if settings.smtp_ca is not None and not settings.smtp_ca.is_file():
        raise InvalidRequest(f"smtp_ca names {settings.smtp_ca}, which cannot be read.")
