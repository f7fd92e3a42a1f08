"""What a person sees who typed a code that nobody waits under, or typed too many."""

from collections.abc import Callable

from starlette.responses import Response

from valetkey.server.errors import NotFound, TooMany


def asked_again(error: NotFound | TooMany, show: Callable[..., Response]) -> Response:
    """The page of the code once more, with what was wrong; `show` takes `problem` and `status`."""
    if isinstance(error, TooMany):
        response = show(problem=error.public, status=429)
        response.headers["retry-after"] = str(error.retry_after)
        return response
    return show(problem=f"{error.public} {error.next_step}", status=404)
