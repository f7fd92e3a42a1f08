"""`valetkey notices`: where you are told that a call waits for you, and whether that works."""

from valetkey.cli import exit_codes
from valetkey.cli.options import Json, group
from valetkey.cli.output import moment, show, table
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import NoticeAddress

app = group("notices", "Where you are told that a call waits for your answer.")


@app.command(name="list")
def list_addresses(*, json: Json = False) -> int:
    """List the addresses and browsers where you are told. They are named and removed on your account page.

    For example: valetkey notices list
    """
    with signed_in() as client:
        found = client.notice_addresses.list()
    rows = [{**one, "state": _state(one)} for one in found]
    empty = "None. Name some under /account, Notices; or press the button on /approvals in a browser."
    return show({"data": found}, as_json=json, text=table(rows, ["id", "kind", "place", "state"], empty=empty))


@app.command(name="test")
def try_out(address: str, /, *, json: Json = False) -> int:
    """Send a notice there that says nothing waits. The exit code is 1 when it does not arrive.

    For example: valetkey notices test ntf_…
    """
    with signed_in() as client:
        tried = client.notice_addresses.test(address)
    show(tried, as_json=json, text=f"{tried['kind']} at {tried['place']}: {_state(tried)}")
    return exit_codes.FAILURE if tried["problem"] else exit_codes.OK


def _state(one: NoticeAddress) -> str:
    if not one["is_confirmed"]:
        return "not confirmed: type the code that was mailed there, on your account page"
    if one["problem"]:
        return f"failed {one['failures']} times: {one['problem']}"
    return "nothing sent yet" if one["told_at"] is None else f"last reached {moment(one['told_at'])}"
