"""What an ordinary slack_sdk program does with SLACK_API_URL and SLACK_TOKEN: prints one JSON object, step by step.

Run as a program, by a Python that has slack_sdk and nothing of ours.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from slack_sdk import WebClient  # type: ignore[import-not-found]
from slack_sdk.errors import SlackApiError  # type: ignore[import-not-found]

client = WebClient(token=os.environ["SLACK_TOKEN"], base_url=os.environ["SLACK_API_URL"])


def step(act: Callable[[], Any]) -> dict[str, Any]:
    """What came of it, as the SDK reports it."""
    try:
        return {"ok": True, "value": act()}
    except SlackApiError as refused:
        return {
            "ok": False,
            "status": refused.response.status_code,
            "error": refused.response.get("error"),
            "text": str(refused),
        }


BLOCKS = [{"type": "section", "text": {"type": "mrkdwn", "text": "from *slack_sdk*"}}]
steps = {
    "post": step(
        lambda: client.chat_postMessage(channel="#engineering", text="from slack_sdk", blocks=BLOCKS)["channel"]
    ),
    "elsewhere": step(lambda: client.chat_postMessage(channel="#random", text="from slack_sdk")["channel"]),
    "everybody": step(lambda: client.chat_postMessage(channel="#engineering", text="<!channel> look")["channel"]),
    "members": step(lambda: len(client.conversations_list()["channels"])),
    "search": step(lambda: client.search_messages(query="from")["messages"]),
}
print(json.dumps(steps))
