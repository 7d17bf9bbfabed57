"""Which responses a shared cache would store, and how a response is changed so that none may."""

import pytest

from gatekeeper.proxy.cache_fields import is_publicly_cacheable, made_private
from gatekeeper.proxy.framing import LengthBody
from gatekeeper.proxy.headers import response_head
from gatekeeper.proxy.response import ResponseHead, parse_response_head

DATE = "Date: Fri, 28 Nov 2025 12:00:00 GMT"
SET_COOKIE = "Set-Cookie: basket=1"
MODIFIED = "Last-Modified: Fri, 28 Nov 2025 11:00:00 GMT"

# Fields that caches in front follow, spelled as in their documentation.
CACHE_FIELDS = [
    "Cache-Control: public, max-age=600",
    "CACHE-CONTROL:s-maxage=600",
    "Expires: Fri, 28 Nov 2036 12:00:00 GMT",
    "Pragma: public",
    "CDN-Cache-Control: max-age=600",
    "Cloudflare-CDN-Cache-Control: max-age=600",
    "cloudflare-cdn-cache-control: max-age=600",
    "Vercel-CDN-Cache-Control: max-age=600",
    "Netlify-CDN-Cache-Control: public, durable, max-age=600",
    "Akamai-Cache-Control: max-age=600",
    "aKaMai-cache-CONTROL:max-age=600",
    "Fastly-Cache-Control: max-age=600",
    "X-Cache-Control: public",
    "A-B_c.d-Cache-Control: public",
    "Surrogate-Control: max-age=600",
    "Edge-Control: cache-maxage=10m",
    "X-Accel-Expires: 600",
    "X-LiteSpeed-Cache-Control: public,max-age=600",
]
KEPT_FIELDS = [
    "Surrogate-Key: a b",
    "Cache-Tag: a",
    'ETag: "1"',
    MODIFIED,
    "Vary: Accept",
    "XCache-Control: public",
    "X-Cache-Controls: public",
    "X-Cache: hit",
    "My-Surrogate-Control: a",
    "My-Expires: never",
    "CDN-Cache-Control-Note: a",
    "Age: 3",
]


def head(*fields: str, status: str = "200 OK") -> ResponseHead:
    parsed = parse_response_head("\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode())
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("field", CACHE_FIELDS)
def test_response_of_one_visitor_loses_every_cache_field(field: str) -> None:
    for fields in ([field, "A: b"], ["A: b", field], ["A: b", field, field]):
        lines = made_private(head(*fields).lines)
        assert lines == b"\r\nA: b\r\nCache-Control: private, no-store"


@pytest.mark.parametrize("field", KEPT_FIELDS)
def test_response_of_one_visitor_keeps_other_fields(field: str) -> None:
    lines = made_private(head(field).lines)
    assert lines == f"\r\n{field}\r\nCache-Control: private, no-store".encode()


def test_untouched_response_is_the_same_byte_for_byte() -> None:
    response = head(*CACHE_FIELDS, *KEPT_FIELDS)
    written = response_head(
        response, LengthBody(0), http11_client=True, keep_alive=True, added=None
    )
    assert written == "\r\n".join(["HTTP/1.1 200 OK", *CACHE_FIELDS, *KEPT_FIELDS, "", ""]).encode()


def test_response_that_only_ends_a_session_is_private_too() -> None:
    """An app that uses a header has no cookie that could be deleted."""
    written = response_head(
        head("Cache-Control: public"), LengthBody(0), http11_client=True, keep_alive=True, added=()
    )
    assert written == b"HTTP/1.1 200 OK\r\nCache-Control: private, no-store\r\n\r\n"


PUBLIC = {
    "public": ("Cache-Control: public",),
    "public with a cookie": ("Cache-Control: public, max-age=60", SET_COOKIE),
    "public in upper case": ("CACHE-CONTROL: PUBLIC",),
    "public in a second line": ("Cache-Control: must-revalidate", "Cache-Control: public"),
    "public except for one field": ('Cache-Control: public, no-cache="Set-Cookie"',),
    "a lifetime for shared caches": ("Cache-Control: max-age=0, s-maxage=60",),
    "a lifetime for all caches": ("Cache-Control: max-age=60",),
    "a quoted lifetime": ('Cache-Control: max-age="60"',),
    "a later date": (DATE, "Expires: Fri, 28 Nov 2025 12:00:01 GMT"),
    "only for CDNs": ("Cache-Control: no-store", "CDN-Cache-Control: max-age=60"),
    "only for one CDN": ("Cache-Control: private", "Cloudflare-CDN-Cache-Control: max-age=60"),
    "only for Fastly": ("Cache-Control: private", "Surrogate-Control: max-age=60"),
    "only for nginx": ("Cache-Control: no-store", "X-Accel-Expires: 60"),
    "a file with its time": (MODIFIED, "Content-Type: text/html"),
    "a picture": ("Content-Type: image/png",),
    "a style sheet": ("content-type: text/css; charset=utf-8",),
    "a script": ("Content-Type: application/javascript",),
}
NOT_PUBLIC = {
    "nothing": (),
    "a document": ("Content-Type: text/html",),
    "data": ("Content-Type: application/json",),
    "private": ("Cache-Control: private, max-age=60", MODIFIED),
    "no-store": ("Cache-Control: no-store, max-age=60",),
    "no-cache": ("Cache-Control: no-cache", MODIFIED),
    "public and private": ("Cache-Control: public, private",),
    "no lifetime": ("Cache-Control: max-age=0", MODIFIED),
    "no lifetime for shared caches": ("Cache-Control: max-age=60, s-maxage=0",),
    "a lifetime with a cookie": ("Cache-Control: max-age=60", SET_COOKIE),
    "a file with a cookie": (MODIFIED, SET_COOKIE),
    "an earlier date": (DATE, "Expires: Thu, 19 Nov 1981 08:52:00 GMT"),
    "the same date": (DATE, DATE.replace("Date", "Expires")),
    "a malformed date": (DATE, "Expires: 0", MODIFIED),
    "a date that no calendar has": (DATE, "Expires: Fri, 99 Nov 2025 12:00:00 GMT"),
    "an endless number": ("Cache-Control: max-age=" + "0" * 5000,),
    "a lifetime in words": ("Cache-Control: max-age=soon",),
    "no CDN either": ("Cache-Control: private", "CDN-Cache-Control: no-store"),
    "an empty field for CDNs": ("Cache-Control: private", "CDN-Cache-Control:"),
    "never in nginx": ("X-Accel-Expires: 0",),
    "a name that ends alike": ("XCache-Control: public",),
}


@pytest.mark.parametrize("fields", PUBLIC.values(), ids=PUBLIC.keys())
def test_publicly_cacheable(fields: tuple[str, ...]) -> None:
    assert is_publicly_cacheable(head(*fields), method="GET")
    assert is_publicly_cacheable(head(*fields), method="HEAD")
    assert not is_publicly_cacheable(head(*fields), method="POST")


@pytest.mark.parametrize("fields", NOT_PUBLIC.values(), ids=NOT_PUBLIC.keys())
def test_not_publicly_cacheable(fields: tuple[str, ...]) -> None:
    assert not is_publicly_cacheable(head(*fields), method="GET")


@pytest.mark.parametrize(
    ("status", "expected"),
    [("200 OK", True), ("301 M", True), ("404 N", True), ("302 F", False), ("500 E", False)],
)
def test_without_a_lifetime_the_status_decides(status: str, *, expected: bool) -> None:
    assert is_publicly_cacheable(head(MODIFIED, status=status), method="GET") is expected


def test_unmodified_response_is_that_of_a_cached_one() -> None:
    assert is_publicly_cacheable(head(status="304 Not Modified"), method="GET")
    private = head("Cache-Control: private", status="304 Not Modified")
    assert not is_publicly_cacheable(private, method="GET")
