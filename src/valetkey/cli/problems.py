"""Where errors become an exit code, one line, and what to try; or, with --json, the problem object on stdout.

Knows the classes of the client, and the server's by their `public` sentence, so that it imports no server.
"""

import argparse
import sys
from typing import Any, NoReturn

from valetkey.cli import exit_codes
from valetkey.cli.output import inert, json_line
from valetkey.client.errors import ValetkeyError


class Usage(Exception):
    """The command line itself is wrong; the message says how, `hint` what to write instead."""

    code = "usage"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or "valetkey --help"


class Cancelled(Exception):
    """A person said no, or nobody answered; the message says which, `hint` what to do next."""

    code = "cancelled"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def document_of(error: BaseException) -> dict[str, Any]:
    """The problem object of an error, with the exit code it leads to."""
    match error:
        case ValetkeyError():
            document = error.document()
        case Usage() | Cancelled():
            document = {"code": error.code, "detail": str(error), "hint": error.hint}
        case KeyboardInterrupt() | TimeoutError():
            document = {"code": "cancelled", "detail": "Cancelled.", "hint": "Nothing more was done."}
        case OSError():
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            document = {"code": "failure", "detail": what, "hint": "Check the path and who may use it."}
        case _ if hasattr(error, "public"):  # a refusal of the server's own classes, met in this process
            members = getattr(error, "members", {})
            document = {**members, "code": str(getattr(error, "code", "internal")), "detail": str(error.public)}
            document["hint"] = str(getattr(error, "next_step", ""))
        case _:
            raise error
    return {**document, "exit_code": exit_codes.of(str(document["code"]))}


def tell(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong and what to try; return the exit code. Anything unexpected is raised again."""
    document = document_of(error)
    if as_json:
        print(json_line(document))
    else:
        print(f"valetkey: {inert(document['detail'])}", file=sys.stderr)
        if document["hint"]:
            print(f"  try: {inert(document['hint'])}", file=sys.stderr)
        if document["code"] == "internal" and document.get("request_id"):
            print(f"  request id: {inert(document['request_id'])}", file=sys.stderr)
    return int(document["exit_code"])


class Parser(argparse.ArgumentParser):
    """A parser of a helper verb: its usage errors are told like every other error."""

    def __init__(self, verb: str, summary: str, *, example: str) -> None:
        super().__init__(
            prog=f"valetkey {verb}", description=summary, epilog=f"For example: {example}", allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        raise Usage(message, hint=f"{self.prog} --help")
