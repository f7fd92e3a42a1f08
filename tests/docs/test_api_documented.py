"""docs/api.md says what /openapi.json says. To renew it: `python -m tests.docs.api_table`."""

from tests.docs.api_table import FILE, document, page


async def test_every_address_is_documented_as_it_is() -> None:
    assert FILE.read_text() == page(await document()), "run: python -m tests.docs.api_table"
