"""What a resource server pays per token, and an auditor per record."""

import json
import time
from collections.abc import Callable
from statistics import median
from urllib.request import urlopen

import jwt
from tests.support.house import GITHUB

from bench.cores import measured
from bench.deployment import Deployment
from bench.rows import Row
from valetkey.server.audit.verify_files import verify_export
from valetkey.verify import Verifier
from valetkey.verify.keys import parse_jwks

ROUNDS = 5
TOKENS = 400


def verify_rows(house: Deployment) -> list[Row]:
    """`Verifier.verify` on tokens never seen, and on one seen before, against PyJWT, which remembers nothing."""
    with urlopen(f"{house.url}/.well-known/jwks.json") as answer:
        document = answer.read()
    with urlopen(f"{house.url}/.well-known/oauth-authorization-server") as answer:
        issuer = json.load(answer)["issuer"]
    keys = parse_jwks(document)
    peer_keys = {key["kid"]: jwt.PyJWK(key) for key in json.loads(document)["keys"]}
    tokens = [house.token() for _ in range(TOKENS)]

    def cold() -> None:
        verifier = Verifier(issuer, GITHUB, keys=keys, layout="agent")
        for token in tokens:
            verifier.verify(token)

    def theirs() -> None:
        for token in tokens:
            key = peer_keys[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(token, key, algorithms=["ES256"], audience=GITHUB, issuer=issuer)

    remembering = Verifier(issuer, GITHUB, keys=keys, layout="agent")

    def warm() -> None:
        for _ in range(20):
            for token in tokens:
                remembering.verify(token)

    warm()
    with measured():
        rounds = [(_rate(cold, TOKENS), _rate(warm, 20 * TOKENS), _rate(theirs, TOKENS)) for _ in range(ROUNDS)]
    colds, warms, peers = (median(column) for column in zip(*rounds, strict=True))
    note = "tokens/s against PyJWT, ES256, one thread"
    return [
        Row(
            id="verify-cold",
            ours=round(colds),
            theirs=round(peers),
            ratio=round(colds / peers, 2),
            goal=1.0,
            met=colds >= peers,
            note=f"{note}; first sight",
        ),
        Row(
            id="verify-warm",
            ours=round(warms),
            theirs=round(peers),
            ratio=round(warms / peers, 2),
            goal=10.0,
            met=warms >= 10 * peers,
            note=f"{note}; seen before",
        ),
    ]


def audit_row(house: Deployment) -> Row:
    """The whole trail of this run, exported and verified offline against its checkpoints."""
    trail, checkpoints = house.data / "trail.ndjson", house.data / "checkpoints.ndjson"
    time.sleep(2)  # whatever was written last is under a checkpoint by then
    checkpoints.write_bytes(b"".join(house.alice.audit.checkpoints()))
    trail.write_bytes(b"".join(house.alice.audit.export()))
    rates = []
    with measured():
        for _ in range(ROUNDS):
            began = time.perf_counter()
            report = verify_export(trail, checkpoints, [house.pin])
            if not report.ok:
                raise RuntimeError(f"the trail of this run does not verify: {report}")
            rates.append(report.records / (time.perf_counter() - began))
    return Row(
        id="audit-verify",
        ours=round(median(rates)),
        note=f"records/s offline, chain and checkpoints, over {report.records:,} records of this run",
    )


def _rate(run: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    run()
    return count / (time.perf_counter() - began)
