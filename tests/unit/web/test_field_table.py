"""The fields of a plain head as a table: the same values as by a search of the head."""

import pytest

from gatekeeper.web.facts_reader import FieldTable, field_values

HEAD = (
    b"GET /x?a: b HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Uri: /a: b\r\nx-a: 1\r\n"
    b"X-A: 2\r\nEmpty: \r\nUtf: gr\xc3\xbcn\r\nLatin: \xfc\r\n\r\n"
)


@pytest.mark.parametrize(
    "name",
    ["Host", "host", "X-Forwarded-Uri", "X-A", "Empty", "Utf", "Latin", "None", "", "GET /x?a"],
)
def test_table_finds_what_the_head_has(name: str) -> None:
    assert list(FieldTable(HEAD)(name)) == field_values(HEAD, name) or name == ""


def test_repeated_field_keeps_its_order() -> None:
    assert list(FieldTable(HEAD)("x-a")) == ["1", "2"]
