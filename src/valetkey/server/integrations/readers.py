"""The readers by the names files call them (`reader = "…"`): how an API is read is code, which API it is is data."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from valetkey.server.integrations.google.read import GoogleReader
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Reader
from valetkey.server.integrations.s3 import S3
from valetkey.server.integrations.slack.read import SlackReader

READERS: Final[Mapping[str, Callable[[Operations], Reader]]] = MappingProxyType(
    {"google": GoogleReader, "s3": S3, "slack": SlackReader}
)
