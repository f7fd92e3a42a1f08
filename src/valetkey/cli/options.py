"""Options that several commands share, with their help."""

from typing import Annotated

from cyclopts import App, Parameter

from valetkey.cli.durations import converted

Json = Annotated[bool, Parameter(name="--json", help="Answer with JSON on stdout, errors too.")]
Ttl = Annotated[int, Parameter(name="--ttl", converter=converted, show_default=False, help="90s, 10m, 2h, 30d.")]
OptionalTtl = Annotated[
    int | None, Parameter(name="--ttl", converter=converted, help="How long: 90s, 10m, 2h, 30d; never past its parent.")
]
Grants = Annotated[
    list[str], Parameter(name="--grant", help="integration[/connection]:scope[,scope]@resource; may be repeated.")
]
OptionalGrants = Annotated[
    list[str] | None, Parameter(name="--grant", help="Narrow it to this; may be repeated. All of it otherwise.")
]


def group(name: str, help_text: str) -> App:
    """A group of commands, told apart by their second word."""
    return App(name=name, help=help_text, default_parameter=Parameter(negative=()), help_format="plaintext")
