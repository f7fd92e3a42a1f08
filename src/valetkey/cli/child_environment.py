"""What the command of `valetkey run` finds in its environment: addresses, a proxy, whom to trust, and placeholders.

Nothing in it signs in anywhere but at this run. The one file it names holds certificates, all of them public.
"""

import contextlib
import os
import shutil
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from valetkey.client.proxy import Proxy

_GITHUB_TOKENS: Final = ("GITHUB_TOKEN", "GH_TOKEN")
_OTHER_GITHUB_TOKENS: Final = ("GITHUB_ENTERPRISE_TOKEN", "GH_ENTERPRISE_TOKEN")
_OTHER_AWS_NAMES: Final = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SECURITY_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE")
_PROXY: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_NARROWER_PROXIES: Final = ("WSS_PROXY", "wss_proxy", "WS_PROXY", "ws_proxy", "SOCKS_PROXY", "socks_proxy")
_NO_PROXY: Final = ("NO_PROXY", "no_proxy")
_HERE: Final = "localhost,127.0.0.1,::1"
_TRUST: Final = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE",
    "DENO_CERT", "PIP_CERT", "HTTPLIB2_CA_CERTS",
)  # fmt: skip
_USUAL_ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def child_environment(environ: Mapping[str, str], proxy: Proxy, trusted: Path) -> dict[str, str]:
    """The environment of the command: addresses and the placeholder; nothing that signs in anywhere here."""
    # SECURITY: every variable of ours goes, not a list of secret ones. LK-02.
    # Guarded by tests/flows/test_run.py::test_the_command_sees_nothing_that_signs_in
    child = {name: value for name, value in environ.items() if not name.startswith("VALETKEY_")}
    for api in sorted(proxy.apis):
        name = api.upper().replace("-", "_")
        child[f"VALETKEY_{name}_URL"] = proxy.base(api)
        child[f"VALETKEY_{name}_TOKEN"] = proxy.placeholder
    if "github" in proxy.apis:
        child["GITHUB_API_URL"] = proxy.base("github")
        child["GITHUB_BASE_URL"] = proxy.base("github") + "/"
        child.update(dict.fromkeys(_GITHUB_TOKENS, proxy.placeholder))
        for name in _OTHER_GITHUB_TOKENS:
            child.pop(name, None)
    if "aws" in proxy.apis:
        # An access key signs with nothing; the placeholder is the session token, which is where our credential goes.
        child["AWS_ENDPOINT_URL_S3"] = proxy.base("aws")
        child |= {"AWS_ACCESS_KEY_ID": "valetkey", "AWS_SECRET_ACCESS_KEY": "valetkey"}
        child["AWS_SESSION_TOKEN"] = proxy.placeholder
        for name in _OTHER_AWS_NAMES:
            child.pop(name, None)
    child.update(dict.fromkeys(_PROXY, proxy.proxy_url))
    for name in _NARROWER_PROXIES:  # clients of WebSockets would ask these first
        child.pop(name, None)
    # Everything else goes through the run, which goes by what the environment said of proxies itself.
    child.update(dict.fromkeys(_NO_PROXY, _HERE))
    child.update(dict.fromkeys(_TRUST, str(trusted)))
    child["NODE_USE_ENV_PROXY"] = "1"
    child.update(_for_git(environ, proxy))
    return child


def _for_git(environ: Mapping[str, str], proxy: Proxy) -> dict[str, str]:
    """Git shows the placeholder at the git hosts of this run, and asks nobody for a password there."""
    settings: list[tuple[str, str]] = []
    for address in proxy.git_addresses:
        pair = b64encode(f"x-access-token:{proxy.placeholder}".encode()).decode()
        # NOTE: an empty value forgets the helpers named before: the person's own password is not for this child.
        settings.append((f"credential.{address}.helper", ""))
        settings.append((f"http.{address}/.extraHeader", f"Authorization: Basic {pair}"))
    before = environ.get("GIT_CONFIG_COUNT", "")
    count = int(before) if before.isascii() and before.isdigit() else 0
    found = {"GIT_CONFIG_COUNT": str(count + len(settings))} if settings else {}
    for number, (key, value) in enumerate(settings, start=count):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


@contextlib.contextmanager
def trust_file(certificate: bytes, environ: Mapping[str, str]) -> Iterator[Path]:
    """A file with what the environment trusts and one certificate more, in a folder nobody else reads; gone after."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-run-"))  # 0700
    try:
        file = folder / "trusted.pem"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing:
            writing.write(certificate + b"".join(_roots(environ)))
        yield file
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _roots(environ: Mapping[str, str]) -> Iterator[bytes]:
    """What this machine and this environment trust already, certificates alone."""
    usual = ssl.get_default_verify_paths().cafile or next(filter(os.path.exists, _USUAL_ROOTS), None)
    named = [environ[name] for name in _TRUST if environ.get(name)]
    for place in dict.fromkeys([*named, *([usual] if usual and "SSL_CERT_FILE" not in environ else [])]):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with contextlib.suppress(OSError):
            context.load_verify_locations(cafile=place)
        for one in context.get_ca_certs(binary_form=True):
            yield ssl.DER_cert_to_PEM_cert(one).encode()
