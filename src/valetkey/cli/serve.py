"""`valetkey serve`: one server process until SIGTERM or SIGINT. Prints where it is and, once, the bootstrap code."""

import asyncio
import contextlib
import gc
import json as json_text
import os
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from valetkey import __version__
from valetkey.cli import exit_codes
from valetkey.cli.options import Json
from valetkey.cli.output import notice

if TYPE_CHECKING:
    from valetkey.server.app import App
    from valetkey.server.settings import Settings

_GARBAGE_THRESHOLDS = (20_000, 20, 50)  # a call makes a few hundred objects, and nearly all end with it


def serve(
    *,
    host: Annotated[str | None, Parameter(help="The address to listen on; VALETKEY_HOST otherwise.")] = None,
    port: Annotated[int | None, Parameter(help="The port; VALETKEY_PORT otherwise, or 8470.")] = None,
    data: Annotated[str | None, Parameter(help="The folder of database and keys; VALETKEY_DATA otherwise.")] = None,
    json: Json = False,
) -> int:
    """Start the server. Settings come from valetkey.toml and VALETKEY_*; the first start prints a one-time code.

    For example: valetkey serve --data /var/lib/valetkey
    """
    import uvloop

    from valetkey.server.settings import load_settings

    given: dict[str, Any] = {"VALETKEY_HOST": host, "VALETKEY_PORT": port, "VALETKEY_DATA": data}
    environ = {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}
    settings = load_settings(environ)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if runner.run(_serve(settings, as_json=json)):
            notice("Sealed: the key service no longer unlocks the root key. Start again when it answers.")
            return exit_codes.FAILURE
    return exit_codes.OK


async def _serve(settings: "Settings", *, as_json: bool) -> bool:
    """Whether it stopped because it was sealed."""
    from valetkey.server import listen
    from valetkey.server.app import build
    from valetkey.server.room import open_more_files

    open_more_files()
    app = build(settings)
    await app.start()
    # What is there now stays for good; looking through it again and again would cost every call a tenth of its time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        health_port = settings.health_port or settings.port + 1
        async with contextlib.AsyncExitStack() as opened:
            await opened.enter_async_context(listen.Listener(app.health, host=settings.host, port=health_port))
            if settings.decision_port:
                # Real credentials are in its answers: on loopback only, whatever the public port listens on.
                decisions = listen.Listener(app.decisions, host="127.0.0.1", port=settings.decision_port)
                await opened.enter_async_context(decisions)
            if settings.decision_grpc_port:
                from valetkey.server.gateway.engine_grpc import GrpcDecisions

                by_grpc = GrpcDecisions(app.deciding, app.still.sealed.is_set, port=settings.decision_grpc_port)
                await opened.enter_async_context(by_grpc)

            def ready(_port: int) -> None:
                _announce(app, settings, as_json=as_json)

            await listen.serve(app.asgi, host=settings.host, port=settings.port, ready=ready, until=app.still.sealed)
            return bool(app.still.sealed.is_set())
    finally:
        await app.close()


def _announce(app: "App", settings: "Settings", *, as_json: bool) -> None:
    code = None if app.bootstrap is None else app.bootstrap.reveal()
    if as_json:
        facts = {"url": settings.issuer, "gateway": settings.gateway, "pid": os.getpid(), "pin": app.pin}
        print(json_text.dumps(facts | ({} if code is None else {"bootstrap": code})), flush=True)
        return
    print(f"valetkey {__version__} serves {settings.issuer} from {settings.data}", flush=True)
    print(f"checkpoint key, to pin: {app.pin}", flush=True)
    if code is not None:
        print(f"one-time code: {code}", flush=True)
        notice("Nobody has signed in yet. The code makes its first user the administrator; it is shown only now.")
        notice("  valetkey login --email YOU@YOUR.COMPANY")
