"""The lists of header names that do not cross the gateway, each with the reason it does not.

Responsible for names only, lower-case; refuses to know values and messages.
"""

from functools import lru_cache
from typing import Final

_ONE_HOP: Final = (
    "connection http2-settings keep-alive proxy-authenticate proxy-authentication-info proxy-authorization "
    "proxy-connection te trailer transfer-encoding upgrade"
)
_CREDENTIALS: Final = (
    "api-key apikey authorization authentication cookie cookie2 dpop job-token ocp-apim-subscription-key private-token "
    "x-amz-security-token x-api-key x-apikey x-auth x-auth-email x-auth-key x-client-cert x-client-secret x-github-otp "
    "x-goog-iam-authorization-token x-session-id x-ssl-client-cert"
)
_CREDENTIAL_ENDINGS: Final = (
    "-access-key -api-key -apikey -authorization -credential -credentials -jwt -password -secret -secret-key -token"
)
_ORIGIN_CLAIMS: Final = (
    "cf-connecting-ip client-ip forwarded origin referer true-client-ip via x-client-ip x-cluster-client-ip "
    "x-forwarded x-host x-real-ip x-remote-user x-rewrite-url x-url-scheme"
)
_ORIGIN_CLAIM_STARTS: Final = "cf-access- proxy- sec- x-envoy- x-forwarded- x-original- x-proxy- x-remote- x-valetkey-"
_OURS_TO_SET: Final = "accept-encoding early-data expect host max-forwards user-agent"
_LINKS_THAT_LAST: Final = "public-file-urls-expire-in"  # Linear puts addresses into its answer that need no credential
_METHOD_OVERRIDES: Final = "x-http-method x-http-method-override x-method x-method-override"

_ACTS_ON_ORIGIN: Final = (
    "accept-ch activate-storage-access alt-svc authentication-info clear-site-data content-security-policy "
    "content-security-policy-report-only critical-ch expect-ct nel origin-agent-cluster public-key-pins "
    "public-key-pins-report-only refresh report-to reporting-endpoints service-worker-allowed set-cookie set-cookie2 "
    "set-login sourcemap speculation-rules strict-transport-security timing-allow-origin use-as-dictionary "
    "www-authenticate x-content-type-options x-sourcemap"
)
_ACTS_ON_CACHES: Final = "age cache-control expires pragma surrogate-control cdn-cache-control"
_ACTS_ON_FRONT_SERVER: Final = "x-lighttpd-send-file x-sendfile x-sendfile2"  # a web server before us would obey these
_ANSWER_STARTS: Final = ("access-control-", "proxy-", "x-accel-", "x-valetkey-")


def _names(*lists: str) -> frozenset[bytes]:
    return frozenset(name.encode("ascii") for names in lists for name in names.split())


_CALL_NAMES: Final = _names(_ONE_HOP, _CREDENTIALS, _ORIGIN_CLAIMS, _OURS_TO_SET, _LINKS_THAT_LAST)
_CALL_STARTS: Final = tuple(_names(_ORIGIN_CLAIM_STARTS))
_CALL_ENDINGS: Final = tuple(_names(_CREDENTIAL_ENDINGS))
_OVERRIDE_NAMES: Final = _names(_METHOD_OVERRIDES)
_ANSWER_NAMES: Final = _names(_ONE_HOP, _ACTS_ON_ORIGIN, _ACTS_ON_CACHES, _ACTS_ON_FRONT_SERVER)
_ANSWER_START_NAMES: Final = tuple(start.encode("ascii") for start in _ANSWER_STARTS)


def overrides_the_method(name: bytes) -> bool:
    """Whether some framework would take another method from this header."""
    return name in _OVERRIDE_NAMES


@lru_cache(maxsize=512)
def is_dropped_from_calls(name: bytes) -> bool:
    """Whether a client's header of this name stays here: of one hop, a credential, a claim of origin, ours to set."""
    return name in _CALL_NAMES or name.startswith(_CALL_STARTS) or name.endswith(_CALL_ENDINGS)


@lru_cache(maxsize=512)
def is_dropped_from_answers(name: bytes) -> bool:
    """Whether an upstream's header of this name stays here: one hop's, or an order to browser, cache or web server."""
    return name in _ANSWER_NAMES or name.startswith(_ANSWER_START_NAMES)
