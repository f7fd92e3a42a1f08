"""/rules: rules of one's own over every agent that acts for one. They deny or ask; none of them allows anything.

The usual ones are boxes to tick; whoever wants more writes the rules themselves, in the same words as an organization.
"""

import tomllib

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Conflict, InvalidRequest
from valetkey.server.oauth.form import Form
from valetkey.server.policy.rules import quoted
from valetkey.server.policy.versions import store
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page


async def rules(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    async with services.database.read() as db:
        found = await store.own_rules_of(db, user.id)
    return page("rules.html", _view(visitor, "" if found is None else found.text, 0 if found is None else found.number))


def _view(visitor: Visitor, text: str, number: int, problem: str = "") -> dict[str, object]:
    return view(visitor, "My rules", text=text, number=number, problem=problem)


async def save(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """Save what was written, with the usual rule added that a button asked for."""
    user, _ = visitor.signed_in()
    text, number = (form.get("text") or "").replace("\r\n", "\n"), form.get("number") or ""
    if not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise InvalidRequest("The form is incomplete.", hint="Open the page again.")
    try:
        added = _added(text, form)
        await services.policies.save_own(user, added, after=int(number))
    except (InvalidRequest, Conflict) as error:
        return page("rules.html", _view(visitor, text, int(number), f"{error.public} {error.next_step}"), status=400)
    return RedirectResponse("/rules", 303)


def _added(text: str, form: Form) -> str:
    match form.get("add"):
        case "never-delete":
            lines = 'effect = "deny"\nactions = ["delete"]\nwhy = "Agents delete nothing of mine."'
        case "ask-writes":
            lines = 'effect = "ask"\nactions = ["write"]\nwhy = "I am asked before anything is written."'
        case "quiet-hours":
            hours = [f"{key} = {quoted(form.get(key) or '')}" for key in ("from", "to", "zone")]
            lines = f'effect = "deny"\nwhen = {{ hours = {{ {", ".join(hours)} }} }}\nwhy = "These are my quiet hours."'
        case _:
            return text
    name = form.get("add")
    taken = {row.get("id") for row in tomllib.loads(text).get("rule", [])} if text else set()
    if name in taken:
        raise InvalidRequest(f"There is a rule {name} already.", hint="Change it below, or take it out first.")
    return f'{text.rstrip()}\n\n[[rule]]\nid = "{name}"\n{lines}\n'.lstrip()


def routes(services: Services) -> list[Route]:
    return [shown(services, "/rules", rules), action(services, "/rules", save)]
