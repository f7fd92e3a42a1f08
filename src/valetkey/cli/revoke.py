"""`valetkey revoke ID`: end anything, with everything under it, and say what every hop did."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import inert, show
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import Revocation


def revoke(
    node: str,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; the audit keeps it.")] = None,
    json: Json = False,
) -> int:
    """End a token, task, delegation, connection, agent or user by its id, with everything under it.

    For example: valetkey revoke dlg_… --reason "wrong repository"
    """
    with signed_in() as client:
        report = client.revocations.create(node, reason=reason)
    return show(report, as_json=json, text=worded(report))


def worded(report: Revocation) -> str:
    """What a revocation did, for people."""
    state = "was revoked before" if report["already"] else "is revoked"
    hops = [f"  {h['hop']}: {h['outcome']}. {h['detail']}".rstrip() for h in report["hops"]]
    return "\n".join([f"{inert(report['node'])} {state}.", *(inert(hop) for hop in hops)])
