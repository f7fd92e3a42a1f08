"""The yardstick of the decision door: the same server as ours, saying yes to every question. A program.

`python -m bench.no_op_decision`. No check, no record, no credential of anybody. Prints its address.
"""

from typing import Any

import uvloop

from valetkey.server import listen

_YES = [
    (b"authorization", b"Bearer of-the-bench"),
    (b"user-agent", b"bench"),
    (b"x-decision-id", b"aud_0"),
    (b"content-length", b"0"),
]


async def _say_yes(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": _YES})
        await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    """Serve until SIGTERM."""
    await listen.serve(
        _say_yes, host="127.0.0.1", port=0, ready=lambda port: print(f"http://127.0.0.1:{port}", flush=True)
    )


if __name__ == "__main__":
    uvloop.run(main())
