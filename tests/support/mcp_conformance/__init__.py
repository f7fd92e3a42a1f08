"""The conformance suite of the Model Context Protocol, installed under build/conformance."""

from pathlib import Path

from tests.support import node

FOLDER = Path(__file__).parents[3] / "build" / "conformance"
PACKAGE = Path(__file__).parent / "package.json"
PROGRAM = FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def missing() -> str | None:
    """Why it cannot run here, as a reason to skip, or None."""
    installed = FOLDER / "installed.json"
    if not installed.exists() or installed.read_text() != PACKAGE.read_text():
        return "the conformance suite is not prepared: python -m tests.support.prepare"
    return node.missing()


def prepare() -> list[str]:
    """Install what is missing; return one line for what was done."""
    return node.install_packages(PACKAGE, FOLDER)
