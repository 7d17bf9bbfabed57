"""The spelling of single values: which texts are durations, rates, messages and addresses."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gatekeeper.config import types
from gatekeeper.config.types import (
    check_secret,
    parse_duration_s,
    parse_rate_per_minute,
    split_listen,
)

# The control room's script is tested with the same cases: text to admissions per minute or null.
RATES = json.loads((Path(__file__).parents[2] / "testdata" / "rates.json").read_text())


@pytest.mark.parametrize(
    ("listen", "split"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::1]:80", ("::1", 80)),
        (":8080", ("", 8080)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_listen_is_split_into_host_and_port(listen: str, split: tuple[str, int]) -> None:
    assert split_listen(listen) == split


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        (" 1d ", 86400),
        (0, 0),
        ("0", 0),
    ],
)
def test_duration_is_parsed_to_seconds(text: object, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "s", "1 h", "-1s", "1w", "1e3s", "٣s", 90, True, None, "9" * 400 + "s"]
)
def test_duration_invalid_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"; expected "):
        parse_duration_s(text)


@pytest.mark.parametrize(("text", "per_minute"), RATES.items(), ids=map(repr, RATES))
def test_rate_follows_the_table_of_cases(text: str, per_minute: float | None) -> None:
    if per_minute is None:
        with pytest.raises(ValueError, match=r"; expected "):
            parse_rate_per_minute(text)
    else:
        assert parse_rate_per_minute(text) == pytest.approx(per_minute)


def test_rate_zero_needs_no_quotes() -> None:
    assert parse_rate_per_minute(0) == 0


@pytest.mark.parametrize("value", [500, 0.5, False, True, None, ["8/s"], "9" * 400 + "/s"])
def test_rate_of_another_type_or_too_high_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"; expected "):
        parse_rate_per_minute(value)


def test_rate_error_names_value_and_expectation() -> None:
    with pytest.raises(
        ValueError, match=r'^"fast" is not a rate; expected e.g. "500/min" or "8/s"$'
    ):
        parse_rate_per_minute("fast")


@pytest.mark.parametrize("text", ["", "Doors at noon.", "Türen um 12 – 🎟", "x" * 500, "שלום"])
def test_message_may_be_in_any_script(text: str) -> None:
    assert types.parse_message(f"  {text}\n") == text


@pytest.mark.parametrize(
    "text",
    ["x" * 501, "two\nlines", "a\rb", "a\0b", "a\x1b[2J", "a\x85b", "a\u2028b", "a\ud800", None, 7],
)
def test_message_invalid_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"; expected "):
        types.parse_message(text)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.lists(st.text(), max_size=2),
    st.text(),
    st.text(":\n\r\x00 a1"),
    st.text("0123456789.,-+eE smhdin/[]:_٣%"),
    st.from_regex(r"\A[0-9]{1,400}(\.[0-9]{1,400})?(ms|s|m|h|d|/s|/min|/h)\Z"),
)


@given(anything)
def test_any_value_is_a_finite_duration_or_value_error(value: object) -> None:
    try:
        duration_s = parse_duration_s(value)
    except ValueError:
        return
    assert 0 <= duration_s <= 366 * 86400


@given(anything)
def test_any_value_is_a_finite_rate_or_value_error(value: object) -> None:
    try:
        rate = parse_rate_per_minute(value)
    except ValueError:
        return
    assert 0 <= rate <= 60_000_000


TYPES = [
    types.Duration,
    types.RatePerMinute,
    types.Workers,
    types.Network,
    types.Listen,
    types.OriginUrl,
    types.StoreUrl,
    types.EventsUrl,
    types.Room,
    types.CookieName,
    types.HostPattern,
    types.PathPrefix,
    types.Secret,
    types.File,
    types.Folder,
]


@given(value=anything, kind=st.sampled_from(TYPES))
def test_any_value_is_accepted_or_refused_in_one_line(value: object, kind: Any) -> None:
    messages: list[str] = []
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as refused:
        messages = [detail["msg"] for detail in refused.errors(include_input=False)]
    assert not any("\n" in message for message in messages)


@given(st.integers(1, 10**6), st.sampled_from(["ms", "s", "m"]))
def test_duration_is_number_times_unit(number: int, unit: str) -> None:
    expected = number * {"ms": 0.001, "s": 1, "m": 60}[unit]
    if expected <= 366 * 86400:
        assert parse_duration_s(f"{number}{unit}") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://shop.example.com", "https://shop.example.com"),
        ("HTTPS://Shop.Example.COM", "https://shop.example.com"),
        ("https://shop.example.com:443", "https://shop.example.com"),
        ("http://shop.example.com:80", "http://shop.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://shop.example.com:8443", "https://shop.example.com:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_web_origin_is_spelled_as_browsers_send_it(value: str, origin: str) -> None:
    assert TypeAdapter(types.WebOrigin).validate_python(value) == origin


@pytest.mark.parametrize(
    "value",
    [
        *("*", "null", "", "shop.example.com", "//shop.example.com", "https://", "https://*.a.b"),
        *("https://a.b/", "https://a.b/x", "https://a.b?x", "https://a.b#x", "https://u@a.b"),
        *("https://a.b:0", "https://a.b:65536", "https://a.b:", "ftp://a.b", "https://a.b "),
        *("https://a.b, https://c.d", "https://a.b\nX: y", "https://a..b", 5, None),
    ],
)
def test_other_spelling_is_no_web_origin(value: object) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        TypeAdapter(types.WebOrigin).validate_python(value)


@pytest.mark.parametrize(
    "value",
    [
        *("'self'", "'none'", "*", "https:", "https://a.example", "https://*.a.example:*"),
        *("a.example", "*.a.example", "http://localhost:3000", "'SELF'"),
    ],
)
def test_frame_ancestor_is_a_source_of_csp(value: str) -> None:
    assert TypeAdapter(types.FrameAncestor).validate_python(value) == value.lower()


@pytest.mark.parametrize(
    "value",
    [
        *("", "self'", "'self';", "a.example; script-src *", "a.example,b.example", "a b", "a\nb"),
        *("'unsafe-inline'", "https://a.*.example", "data:", "https://a.example/path", 5),
    ],
)
def test_other_text_is_no_frame_ancestor(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a frame ancestor"):
        TypeAdapter(types.FrameAncestor).validate_python(value)


@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBBBBBBBBBBBBBBBBB",
        '{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}',
    ],
)
def test_key_of_another_algorithm_is_no_secret(key: str) -> None:
    with pytest.raises(ValueError, match=r"^a public key, a certificate or a JWK; expected"):
        check_secret(key.encode())


@pytest.mark.parametrize("length", [0, 1, 31])
def test_short_secret_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="too short; expected at least 32 bytes"):
        check_secret(b"s" * length)
    check_secret(b"s" * 32)
