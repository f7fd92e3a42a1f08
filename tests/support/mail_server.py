"""A mail server on loopback: keeps every line it was sent, says what it is told to, and speaks little SMTP.

`tls` is its certificate; `implicit` begins with TLS; without `starttls` it offers none.
"""

import asyncio
import ssl
from base64 import b64decode
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


class MailServer:
    """`async with MailServer(tls) as server:`; `server.mails` are the messages it took, `server.lines` all it heard."""

    def __init__(self, tls: ssl.SSLContext, *, implicit: bool = False, starttls: bool = True) -> None:
        self._tls = tls
        self._implicit = implicit
        self._starttls = starttls
        self.lines: list[bytes] = []  # in the clear and inside TLS alike
        self.clear: list[bytes] = []
        self.logins: list[tuple[str, str]] = []
        self.raw: list[bytes] = []
        self.recipients: list[bytes] = []
        self.refuses = b""  # a verb that is answered with 550
        self.port = 0

    async def __aenter__(self) -> "MailServer":
        tls = self._tls if self._implicit else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(raw, policy=default) for raw in self.raw]  # type: ignore[misc]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, ssl.SSLError):  # who does not believe the certificate leaves
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_safe = self._implicit
        writer.write(b"220 mail.test ESMTP\r\n")
        while line := await reader.readline():
            self.lines.append(line)
            if not is_safe:
                self.clear.append(line)
            verb = line.split(b":")[0].split()[0].upper() if line.strip() else b""
            if self.refuses and verb == self.refuses:
                writer.write(b"550 no, and a secret of the server\r\n")
                continue
            match verb:
                case b"EHLO" if self._starttls and not is_safe:
                    writer.write(b"250-mail.test\r\n250 STARTTLS\r\n")
                case b"EHLO":
                    writer.write(b"250-mail.test\r\n250 AUTH PLAIN\r\n")
                case b"STARTTLS":
                    writer.write(b"220 go\r\n")
                    await writer.drain()
                    await writer.start_tls(self._tls)
                    is_safe = True
                case b"AUTH":
                    _, name, password = b64decode(line.split()[2]).decode().split("\0")
                    self.logins.append((name, password))
                    writer.write(b"235 ok\r\n" if password == "right" else b"535 no\r\n")
                case b"RCPT":
                    self.recipients.append(line.strip())
                    writer.write(b"250 ok\r\n")
                case b"DATA":
                    writer.write(b"354 go\r\n")
                    body = await reader.readuntil(b"\r\n.\r\n")
                    self.raw.append(body[:-3])
                    writer.write(b"250 taken\r\n")
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")
            await writer.drain()
