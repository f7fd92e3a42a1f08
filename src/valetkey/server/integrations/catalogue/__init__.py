"""The integrations that come with Valetkey, and an administrator's own: one TOML file each, its operations beside it.

Responsible for finding the files and for what they owe each other: a name, an audience and a host path of their own. A
file is read whole or not at all, and one that is bad stops the server at its start. Refuses to know what is in them.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from valetkey.server.integrations.catalogue.parse import parse_integration as parse_integration
from valetkey.server.integrations.catalogue.typed import Misdescribed
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.registered import same_audience


@cache
def load_integration(name: str) -> Integration:
    """One integration that comes with Valetkey. Raises KeyError if there is none."""
    catalogue = resources.files(__package__)
    if f"{name}.toml" not in {entry.name for entry in catalogue.iterdir()}:
        raise KeyError(name)
    return load_file(catalogue / f"{name}.toml")


@cache
def load_catalogue() -> Mapping[str, Integration]:
    """All that come with Valetkey, by name."""
    files = sorted(entry.name for entry in resources.files(__package__).iterdir())
    return joined({}, (load_integration(file.removesuffix(".toml")) for file in files if file.endswith(".toml")))


def load_file(file: Traversable, *, loopback: bool = False) -> Integration:
    """The integration of one file. Raises `Misdescribed`, for what cannot be read too."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misdescribed("", f"it is no TOML: {error}", "see docs/integrations.md") from error
    graphql = document.get("graphql")
    calls = graphql.get("table") if isinstance(graphql, dict) else None
    integration = parse_integration(
        document,
        _beside(file, document.get("operations"), "operations"),
        calls=_beside(file, calls, "graphql.table"),
        loopback=loopback,
    )
    if f"{integration.name}.toml" != file.name:
        raise Misdescribed("name", f"it is called {integration.name}, its file {file.name}", "one name for both")
    return integration


def load_folder(
    folder: Path, known: Mapping[str, Integration], *, own: Collection[str] = (), loopback: bool = False
) -> Mapping[str, Integration]:
    """`known` and every `*.toml` of the folder. Raises `Misdescribed` whose key begins with the file's name.

    `own` are the addresses of this deployment: nobody else's audience is there.
    """
    found: list[Integration] = []
    ours = {urlsplit(address).netloc.lower() for address in own}
    for file in sorted(folder.glob("*.toml")):
        try:
            found.append(load_file(file, loopback=loopback))
            if urlsplit(found[-1].audience).netloc in ours:
                raise Misdescribed("audience", "is this server's own", "the API's")
            joined(known, found)
        except Misdescribed as wrong:
            raise Misdescribed(
                f"{file.name}: {wrong.key}" if wrong.key else file.name, wrong.problem, wrong.instead
            ) from wrong
    return joined(known, found)


def joined(known: Mapping[str, Integration], more: Iterable[Integration]) -> Mapping[str, Integration]:
    """Both, by name. SECURITY: a file never takes a name or an audience that somebody has."""
    by_name = dict(known)
    for integration in more:
        if integration.name in by_name:
            raise Misdescribed("name", f"{integration.name} is taken", "a name of its own")
        if same_audience(integration.audience) in {same_audience(other.audience) for other in by_name.values()}:
            raise Misdescribed("audience", f"{integration.audience} is taken", "an audience of its own")
        by_name[integration.name] = integration
    return MappingProxyType(by_name)


def _beside(file: Traversable, named: object, key: str) -> str | None:
    """The table that a file names, None where it names none."""
    if named is None:
        return None
    beside = str(named)
    # SECURITY: a file names what lies beside it, never a path: it is written by others.
    if not beside.endswith(".tsv") or "/" in beside or "\\" in beside or beside.startswith("."):
        raise Misdescribed(key, f"{beside!r} is no table beside the file", '"NAME.operations.tsv"')
    try:
        return (_folder(file) / beside).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misdescribed(key, f"{beside} cannot be read", "a table beside the file") from error


def _folder(file: Traversable) -> Traversable:
    return file.parent if isinstance(file, Path) else resources.files(__package__ or "")
