"""A composed page equals the rendered one, and its gzip is valid."""

import gzip
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.pages.assets import Assets
from gatekeeper.pages.composer import PageSkeleton
from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.pages.languages import languages
from gatekeeper.pages.renderer import WaitingView
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from gatekeeper.pages.templates import Templates
from gatekeeper.pages.waiting_page import JinjaTemplate, WaitingPage
from tests.profiles import examples

ASSETS = Assets(overrides=None, prefix="/")


def page_by(folder: Path | None) -> WaitingPage:
    templates = Templates(folder, asset_url=ASSETS.url, asset_text=ASSETS.text)
    return WaitingPage(JinjaTemplate(templates, name="waiting.html", policy=lambda _: ""))


PAGE = page_by(None)

numbers = st.one_of(st.integers(0, 130), st.integers(0, 3_000_000))


@st.composite
def events(draw: st.DrawFn) -> EventView:
    number = st.builds(
        DrawNumber, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 2**53)
    )
    return EventView(
        name=draw(st.sampled_from(["sale", "2026-spring"])),
        starts_at=draw(st.sampled_from(["2026-12-01T09:00:00Z", "2027-06-30T23:59:59Z"])),
        starts_in_s=draw(st.none() | st.floats(0, 4e6)),
        ends_in_s=draw(st.none() | st.floats(0, 4e6)),
        prequeue_at=draw(st.sampled_from(["", "2026-12-01T08:30:00Z"])),
        order=draw(st.sampled_from(["draw", "arrival"])),
        commitment=draw(st.sampled_from(["", "9f" * 32])),
        draw=draw(st.none() | number),
    )


@st.composite
def views(draw: st.DrawFn) -> WaitingView:
    view = draw(st.sampled_from([*SAMPLE_VIEWS.values(), *SAMPLE_EVENTS.values()]))
    ahead = None if view.position is None else draw(numbers)
    return replace(
        view,
        title=draw(st.sampled_from(["You are in line", "Schlange <1> & \ufdd00\ufdd1", "x"])),
        lang=draw(st.sampled_from([each.code for each in languages().values()])),
        position=None if ahead is None else ahead + 1,
        ahead=ahead,
        queue_length=draw(st.none() | numbers),
        eta_seconds=draw(st.none() | numbers),
        rate_per_minute=draw(st.sampled_from([0.0, 0.5, 1.0, 500.0, 1234.5])),
        refresh_seconds=draw(st.integers(1, 60)),
        place_ttl_minutes=draw(st.integers(0, 3)),
        arrived_at=f"2026-11-23T{draw(st.integers(0, 23)):02}:{draw(st.integers(0, 59)):02}:07Z",
        message=draw(st.sampled_from(["", "Soon & <gladly>", "\u202eعدد"])),
        event=draw(st.none() | events()),
        reference=draw(st.sampled_from(["", "7K3F-9QXD", "0000-0000"])),
    )


def inflated(data: bytes) -> bytes:
    """Decompress like a browser: one gzip member with a valid checksum, and nothing after it."""
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = inflate.decompress(data) + inflate.flush()
    assert inflate.eof
    assert inflate.unused_data == b""
    return plain


@settings(max_examples=examples(150), deadline=None)
@given(views())
def test_composed_page_equals_the_rendered_page(view: WaitingView) -> None:
    page, rendered = PAGE.page(view), PAGE.rendered(view)
    assert page.body == rendered.body
    assert inflated(page.gzip) == gzip.decompress(page.gzip) == rendered.body


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(st.binary(max_size=80) | st.binary(min_size=2048, max_size=4000), min_size=1),
    st.lists(st.binary(max_size=40), min_size=1, max_size=3),
    st.data(),
)
def test_pieces_and_values_make_one_valid_gzip(
    pieces: list[bytes], values: list[bytes], data: st.DataObject
) -> None:
    wanted = [data.draw(st.integers(0, len(values) - 1)) for _ in pieces[1:]]
    fills = [(str(number), False) for number in range(len(values))]
    skeleton = PageSkeleton.of(pieces, wanted, fills)

    def fill(name: str, _: bool) -> bytes:
        return values[int(name)]

    whole = pieces[0] + b"".join(
        values[want] + piece for want, piece in zip(wanted, pieces[1:], strict=True)
    )
    assert skeleton.body(fill) == whole
    assert inflated(skeleton.gzip(fill)) == gzip.decompress(skeleton.gzip(fill)) == whole


# What templates of an operator do with a visitor's numbers.


def page_of(folder: Path, text: str) -> WaitingPage:
    text = f"{{% if view.position is not none %}}{text}{{% endif %}}"
    (folder / "waiting.html").write_text(text)
    page = page_by(folder)
    page.try_out()
    return page


VIEW = SAMPLE_VIEWS["waiting"]
PRINTS_OR_TESTS = [
    "{{ view.position }} {{ view.position | number }}",
    "{% if view.position == 1 %}next{% elif view.ahead < 50 %}soon{% else %}later{% endif %}",
    "{{ 'next' if not view.ahead else view.ahead }}",
    "{% trans n=view.ahead %}{{ n }} person{% pluralize %}{{ n }} people{% endtrans %}",
    "{{ [view.position, 1000] | max }}",
    "{{ view.position ~ ' of ' ~ view.queue_length }}",
    "{{ _('# of you') | replace('#', view.position | number) }}",
    "<a title='{{ since }}'>{{ wait.low }}–{{ wait.high }}</a>",
]
COMPUTES = [
    "{{ view.position + 1 }}",
    "{{ view.position | int // 2 }}",
    "{{ '%08d' | format(view.position) }}",
    "{{ '%8s' | format(view.position) }}",
    "{{ view.position | string | length }}",
    "{{ view.arrived_at[11:16] }}",
    "{{ (view.arrived_at | string)[:10] }}",
    "{{ view.position | tojson }}",
    "{{ view.position is number }}",
    "{{ {1: 'first'}.get(view.position, 'later') }}",
    "{{ view.position == view.queue_length }}",
    "{{ view.position | string | urlencode }}",
]


@pytest.mark.parametrize("text", [*PRINTS_OR_TESTS, *COMPUTES])
def test_template_with_numbers_renders_correct_pages(tmp_path: Path, text: str) -> None:
    page = page_of(tmp_path, text)
    for ahead in (0, 1, 2, 7, 49, 50, 999, 1000, 12_345):
        view = replace(VIEW, position=ahead + 1, ahead=ahead, queue_length=max(ahead + 1, 1000))
        assert page.page(view).body == page.rendered(view).body


@pytest.mark.parametrize("text", PRINTS_OR_TESTS)
def test_template_that_prints_or_tests_is_composed(tmp_path: Path, text: str) -> None:
    assert page_of(tmp_path, text).composes


@pytest.mark.parametrize("text", COMPUTES)
def test_template_that_computes_is_rendered_per_visitor(tmp_path: Path, text: str) -> None:
    assert not page_of(tmp_path, text).composes


def test_skeleton_cache_is_bounded(tmp_path: Path) -> None:
    page = page_of(tmp_path, "{{ view.message }} {{ view.position }}")
    for number in range(1100):
        assert page.page(replace(VIEW, message=str(number))).body.startswith(b"%d " % number)
    assert 0 < page.skeleton_count <= 1024
