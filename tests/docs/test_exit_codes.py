"""The exit codes are documented, stable, and every problem code leads to one of them."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

import valetkey
from valetkey.cli import exit_codes
from valetkey.cli.main import main
from valetkey.cli.problems import Cancelled, Usage, document_of, tell
from valetkey.client.errors import BY_CODE
from valetkey.server import errors as server_errors

PROMISED = {
    "invalid_request": 1, "not_found": 1, "conflict": 1, "too_many": 1, "upstream_failed": 1, "internal": 1,
    "not_authenticated": 4, "denied": 5, "revoked": 5, "expired": 5, "consent_required": 5, "approval_required": 6,
    "unreachable": 7, "unavailable": 7, "connection_required": 8,
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_problem_code_has_the_exit_code_that_was_promised(code: str) -> None:
    assert document_of(BY_CODE[code]())["exit_code"] == PROMISED[code]


def test_the_servers_own_refusals_lead_to_the_same_codes() -> None:
    for kind in server_errors.ValetkeyError.__subclasses__():
        assert document_of(kind())["exit_code"] == PROMISED[kind.code], kind


def test_usage_and_cancelling_have_their_own() -> None:
    assert document_of(Usage("wrong"))["exit_code"] == 2
    assert document_of(KeyboardInterrupt())["exit_code"] == 3
    assert document_of(Cancelled("no", hint="again"))["exit_code"] == 3


def test_a_bug_is_not_dressed_up_as_a_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        tell(ZeroDivisionError(), as_json=True)


def test_help_exit_codes_lists_every_one() -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        assert main(["help", "exit-codes"]) == 0
    for number, meaning in exit_codes.MEANING.items():
        assert f"  {number}  {meaning}" in shown.getvalue()
    assert sorted(exit_codes.MEANING) == list(range(9))


def test_a_usage_error_is_json_too_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "create", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
    assert main(["token", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "usage"


def test_json_after_two_dashes_belongs_to_the_command_that_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--", "echo", "--json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", ["whoami", "token", "run"])
def test_a_helper_verb_starts_without_the_heavy_libraries(verb: str) -> None:
    heavy = ("cyclopts", "rich", "cryptography", "sqlalchemy", "msgspec", "starlette", "valetkey.server")
    code = (
        "import sys; from valetkey.cli.main import main; code = main(sys.argv[1:]);"
        f"print(code, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, verb], capture_output=True, text=True, env={"HOME": "/nonexistent", "PATH": ""}
    )
    assert done.stdout.splitlines()[-1] == f"{4 if verb == 'whoami' else 2} []", done.stderr


def test_importing_the_package_loads_neither_client_nor_verifier() -> None:
    code = "import sys, valetkey; print([n for n in sys.modules if n.startswith(('valetkey.', 'http', 'json'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_the_package_offers_is_there() -> None:
    assert all(getattr(valetkey, name).__name__ == name for name in valetkey.__all__)
    assert not hasattr(valetkey, "Nonsense")
