"""Calls accepted after a revocation was acknowledged: there must be none, under load, however often it is tried."""

import http.client
import threading
import time
from urllib.parse import urlsplit

from bench.deployment import ISSUES, Deployment
from bench.rows import Row

ROUNDS = 5
CALLERS = 8
LOAD_SECONDS = 0.4
AFTER_SECONDS = 0.4


def row(house: Deployment) -> Row:
    """Revoke a task while callers use its token; count what was accepted of the calls begun after the answer."""
    accepted_before = accepted_after = calls_after = 0
    waits = []
    for _ in range(ROUNDS):
        task = house.task_opened()
        token = house.token(task["task_token"])
        seen: list[tuple[float, int]] = []
        ended = threading.Event()
        callers = [threading.Thread(target=_call, args=(house.url, token, seen, ended)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        time.sleep(LOAD_SECONDS)
        began = time.monotonic()
        house.alice.revocations.create(task["id"])
        acknowledged = time.monotonic()
        waits.append((acknowledged - began) * 1000)
        time.sleep(AFTER_SECONDS)
        ended.set()
        for caller in callers:
            caller.join()
        after = [status for at, status in seen if at >= acknowledged]
        calls_after += len(after)
        accepted_after += sum(status < 400 for status in after)
        accepted_before += sum(status < 400 for at, status in seen if at < acknowledged)
    if not calls_after or not accepted_before:
        raise RuntimeError("the revocation was not under load")
    return Row(
        id="revoke",
        ours=accepted_after,
        goal=0,
        met=accepted_after == 0,
        note=f"calls accepted of {calls_after:,} begun after the acknowledgement; "
        f"{accepted_before:,} accepted before; acknowledged within {max(waits):.0f} ms",
    )


def _call(url: str, token: str, seen: list[tuple[float, int]], ended: threading.Event) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    while not ended.is_set():
        at = time.monotonic()
        try:
            connection.request("GET", ISSUES, headers={"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            seen.append((at, answer.status))
        except (http.client.HTTPException, ConnectionError):
            connection.close()  # cut in the middle, as a revocation may: it did not get its answer
            seen.append((at, 499))
    connection.close()
