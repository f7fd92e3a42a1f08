"""Turning facts into a page: templates that escape everything, and the headers every page carries.

No script runs unless the page says so, nothing is framed, nothing is cached, no address leaks to the next site.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import Response

ICONS: Final = {"icon-180.png": 180, "icon-192.png": 192, "icon-512.png": 512}
"""How a home screen shows us, and how many pixels each side has. All of each is the picture, so it may be cut round."""

_STATIC: Final = {
    name: resources.files("valetkey.server.web").joinpath("static", name).read_bytes()
    for name in ("valetkey.css", "passkey.js", "approvals.js", "push.js", "audit.js", *ICONS)
}
_KINDS: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "png": "image/png"}
ADDRESSES: Final = {
    name: f"/static/{hashlib.sha256(content).hexdigest()[:16]}/{name}" for name, content in _STATIC.items()
}
"""Where each static file is: the digest is part of the address, so it can be cached for good."""

WORKER: Final = resources.files("valetkey.server.web").joinpath("static", "worker.js").read_bytes()
"""What runs in a browser when no page of ours is open. Its address never changes, so browsers look for a newer one."""
WORKER_HEADERS: Final = {
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}

MANIFEST: Final = json.dumps(
    {
        "id": "/",
        "name": "Valetkey",
        "short_name": "Valetkey",
        "start_url": "/approvals",
        "scope": "/",
        "display": "standalone",
        "background_color": "#123c4a",
        "theme_color": "#123c4a",
        "icons": [
            {"src": ADDRESSES[name], "sizes": f"{side}x{side}", "type": "image/png", "purpose": purpose}
            for name, side in ICONS.items()
            for purpose in ("any", "maskable")
        ],
    }
)
"""What a phone reads when our page is put on its home screen: only there do iPhones show notices of a page's."""
MANIFEST_HEADERS: Final = {
    "content-type": "application/manifest+json",
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}

_environment: Final = Environment(
    loader=PackageLoader("valetkey.server.web"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["static"] = ADDRESSES


def page(
    template: str,
    facts: dict[str, Any],
    *,
    status: int = 200,
    script: bool = False,
    submits_to: Sequence[str] = (),
) -> Response:
    """Render a page. `script`: our own files may run. `submits_to`: other origins a form's answer may lead on to."""
    content = _environment.get_template(template).render(script=script, **facts)
    return Response(content, status, headers=security_headers(script=script, submits_to=submits_to))


def security_headers(*, script: bool = False, submits_to: Sequence[str] = ()) -> dict[str, str]:
    """What every page carries (RFC 9700 section 4.16)."""
    # NOTE: browsers apply form-action to where a form's answer redirects, so a consent page names the client's origin.
    policy = [
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "manifest-src 'self'",
        " ".join(["form-action 'self'", *submits_to]),
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    if script:
        policy += ["script-src 'self'", "connect-src 'self'"]
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(policy),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cache-control": "no-store",
    }


def static(name: str, digest: str) -> Response | None:
    """A file of ours, at the address its content gives it."""
    if ADDRESSES.get(name) != f"/static/{digest}/{name}":
        return None
    headers = {
        "content-type": _KINDS[name.rpartition(".")[2]],
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(_STATIC[name], headers=headers)
