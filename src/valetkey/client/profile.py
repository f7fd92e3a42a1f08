"""Where a login lives between commands: one JSON file that only its owner can read.

`$XDG_CONFIG_HOME/valetkey/profile.json` (or `~/.config/…`), mode 0600 in a folder of mode 0700; looser ones are
refused, not repaired. Holds, per server, the CLI credential and the agent secrets saved with `--save`. `VALETKEY_URL`
and `VALETKEY_TOKEN` win over it. Knows no network.
"""

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from valetkey.client.credentials import ClientSecret, Proof, UserCredential, from_text
from valetkey.client.errors import NotAuthenticated, NotFound, ValetkeyError

DEFAULT_URL: Final = "http://localhost:8470"
_FILE: Final = "profile.json"


class LooseFile(ValetkeyError):
    """The file of logins is not private."""

    usual_hint = "Make it private, and log in again if somebody may have read it."


class Profile:
    """The logins of one person on one machine."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        base = self._environ.get("XDG_CONFIG_HOME") or str(Path(self._environ.get("HOME") or Path.home()) / ".config")
        self.folder = Path(base) / "valetkey"
        self.path = self.folder / _FILE

    @property
    def url(self) -> str:
        """The server: `VALETKEY_URL`, else the one last signed in to, else the default on this machine."""
        return (self._environ.get("VALETKEY_URL") or self._read().get("current") or DEFAULT_URL).rstrip("/")

    def credential(self) -> Proof:
        """`VALETKEY_TOKEN`, else the stored login for `url`. Raises `NotAuthenticated`."""
        if token := self._environ.get("VALETKEY_TOKEN"):
            return from_text(token)
        credential = self._server().get("credential")
        if not credential:
            raise NotAuthenticated(f"Nobody is signed in at {self.url}.", hint="Sign in: valetkey login")
        return UserCredential(credential)

    def agent(self, name: str | None) -> ClientSecret:
        """The agent's own proof, by name or id; the only one saved where none is named. Raises `NotFound`.

        `VALETKEY_AGENT` names one, `VALETKEY_AGENT_SECRET` holds the secret; both win over what is saved.
        """
        name = name or self._environ.get("VALETKEY_AGENT")
        if secret := self._environ.get("VALETKEY_AGENT_SECRET"):
            if not name:
                raise NotFound("VALETKEY_AGENT_SECRET is set, but which agent it belongs to is not.", hint=_NAME_ONE)
            return ClientSecret(name, secret)
        saved: dict[str, dict[str, str]] = self._server().get("agents", {})
        if not name and len(saved) == 1:
            name = next(iter(saved))
        if not name:
            raise NotFound(f"{len(saved)} agents are saved here; none was named.", hint=_NAME_ONE)
        for known, agent in saved.items():
            if name in (known, agent["id"]):
                return ClientSecret(agent["id"], agent["secret"])
        raise NotFound(
            f"The secret of the agent {name} is not on this machine.",
            hint=f"Set VALETKEY_AGENT_SECRET, or renew and keep it: valetkey agent rotate {name} --save",
        )

    @property
    def gateway(self) -> str | None:
        """Where agents reach APIs at this server, as it was at login."""
        return self._server().get("gateway")

    def keep_login(self, url: str, *, credential: str, user: str, gateway: str) -> None:
        """Remember a login and make its server the current one."""

        def change(document: dict[str, Any]) -> None:
            server = document.setdefault("servers", {}).setdefault(url, {})
            server.update(credential=credential, user=user, gateway=gateway)
            document["current"] = url

        self._change(change)

    def drop_login(self) -> bool:
        """Forget the login at `url`; whether there was one."""
        if not self._server().get("credential"):
            return False
        url = self.url
        self._change(lambda document: document["servers"][url].pop("credential"))
        return True

    def keep_agent(self, name: str, *, agent_id: str, secret: str) -> None:
        """Remember an agent's secret."""
        url = self.url

        def change(document: dict[str, Any]) -> None:
            agents = document.setdefault("servers", {}).setdefault(url, {}).setdefault("agents", {})
            for known in [known for known, agent in agents.items() if agent["id"] == agent_id]:
                del agents[known]
            agents[name] = {"id": agent_id, "secret": secret}

        self._change(change)

    def saved_agents(self) -> dict[str, str]:
        """Names and ids of the agents whose secrets are here."""
        return {name: agent["id"] for name, agent in self._server().get("agents", {}).items()}

    def _server(self) -> dict[str, Any]:
        found: dict[str, Any] = self._read().get("servers", {}).get(self.url, {})
        return found

    def _read(self) -> dict[str, Any]:
        try:
            _refuse_loose(self.folder, self.folder.stat(), most=0o700)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        with os.fdopen(descriptor, "rb") as file:
            _refuse_loose(self.path, os.fstat(descriptor), most=0o600)
            text = file.read()
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ValetkeyError(f"{self.path} cannot be read.", hint="Move it away and log in again: valetkey login")
        return document

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            document = self._read()
            change(document)
            fresh = self.path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(document, indent=2).encode())
                file.flush()
                os.fsync(descriptor)
            fresh.replace(self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


_NAME_ONE: Final = "Name one: --agent NAME (or VALETKEY_AGENT)"


def _refuse_loose(path: Path, found: os.stat_result, *, most: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~most:
        raise LooseFile(
            f"{path} has mode {mode:04o}: others on this machine can reach your logins.", hint=f"chmod {most:o} {path}"
        )
    if found.st_uid != os.geteuid():
        raise LooseFile(f"{path} belongs to somebody else.", hint="Log in as the user it belongs to.")
