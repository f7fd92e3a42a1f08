"""A server starts, says where it listens, and stops in good order; in this process and as a process of its own."""

import asyncio
import signal
import sys
from typing import Any

import pytest

from valetkey.server.listen import Listener

PROGRAM = """
import asyncio
from valetkey.server.listen import serve

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})

asyncio.run(serve(app, host="127.0.0.1", port=0, ready=lambda port: print(port, flush=True)))
print("stopped", flush=True)
"""


async def asked(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_process_tells_its_port_and_stops_on_a_signal(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    assert (await asked(port)).endswith(b"hello")

    process.send_signal(number)

    said, complained = await process.communicate()
    assert (process.returncode, said, complained) == (0, b"stopped\n", b"")
    with pytest.raises(ConnectionRefusedError):
        await asked(port)


async def test_an_answer_under_way_is_finished_before_the_listener_stops() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await finish.wait()
        await send({"type": "http.response.body", "body": b"whole"})

    async with Listener(app) as listener:
        asking = asyncio.create_task(asked(listener.port))
        await begun.wait()
        asyncio.get_running_loop().call_soon(finish.set)

    assert b"whole" in await asking


async def test_start_up_and_end_of_an_application_run_around_its_requests() -> None:
    events = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            message = await receive()
            events.append(message["type"])
            await send({"type": message["type"] + ".complete"})

    async with Listener(app, lifespan=True):
        events.append("listening")

    assert events == ["lifespan.startup", "listening", "lifespan.shutdown"]


async def test_an_application_that_does_not_start_is_never_listened_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("no database")

    listener = Listener(app, lifespan=True)

    with pytest.raises(RuntimeError, match="did not start"):
        async with listener:
            pass


async def test_a_port_in_use_is_an_error_at_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    async with Listener(app) as first:
        with pytest.raises(OSError, match="in use"):
            async with Listener(app, port=first.port):
                pass
