"""Reads secrets: from standard input, or from a person who does not see what they type. Never from the command line."""

import sys
from typing import Final

from valetkey.cli.problems import Usage

_LONGEST: Final = 64 * 1024


def secret(prompt: str, *, from_stdin: bool, flag: str) -> str:
    """One line. Raises `Usage` when nobody is there to ask and `flag` was not given, or nothing came."""
    if from_stdin:
        text = sys.stdin.readline(_LONGEST).strip()
    elif sys.stdin.isatty():
        from getpass import getpass

        text = getpass(f"{prompt}: ").strip()
    else:
        raise Usage(f"{prompt} has to be read from somewhere.", hint=f"Send it on standard input and add {flag}.")
    if not text or not text.isprintable():
        raise Usage(f"{prompt} is empty or not one line of text.", hint=f"echo … | valetkey … {flag}")
    return text
