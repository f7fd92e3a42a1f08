"""Settings: what is misspelled, empty, contradictory or dangerous stops the start (FO-03), and secrets do not print."""

from dataclasses import fields
from pathlib import Path

import pytest

from valetkey.server.app import build
from valetkey.server.errors import InvalidRequest
from valetkey.server.settings import DEFAULT_PORT, Settings, load_settings


def test_nothing_set_serves_loopback_only(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path / "absent.toml")
    assert (settings.host, settings.port) == ("127.0.0.1", DEFAULT_PORT)
    assert settings.issuer == f"http://localhost:{DEFAULT_PORT}"
    assert settings.gateway == settings.issuer
    assert settings.unsafe_loopback_upstreams == ()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "valetkey.toml"
    file.write_text('port = 9000\ntoken_seconds = 60\n[algorithms]\ngithub = "Ed25519"\n')
    settings = load_settings({"VALETKEY_PORT": "9100"}, file)
    assert (settings.port, settings.token_seconds) == (9100, 60)
    assert settings.algorithms == {"github": "Ed25519"}


def test_a_secret_is_read_from_its_file_and_does_not_print(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://alice:hunter2@db/valetkey\n")
    settings = load_settings({"VALETKEY_DATABASE_URL_FILE": str(file)}, tmp_path / "absent.toml")
    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://alice:hunter2@db/valetkey"
    assert "hunter2" not in repr(settings)


def test_variables_of_the_command_line_are_not_the_servers(tmp_path: Path) -> None:
    client = {"VALETKEY_URL": "https://v.acme.com", "VALETKEY_TOKEN": "x", "VALETKEY_AGENT": "a", "HOME": "/"}
    assert load_settings(client, tmp_path / "absent.toml") == Settings()


def test_proxies_are_addresses_and_networks(tmp_path: Path) -> None:
    settings = load_settings({"VALETKEY_TRUSTED_PROXIES": "10.0.0.7, 10.1.0.0/16,fd00::/64"}, tmp_path / "absent.toml")
    assert settings.trusted_proxies == ("10.0.0.7", "10.1.0.0/16", "fd00::/64")
    assert [network.num_addresses for network in settings.proxies] == [1, 2**16, 2**64]


REFUSED_VARIABLES: list[dict[str, str]] = [
    {"VALETKEY_PROT": "9000"},
    {"VALETKEY_DATABASE_URI": "postgresql://db/x"},
    {"VALETKEY_PORT": "http"},
    {"VALETKEY_PORT": ""},
    {"VALETKEY_PORT": "70000"},
    {"VALETKEY_PORT": "-1"},
    {"VALETKEY_HEALTH_PORT": "99999"},
    {"VALETKEY_DATABASE_URL": ""},
    {"VALETKEY_DATABASE_URL": "mysql://db/valetkey"},
    {"VALETKEY_DATABASE_URL": "db.acme.com"},
    {"VALETKEY_DATABASE_URL_FILE": "/nonexistent/url"},
    {"VALETKEY_ROOT_PASSPHRASE": ""},
    {"VALETKEY_ROOT_PASSPHRASE": "   "},
    {"VALETKEY_ROOT_PASSPHRASE_FILE": "/dev/null"},
    {"VALETKEY_TRUSTED_PROXIES": "proxy.acme.com"},
    {"VALETKEY_TRUSTED_PROXIES": "10.0.0.7:443"},
    {"VALETKEY_TRUSTED_PROXIES": "10.0.0.7/24"},
    {"VALETKEY_TRUSTED_PROXIES": "0.0.0.0/0"},
    {"VALETKEY_TRUSTED_PROXIES": "10.0.0.7,::/0"},
    {"VALETKEY_PUBLIC_URL": "http://valetkey.acme.com"},
    {"VALETKEY_PUBLIC_URL": "http://valetkey.acme.com:8470"},
    {"VALETKEY_PUBLIC_URL": "http://localhost:8470@evil.example"},
    {"VALETKEY_PUBLIC_URL": "http://localhost.evil.example"},
    {"VALETKEY_PUBLIC_URL": "http://127.0.0.1.evil.example"},
    {"VALETKEY_PUBLIC_URL": "https://user@valetkey.acme.com"},
    {"VALETKEY_PUBLIC_URL": "https://valetkey.acme.com/?a=b"},
    {"VALETKEY_PUBLIC_URL": "https://valetkey.acme.com/#top"},
    {"VALETKEY_PUBLIC_URL": "https://"},
    {"VALETKEY_PUBLIC_URL": "https://valetkey.acme.com:port"},
    {"VALETKEY_PUBLIC_URL": "valetkey.acme.com"},
    {"VALETKEY_PUBLIC_URL": "ftp://valetkey.acme.com"},
    {"VALETKEY_PUBLIC_URL": "javascript:alert(1)"},
    {"VALETKEY_GATEWAY_URL": "http://gw.acme.com"},
    {"VALETKEY_GATEWAY_URL": "gw.acme.com"},
    {"VALETKEY_TOKEN_SECONDS": "0"},
    {"VALETKEY_TOKEN_SECONDS": "-5"},
    {"VALETKEY_TOKEN_SECONDS": "901", "VALETKEY_TOKEN_MAX_SECONDS": "901"},
    {"VALETKEY_TOKEN_SECONDS": "600", "VALETKEY_TOKEN_MAX_SECONDS": "300"},
    {"VALETKEY_TOKEN_MAX_SECONDS": "3600"},
    {"VALETKEY_TASK_SECONDS": "0"},
    {"VALETKEY_TASK_SECONDS": "7200", "VALETKEY_TASK_MAX_SECONDS": "3600"},
    {"VALETKEY_TASK_MAX_SECONDS": "86400"},
    {"VALETKEY_STANDING_MAX_DAYS": "365"},
    {"VALETKEY_STANDING_MAX_DAYS": "0"},
    {"VALETKEY_MAX_DEPTH": "-1"},
    {"VALETKEY_MAX_DEPTH": "100"},
    {"VALETKEY_RESOURCE_CACHE_SECONDS": "3600"},
    {"VALETKEY_RESOURCE_CACHE_SECONDS": "-1"},
    {"VALETKEY_UPSTREAM_TIMEOUT_SECONDS": "0"},
    {"VALETKEY_UPSTREAM_TIMEOUT_SECONDS": "1.5"},
    {"VALETKEY_ALGORITHMS": "github"},
    {"VALETKEY_ALGORITHMS": "github=HS256"},
    {"VALETKEY_ALGORITHMS": "github=none"},
    {"VALETKEY_UPSTREAMS": "github"},
    {"VALETKEY_UPSTREAMS": "github=http://git.acme.com"},
    {"VALETKEY_UPSTREAMS": "github=ftp://git.acme.com"},
    {"VALETKEY_UPSTREAMS": "github=git.acme.com"},
    {"VALETKEY_UPSTREAMS": "github=http://127.0.0.1:9"},
    {"VALETKEY_UPSTREAMS": "github=http://127.0.0.1:9", "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": "127.0.0.1:8"},
    {"VALETKEY_UPSTREAMS": "github=http://git.acme.com", "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": "git.acme.com"},
    {"VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": "git.acme.com:443"},
    {"VALETKEY_CONFIG": "/nonexistent/valetkey.toml"},
]


@pytest.mark.parametrize(
    "environ", REFUSED_VARIABLES, ids=[" ".join(f"{k}={v}" for k, v in e.items()) for e in REFUSED_VARIABLES]
)
def test_fo_03_a_variable_that_cannot_be_meant_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        load_settings(environ, None if "VALETKEY_CONFIG" in environ else tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "environ",
    [
        {"VALETKEY_PUBLIC_URL": "https://valetkey.acme.com"},
        {"VALETKEY_PUBLIC_URL": "https://valetkey.acme.com:8443/base"},
        {"VALETKEY_PUBLIC_URL": "http://localhost:8470"},
        {"VALETKEY_PUBLIC_URL": "http://127.0.0.1:8470"},
        {"VALETKEY_PUBLIC_URL": "http://[::1]:8470"},
        {"VALETKEY_DATABASE_URL": "postgresql://db/valetkey"},
        {"VALETKEY_ALGORITHMS": "github=RS256"},
        {"VALETKEY_UPSTREAMS": "github=https://git.acme.com/api/v3"},
        {"VALETKEY_UPSTREAMS": "github=http://127.0.0.1:9", "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": "127.0.0.1:9"},
    ],
)
def test_what_can_be_meant_starts(environ: dict[str, str], tmp_path: Path) -> None:
    assert load_settings(environ, tmp_path / "absent.toml") != Settings()


@pytest.mark.parametrize(
    "text",
    ["prot = 9000", "[server]\nport = 9000", "port = ", "port = 'x'", "token_seconds = 0", "\x00", "Port = 9000"],
)
def test_fo_03_a_file_that_cannot_be_meant_stops_the_start(text: str, tmp_path: Path) -> None:
    file = tmp_path / "valetkey.toml"
    file.write_text(text)
    with pytest.raises(InvalidRequest):
        load_settings({}, file)


def test_fo_03_a_secret_given_twice_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://db/one")
    twice = {"VALETKEY_DATABASE_URL": "postgresql://db/two", "VALETKEY_DATABASE_URL_FILE": str(file)}
    with pytest.raises(InvalidRequest):
        load_settings(twice, tmp_path / "absent.toml")


def test_every_setting_says_what_it_is() -> None:
    assert all(field.metadata.get("doc") for field in fields(Settings))


@pytest.mark.parametrize(
    "misspelled", [{"algorithms": {"gitbub": "Ed25519"}}, {"upstreams": {"gitbub": "https://x.y"}}]
)
def test_fo_03_an_integration_nobody_knows_stops_the_start(
    misspelled: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest):
        build(Settings(data=tmp_path / "data", **misspelled))  # type: ignore[arg-type] # one of two mappings
