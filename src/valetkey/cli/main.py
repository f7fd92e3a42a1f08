"""`valetkey`: finds the command. Helper verbs are dispatched before the command line library is imported.

Every command answers data on stdout and remarks on stderr; every error becomes one line, what to try, and an exit code.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from valetkey.cli import exit_codes
from valetkey.cli.problems import Usage, tell

if TYPE_CHECKING:
    from cyclopts import App

Verb = Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given[: given.index("--")] if "--" in given else given
    as_json = "--json" in own
    try:
        verb = _helper_verb(given[0] if given else "")
        return verb(given[1:]) if verb is not None else _by_library(given)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes.
        sys.stdout = None
        return exit_codes.OK
    except SystemExit as ended:  # argparse after --help
        return ended.code if isinstance(ended.code, int) else exit_codes.OK
    except (Exception, KeyboardInterrupt) as error:
        return tell(error, as_json=as_json)


def _helper_verb(name: str) -> Verb | None:
    match name:
        case "token":
            from valetkey.cli import token

            return token.main
        case "whoami":
            from valetkey.cli import whoami

            return whoami.main
        case "run":
            from valetkey.cli import run

            return run.main
        case _:
            return None


def _by_library(given: list[str]) -> int:
    from cyclopts import CycloptsError

    try:
        code = commands(all_imported=not given or given[0] in ("-h", "--help"))(
            given, exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        chain = " ".join(error.command_chain or ())
        raise Usage(str(error).strip(), hint=f"valetkey {chain} --help".replace("  ", " ")) from None
    return code if isinstance(code, int) else exit_codes.OK


def commands(*, all_imported: bool = False) -> "App":
    """The whole command line. Files are imported when they are used; for the list of all, all are."""
    from cyclopts import App, Parameter

    from valetkey import __version__

    app = App(
        name="valetkey",
        help="Short-lived, narrowed, audited credentials for AI agents that act for people.",
        version=__version__,
        default_parameter=Parameter(negative=()),
        help_format="plaintext",
        help_epilogue="Exit codes: valetkey help exit-codes",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for path, name in _COMMANDS:
        module, _, attribute = path.partition(":")
        place = f"valetkey.cli.{module}"
        app.command(getattr(import_module(place), attribute) if all_imported else f"{place}:{attribute}", name=name)
    for helper in (_token, _run, _whoami):
        app.command(helper)
    app.command(help_about, name="help")
    return app


_COMMANDS = (
    ("agent:app", "agent"),
    ("approvals:app", "approvals"),
    ("audit:app", "audit"),
    ("client_registration:app", "client-registration"),
    ("connect:connect", "connect"),
    ("connect:app", "connections"),
    ("integrations:app", "integrations"),
    ("db:app", "db"),
    ("delegate:delegate", "delegate"),
    ("delegate:app", "delegations"),
    ("main:demo", "demo"),
    ("doctor:doctor", "doctor"),
    ("engine:app", "engine"),
    ("keys:app", "keys"),
    ("lease:app", "leases"),
    ("notices:app", "notices"),
    ("login:login", "login"),
    ("login:logout", "logout"),
    ("organization:app", "organization"),
    ("policy:app", "policy"),
    ("query:query", "query"),
    ("resource_server:app", "resource-server"),
    ("revoke:revoke", "revoke"),
    ("serve:serve", "serve"),
    ("service_account:app", "service-account"),
    ("sso:app", "sso"),
    ("task:app", "task"),
    ("trusted_issuer:app", "trusted-issuer"),
    ("user:app", "user"),
)
"""Where each command is, and its name."""


def demo(*, connect: Literal["token", "consent"] = "token", json: bool = False) -> int:
    """Show the main job in a throw-away folder: what is allowed, what is refused and why, and the proof of it.

    Alice's account is connected by a pasted token, or with --connect consent by agreeing at the practice GitHub, which
    is then ended there too. For example: valetkey demo --connect consent
    """
    from valetkey.cli import demo as shown

    return shown.demo(connect=connect, json=json)


def help_about(topic: str = "", /) -> int:
    """Explain a topic: exit-codes.

    For example: valetkey help exit-codes
    """
    if topic == "exit-codes":
        print(exit_codes.page())
    elif topic:
        raise Usage(f"There is no help about {topic}.", hint="Topics: exit-codes. Commands: valetkey COMMAND --help")
    else:
        commands(all_imported=True).help_print([])
    return exit_codes.OK


def _listed(name: str) -> None:
    raise AssertionError(f"{name} is dispatched before the command line library")


def _token() -> None:
    """Mint a delegated credential from a task token; `token explain` says what a token allows."""
    _listed("token")


def _run() -> None:
    """Run a command that calls APIs as an agent, without giving it a credential."""
    _listed("run")


def _whoami() -> None:
    """Show who you are signed in as, and where."""
    _listed("whoami")


if __name__ == "__main__":
    sys.exit(main())
