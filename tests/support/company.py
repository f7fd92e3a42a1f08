"""A company's identity provider nobody here wrote: npm oidc-provider 9, with employees who walk through it.

`Employee` is the browser at the provider's side: keeps its cookies, follows its redirects, types a name.
"""

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.support import node
from tests.support.http import Reply, call

_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Company:
    """The running provider."""

    issuer: str
    client_secret: str = "the company's secret"

    async def knows(self, *callbacks: str) -> None:
        """Register our redirect addresses there."""
        assert (await call(self.issuer, "POST", "/callbacks", json=callbacks)).status == 200

    async def lies(self, **lies: Any) -> None:
        """Change one fact of its next answers; nothing makes it honest again."""
        assert (await call(self.issuer, "POST", "/lies", json=lies)).status == 200


@dataclass
class Employee:
    """A fresh browser at the company's provider."""

    company: Company
    cookies: dict[str, str] = field(default_factory=dict)

    async def signs_in(self, address: str, login: str) -> str:
        """From where we sent the browser to where the provider sends it back: path and query on our side."""
        target = address
        for _ in range(6):
            reply = await self._go("GET", target)
            where = urljoin(target, reply.header("location") or "")
            if urlsplit(where).netloc != urlsplit(self.company.issuer).netloc:
                assert reply.status == 303, reply.body
                back = urlsplit(where)
                return f"{back.path}?{back.query}"
            if urlsplit(where).path.startswith("/interaction/"):
                reply = await self._go("POST", where, form={"login": login})
                where = urljoin(where, reply.header("location") or "")
            assert reply.status == 303, reply.body
            target = where
        raise AssertionError("redirected for ever")

    async def _go(self, method: str, address: str, **more: Any) -> Reply:
        parts = urlsplit(address)
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        reply = await call(self.company.issuer, method, target, headers=headers if self.cookies else {}, **more)
        for name, value in reply.headers:
            if name == "set-cookie":
                pair, _, _ = value.partition(";")
                key, _, kept = pair.partition("=")
                self.cookies[key] = kept
                if not kept:
                    del self.cookies[key]
        return reply


@contextlib.contextmanager
def company(people: dict[str, dict[str, Any]]) -> Iterator[Company]:
    """Run it for these people, `{subject: claims}`; end it with the block."""
    node.link("company_provider.mjs")
    command = [str(node.NODE), "--preserve-symlinks-main", str(node.FOLDER / "company_provider.mjs")]
    environment = {"PATH": os.defpath, "NODE_ENV": "production", "PEOPLE": json.dumps(people)}
    with subprocess.Popen(
        node.leashed(command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
            line = process.stdout.readline() if ready else b""
            assert line, "oidc-provider did not start"
            yield Company(json.loads(line)["url"])
        finally:
            process.kill()
