"""The proxy of `valetkey run` over real sockets: who may use it, where it leads, what it leaves behind."""

import base64
import contextlib
import json
import os
import re
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from tests.support.served import BIN, REAL_CREDENTIAL, Served, ready_for_work, served

GRANT = "github:repo:read@acme-corp/backend"
RUN = ("run", "--agent", "pr-reviewer-v2", "--grant", GRANT)
ISSUES = "/repos/acme-corp/backend/issues"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("proxy")) as started:
        ready_for_work(started)
        yield started


@dataclass
class Running:
    """A run whose child waits; `environ` is what the child has, `said` what the run wrote to stderr in the end."""

    environ: dict[str, str]
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(urlsplit(self.environ["HTTPS_PROXY"]).port or 0)

    @property
    def password(self) -> str:
        return str(urlsplit(self.environ["HTTPS_PROXY"]).password)

    def signed(self, password: str | None = None) -> bytes:
        pair = base64.b64encode(f"valetkey:{password or self.password}".encode())
        return b"Proxy-Authorization: Basic " + pair + b"\r\n"

    def ask(self, head: bytes) -> tuple[int, str, socket.socket]:
        """Send the head of a request and read that of the answer, and what comes with it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(head)
        answer = connection.recv(64 * 1024).decode("latin-1")
        while answer and "200 Connection" not in answer and (more := connection.recv(64 * 1024)):
            answer += more.decode("latin-1")
        return int(answer.split(" ")[1]) if answer else 0, answer, connection

    def status(self, head: bytes) -> int:
        status, _, connection = self.ask(head)
        connection.close()
        return status

    def connect(self, authority: str) -> tuple[int, str, socket.socket]:
        return self.ask(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode() + self.signed() + b"\r\n")

    def inside(self, host: str = "api.github.com", name: str | None = None, alpn: str = "http/1.1") -> ssl.SSLSocket:
        """A tunnel with TLS, trusting what the child trusts and nothing else."""
        status, _, connection = self.connect(f"{host}:443")
        assert status == 200
        context = ssl.create_default_context(cafile=self.environ["SSL_CERT_FILE"])
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols([alpn, "http/1.1"])
        if name == "":
            context.check_hostname = False
        return context.wrap_socket(connection, server_hostname=host if name is None else name or None)

    def exchange(self, *lines: str, host: str = "api.github.com") -> tuple[int, str]:
        """One request inside a tunnel, and its answer to the end."""
        with self.inside(host) as tunnel:
            tunnel.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            answer = b""
            with contextlib.suppress(ssl.SSLEOFError):
                while piece := tunnel.recv(64 * 1024):
                    answer += piece
        return int(answer.split(b" ")[1]), answer.decode()

    @property
    def token(self) -> str:
        return f"Authorization: token {self.environ['GITHUB_TOKEN']}"


@contextlib.contextmanager
def running(server: Served, *options: str, **environ: str) -> Iterator[Running]:
    told = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [f"{BIN}/valetkey", *RUN, *options, "--", f"{BIN}/python", "-c", told],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=server.environ | environ,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        found = Running(json.loads(line))
        yield found
        process.stdin.close()
        found.said += process.stderr.read().splitlines()


@pytest.fixture(scope="module")
def run(server: Served) -> Iterator[Running]:
    with running(server) as found:
        yield found


def test_without_the_password_there_is_407_and_nothing_else(server: Served, run: Running) -> None:
    before = len(server.github.requests)
    for authority in ("api.github.com:443", "slack.com:443", "127.0.0.1:1", "nonsense"):
        begin = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode()
        wrong = run.signed(run.password[:-1] + ("0" if run.password[-1] != "0" else "1"))
        for shown in (b"", wrong, run.signed("x"), run.signed() * 2, run.signed().replace(b"Basic", b"Bearer")):
            status, answer, connection = run.ask(begin + shown + b"\r\n")
            connection.close()
            assert status == 407
            assert 'Proxy-Authenticate: Basic realm="valetkey run"' in answer
            assert "github" not in answer
    assert run.status(b"GET http://api.github.com/ HTTP/1.1\r\nHost: api.github.com\r\n\r\n") == 407
    assert len(server.github.requests) == before


def test_it_listens_on_this_machine_alone(run: Running) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    places = re.findall(rf"\d+: ([0-9A-F]+):{run.port:04X} \S+ 0A", listening)
    assert places == ["0100007F"]


def test_a_request_inside_a_tunnel_goes_on_as_the_agents(server: Served, run: Running) -> None:
    status, answer = run.exchange(f"GET {ISSUES} HTTP/1.1", "Host: api.github.com", run.token)
    assert status == 200
    sent = server.github.requests[-1]
    assert sent.target == ISSUES
    assert sent.header("authorization") == f"Bearer {REAL_CREDENTIAL}"
    assert run.environ["GITHUB_TOKEN"] not in str(sent.headers)
    assert REAL_CREDENTIAL not in answer
    # Page two and every address in the body are the API's own, so that they lead into the proxy again.
    assert re.search(r'Link: <https://api\.github\.com/repositories/\d+/issues\?page=2>; rel="next"', answer, re.I)
    assert '"https://api.github.com/repos/acme-corp/backend' in answer
    assert server.url not in answer


def test_another_repository_is_refused_inside_a_tunnel(server: Served, run: Running) -> None:
    line = "GET /repos/acme-corp/payroll/issues HTTP/1.1"
    status, answer = run.exchange(line, "Host: api.github.com", run.token)
    assert (status, '"code":"denied"' in answer) == (403, True)


@pytest.mark.parametrize("shown", ["", "Authorization: Bearer ghp_somebodys", "X-Api-Key: vkrun-wrong"])
def test_without_the_placeholder_nothing_goes_on(server: Served, run: Running, shown: str) -> None:
    before = len(server.github.requests)
    lines = [f"GET {ISSUES} HTTP/1.1", "Host: api.github.com", *([shown] if shown else [])]
    assert run.exchange(*lines)[0] == 401
    assert len(server.github.requests) == before


def test_a_request_for_another_host_inside_a_tunnel_is_refused(server: Served, run: Running) -> None:
    before = len(server.github.requests)
    for named in ("github.com", "slack.com", "api.github.com.", "api.github.com:80", "127.0.0.1"):
        assert run.exchange(f"GET {ISSUES} HTTP/1.1", f"Host: {named}", run.token)[0] == 421
    twice = ("Host: api.github.com", "Host: api.github.com")
    assert run.exchange(f"GET {ISSUES} HTTP/1.1", *twice, run.token)[0] == 421
    assert run.exchange(f"GET {ISSUES} HTTP/1.1", run.token)[0] == 421
    target = f"GET https://api.github.com{ISSUES} HTTP/1.1"
    assert run.exchange(target, "Host: api.github.com", run.token)[0] == 400
    assert len(server.github.requests) == before
    assert run.exchange(f"GET {ISSUES} HTTP/1.1", "Host: API.github.com:443", run.token)[0] == 200


@pytest.mark.parametrize("name", ["github.com", "slack.com", ""])
def test_another_name_in_tls_than_in_the_tunnel_is_refused(run: Running, name: str) -> None:
    with pytest.raises(OSError, match=r"(?i)unrecognized|eof|reset"):
        run.inside(name=name)
    run.inside().close()


def test_only_http_1_1_is_spoken_inside(run: Running) -> None:
    with run.inside(alpn="h2") as tunnel:
        assert tunnel.selected_alpn_protocol() == "http/1.1"


def test_a_websocket_is_refused_in_words(run: Running) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    status, answer = run.exchange(f"GET {ISSUES} HTTP/1.1", "Host: api.github.com", run.token, *upgrade)
    assert status == 400
    assert "upgrades are not offered, but for a WebSocket where an operation takes one" in answer


@pytest.mark.parametrize("authority", ["slack.com:443", "SLACK.com:443", "slack.com.:443", "slack.com:8443"])
def test_an_api_that_was_not_granted_is_refused(server: Served, authority: str) -> None:
    with running(server) as run:
        status, answer, connection = run.connect(authority)
        connection.close()
        assert status == 403
        assert answer.startswith("HTTP/1.1 403 slack.com belongs to slack, which this run was not granted.\r\n")
        run.connect(authority)[2].close()
    [said] = run.said  # once, however often it is asked
    assert said.startswith(
        "valetkey: slack.com belongs to slack, which this run was not granted. Start it with --grant"
    )


def test_a_granted_api_is_reached_by_https_at_its_port_alone(run: Running) -> None:
    for authority in ("api.github.com:22", "github.com:22", "api.github.com:80"):
        status, answer, connection = run.connect(authority)
        connection.close()
        assert (status, "at no other" in answer) == (403, True)
    plain = f"GET http://api.github.com{ISSUES} HTTP/1.1\r\nHost: api.github.com\r\n{run.token}\r\n".encode()
    assert run.status(plain + run.signed() + b"\r\n") == 403


@pytest.mark.parametrize("authority", [":443", "a", "a:", "a:0", "a:65536", "a:x", "a b:1", "user@a:443", "::1:443"])
def test_a_tunnel_to_no_place_is_refused(run: Running, authority: str) -> None:
    assert run.status(f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n".encode() + run.signed() + b"\r\n") == 400


@contextlib.contextmanager
def echo() -> Iterator[str]:
    """Somebody who says back what one client says, at an address that is no API's."""
    with socket.create_server(("127.0.0.2", 0)) as listening:
        pid = os.fork()
        if pid == 0:
            connection, _ = listening.accept()
            while piece := connection.recv(1024):
                connection.sendall(piece.upper())
            os._exit(0)
        yield f"127.0.0.2:{listening.getsockname()[1]}"
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_any_other_host_is_led_through_untouched(run: Running) -> None:
    with echo() as place:
        status, _, connection = run.connect(place)
        assert status == 200
        connection.sendall(b"no tls at all")
        assert connection.recv(1024) == b"NO TLS AT ALL"
        connection.close()


def test_or_refused_where_the_run_says_so_but_for_those_it_names(server: Served) -> None:
    with echo() as place, running(server, "--other-hosts", "refuse") as run:
        status, answer, connection = run.connect(place)
        connection.close()
        assert (status, "127.0.0.2 is not an API of this run." in answer) == (403, True)
        assert run.exchange(f"GET {ISSUES} HTTP/1.1", "Host: api.github.com", run.token)[0] == 200
    with echo() as place, running(server, "--other-hosts", "refuse", "--tunnel", "127.0.0.2") as run:
        status, _, connection = run.connect(place)
        connection.close()
        assert status == 200


def test_the_authority_speaks_for_the_granted_hosts_alone(run: Running) -> None:
    first, *others = Path(run.environ["SSL_CERT_FILE"]).read_text().split("-----END CERTIFICATE-----")
    ours = x509.load_pem_x509_certificate(f"{first}-----END CERTIFICATE-----".encode())
    assert "valetkey" in ours.subject.rfc4514_string()
    limits = ours.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert limits.value.permitted_subtrees == [x509.DNSName("api.github.com"), x509.DNSName("github.com")]
    assert len(others) > 20, "what the machine trusts is in it too"


def test_two_runs_have_two_authorities_and_passwords(server: Served, run: Running) -> None:
    with running(server) as other:
        assert other.password != run.password
        assert Path(other.environ["SSL_CERT_FILE"]).read_bytes() != Path(run.environ["SSL_CERT_FILE"]).read_bytes()


def test_no_file_of_the_run_holds_a_key_or_a_secret(server: Served, tmp_path: Path) -> None:
    secret = json.loads((server.home / ".config/valetkey/profile.json").read_text())["servers"][server.url]
    secrets = [
        REAL_CREDENTIAL,
        secret["credential"],
        secret["agents"]["pr-reviewer-v2"]["secret"],
        "PRIVATE KEY",
        "eyJhbGci",
    ]
    with running(server, TMPDIR=str(tmp_path)) as run:
        run.inside().close()  # by now every key there will be is there
        [folder] = tmp_path.iterdir()
        [file] = folder.iterdir()
        assert str(file) == run.environ["SSL_CERT_FILE"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for one in (file.read_text(), json.dumps(run.environ)):
            assert not [secret for secret in secrets if secret in one]
    assert not list(tmp_path.iterdir())


def test_every_client_is_told_whom_to_trust_and_what_to_use(run: Running) -> None:
    trusted = {run.environ[name] for name in (
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE", "DENO_CERT",
    )}  # fmt: skip
    assert len(trusted) == 1
    proxies = {
        run.environ[name] for upper in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
    }
    assert proxies == {f"http://valetkey:{run.password}@127.0.0.1:{run.port}"}
    assert run.environ["NODE_USE_ENV_PROXY"] == "1"
    assert run.environ["NO_PROXY"] == run.environ["no_proxy"] == "localhost,127.0.0.1,::1"


def test_no_other_proxy_is_left_that_a_client_would_ask_first(server: Served) -> None:
    others = dict.fromkeys(("WSS_PROXY", "wss_proxy", "ws_proxy", "SOCKS_PROXY"), "http://127.0.0.1:9")
    with running(server, **others) as run:
        assert not others.keys() & run.environ.keys()


def test_the_proxy_ends_with_the_command(server: Served) -> None:
    with running(server) as run:
        run.inside().close()
    with pytest.raises(ConnectionRefusedError):
        run.connect("api.github.com:443")


def test_what_goes_into_a_tunnel_too_early_is_refused(run: Running) -> None:
    authority = b"CONNECT api.github.com:443 HTTP/1.1\r\nHost: api.github.com:443\r\n"
    assert run.status(authority + run.signed() + b"\r\n" + b"\x16\x03\x01") == 400
