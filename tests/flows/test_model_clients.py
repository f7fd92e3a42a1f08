"""The SDKs of two model providers through the gateway: a key is put in, streams arrive, the rest is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import node, scripts
from tests.support.house import House, open_house
from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")

OPENAI_KEY = "sk-proj-realKeyOfAlice0123456789abcdef"
ANTHROPIC_KEY = "sk-ant-api03-realKeyOfAlice0123456789abcdef"


async def test_stock_clients_ask_models_with_a_key_they_do_not_have(tmp_path: Path) -> None:
    async with Upstream() as openai, Upstream() as anthropic:
        furnish(openai, anthropic)
        places = {"openai": openai.url, "anthropic": anthropic.url}
        local = tuple(url.removeprefix("http://") for url in places.values())
        async with open_house(tmp_path / "data", upstreams=places, local=local) as house:
            token = await credentials(house)
            steps = await story(house, token)
            assert {name for name, step in steps.items() if not step["ok"]} == {"openai_batch", "anthropic_batches"}
            assert steps["openai_models"]["value"] == ["gpt-x"]
            assert [steps[f"openai_{how}"]["value"] for how in ("chat", "stream")] == ["hello", "hello"]
            assert [steps[f"anthropic_{how}"]["value"] for how in ("message", "stream")] == ["hello", "hello"]
            for refused in (steps["openai_batch"], steps["anthropic_batches"]):
                assert refused["status"] == 403
                assert "batches/create is a write; delegated: models:ask, models:read" in refused["message"]
            assert {seen.header("authorization") for seen in openai.seen} == {f"Bearer {OPENAI_KEY}".encode()}
            assert {seen.header("x-api-key") for seen in anthropic.seen} == {ANTHROPIC_KEY.encode()}
            assert not any(seen.header("authorization") for seen in anthropic.seen)
            said = json.dumps(steps)
            assert OPENAI_KEY not in said
            assert ANTHROPIC_KEY not in said


async def test_what_was_not_delegated_is_denied_to_the_same_clients(tmp_path: Path) -> None:
    async with Upstream() as openai, Upstream() as anthropic:
        furnish(openai, anthropic)
        places = {"openai": openai.url, "anthropic": anthropic.url}
        local = tuple(url.removeprefix("http://") for url in places.values())
        async with open_house(tmp_path / "data", upstreams=places, local=local) as house:
            token = await credentials(house, scopes="models:read")
            steps = await story(house, token)
            assert {name for name, step in steps.items() if step["ok"]} == {"openai_models"}
            assert [seen.target for seen in openai.seen] == [b"/models"]
            assert anthropic.seen == []


def furnish(openai: Upstream, anthropic: Upstream) -> None:
    openai.answers("GET", "/models", json={"object": "list", "data": [{"id": "gpt-x", "object": "model"}]})
    openai.answers("POST", "/chat/completions", script=_openai)
    anthropic.answers("POST", "/v1/messages", script=_anthropic)


async def _openai(seen: Seen, wire: Wire) -> None:
    if not json.loads(seen.body).get("stream"):
        await _json(wire, {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}]})
        return
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("hel", "lo")]
    await _events(seen, wire, [f"data: {json.dumps(event)}" for event in events] + ["data: [DONE]"])


async def _anthropic(seen: Seen, wire: Wire) -> None:
    if not json.loads(seen.body).get("stream"):
        await _json(wire, {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}]})
        return
    deltas = [{"type": "text_delta", "text": text} for text in ("hel", "lo")]
    events = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events.append({"type": "message_stop"})
    await _events(seen, wire, [f"event: {event['type']}\ndata: {json.dumps(event)}" for event in events])


async def _json(wire: Wire, document: Any) -> None:
    await wire.say(reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode()))


async def _events(seen: Seen, wire: Wire, events: list[str]) -> None:
    pieces = [f"{event}\n\n".encode() for event in events]
    await scripts.chunked(*pieces, headers={"Content-Type": "text/event-stream"})(seen, wire)


async def credentials(house: House, scopes: str = "models:read,models:ask") -> dict[str, str]:
    """One credential for each API, of one task."""
    for integration, key in (("openai", OPENAI_KEY), ("anthropic", ANTHROPIC_KEY)):
        await house.alice.does("POST", "/v1/connections", integration=integration, credential=key)
    agent = await house.agent("assistant")
    delegation = await house.delegate(agent, f"openai:{scopes}@*", f"anthropic:{scopes}@*")
    task = await house.task(delegation)
    audiences = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
    return {name: await agent.token(task["task_token"], resource=audience) for name, audience in audiences.items()}


async def story(house: House, token: dict[str, str]) -> Any:
    env = {
        "OPENAI_BASE_URL": f"{house.base}/p/openai",
        "OPENAI_API_KEY": token["openai"],
        "ANTHROPIC_BASE_URL": f"{house.base}/p/anthropic",
        "ANTHROPIC_API_KEY": token["anthropic"],
    }
    done = await asyncio.to_thread(node.run, "models_story.mjs", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
