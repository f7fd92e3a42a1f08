"""What a database said against a statement, told without what was not delegated. Pure.

PostgreSQL's own words are handed on only where they can be about nothing but the statement's text: while it was read,
before it ran. What is said while it runs may hold values of rows, and names that stand behind a view.
"""

from typing import Any, Final

from valetkey.server.connections.databases.model import STATEMENT_SECONDS
from valetkey.server.errors import Denied, InvalidRequest, Unavailable, UpstreamFailed, ValetkeyError

_LONGEST: Final = 300
_CLASSES: Final = {
    "21": "A subquery answered more than one row where one is meant.",
    "22": "A value does not fit what the statement does with it.",
    "42": "The statement does not fit the tables as they are.",
    "0A": "The statement asks for something this server does not do.",
    "54": "The statement is more than this server takes.",
}


def while_read(error: Any) -> ValetkeyError:
    """Of a statement that has not run: what is wrong with its text."""
    code = code_of(error)
    said = str(getattr(error, "message", None) or "")[:_LONGEST]
    if code[:2] not in ("42", "22") or code == "42501" or not said:
        return while_run(error)
    plain = "".join(c if c.isprintable() else " " for c in said)
    return InvalidRequest(
        f"PostgreSQL cannot read the statement: {plain}.",
        hint="Correct the statement; it has not run.",
        reason="statement_failed",
        sqlstate=code,
    )


def while_run(error: Any) -> ValetkeyError:
    """Of a statement that ran, or was about to: the kind of the error, in our words."""
    code = code_of(error)
    members = {"reason": "statement_failed", "sqlstate": code}
    match code:
        case "42501":
            # NOTE: a table made anew under the name since it was judged, or what a view reads with its reader's rights.
            return Denied(
                "The database does not let this question read all that it reaches.",
                hint="Repeat it once: a table may just have been made anew. Else a view needs rights that were not "
                "delegated.",
                **members,
            )
        case "57014":
            return InvalidRequest(
                f"The statement took longer than {STATEMENT_SECONDS} seconds and was ended.",
                hint="Ask for less: fewer rows, a condition on an indexed column.",
                **members,
            )
        case "25006":
            return Denied(
                "The statement would have changed something; it was stopped by the server.",
                hint="Ask for what is there; nothing can be changed through this address.",
                **members,
            )
    if (words := _CLASSES.get(code[:2])) is not None:
        return InvalidRequest(words, hint="Look the sqlstate up, and correct the statement or its values.", **members)
    if code[:2] in ("40", "55"):
        return Unavailable("Others are changing these tables at this moment.", retry_after=1, **members)
    return UpstreamFailed("The database did not answer properly.", detail=f"{type(error).__name__} {code}")


def code_of(error: Any) -> str:
    """The five characters by which PostgreSQL names an error; empty where it is none of its errors."""
    return str(getattr(error, "sqlstate", None) or "")
