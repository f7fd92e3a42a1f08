"""Writes docs/api.md from /openapi.json."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from valetkey.server.app import build
from valetkey.server.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = """# What programs call

Every address, from the server's own `/openapi.json` (OpenAPI 3.1), which has the schemas. One line each: what it takes,
what it gives, the scope a service account needs, and the codes it refuses with besides those every address has.

- A call to `/v1` bears one token of this API: `Authorization: Bearer …`, from `/oauth/token`. Those under
  `/v1/login` need none.
- Bodies are JSON without unknown members; an address that takes no parameters refuses them.
- Lists have `limit` (1 to 200, else 50) and `cursor`; they answer `data`, `next_cursor`, `has_more`.
- Refusals are problem details (RFC 9457): `code` for programs, `detail` and `hint` for people. Those under `/oauth`
  have the shape of RFC 6749. Wherever `/v1` needs a token:
  {everywhere}.
- Calls to the APIs behind Valetkey go to `/p/{{integration}}/…` with a delegated credential; the rest of the address,
  the body and the answer are that API's own.

"""


def page(document: Any) -> str:
    """The whole page."""
    rows = [_row(document, *operation) for operation in _operations(document)]
    table = ["| address | what for | takes | gives | scope | refuses |", "|---|---|---|---|---|---|", *rows]
    return HEAD.format(everywhere=", ".join(f"`{code}`" for code in _everywhere(document))) + "\n".join(table) + "\n"


def _operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, said) for path, methods in document["paths"].items() for method, said in methods.items()]


def _codes(document: Any, said: Any) -> set[str]:
    """The closed list of one operation."""
    codes: set[str] = set()
    for response in said["responses"].values():
        if "$ref" in response:
            refused = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
            (media,) = refused["content"].values()
            (member,) = media["schema"]["allOf"][1]["properties"].values()
            codes |= set(member["enum"])
    return codes


def _everywhere(document: Any) -> list[str]:
    of_v1 = [
        _codes(document, said)
        for path, _, said in _operations(document)
        if path.startswith("/v1") and said["security"]  # /v1/login needs no token
    ]
    return sorted(set.intersection(*of_v1))


def _row(document: Any, path: str, method: str, said: Any) -> str:
    body = [_named(media["schema"]) for media in said.get("requestBody", {}).get("content", {}).values()]
    query = [p["name"] for p in said.get("parameters", []) if p["in"] == "query"]
    gives = next(response for status, response in said["responses"].items() if status < "400")
    given = [
        f"`{media}`" if "json" not in media or media.endswith("ndjson") else _named(content["schema"])
        for media, content in gives.get("content", {}).items()
    ]
    scopes = [f"`{scope}`" for way in said["security"] for scope in next(iter(way.values()), [])]
    codes = _codes(document, said) - (set(_everywhere(document)) if path.startswith("/v1") else set())
    takes = ", ".join([*body, *query])
    refuses = ", ".join(sorted(codes))
    cells = (f"`{method.upper()} {path}`", said["summary"], takes, ", ".join(given), ", ".join(scopes), refuses)
    return "| " + " | ".join(cells) + " |"


def _named(schema: Any) -> str:
    if "$ref" not in schema:
        return "an object"
    name = str(schema["$ref"].rpartition("/")[2])
    return f"page of {name.removeprefix('Listed_').removesuffix('_')}" if name.startswith("Listed_") else name


async def document() -> Any:
    """The document of a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        app = build(Settings(data=Path(folder)))
        await app.start()
        try:
            return app.mount.document
        finally:
            await app.close()


if __name__ == "__main__":
    FILE.write_text(page(asyncio.run(document())))
