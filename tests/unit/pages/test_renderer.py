"""The pages as bytes: what they say, what they must never contain, and how heavy they are."""

import re
from base64 import b64encode
from dataclasses import replace
from gzip import decompress
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.pages.languages import languages
from gatekeeper.pages.renderer import Page, Pages, WaitingView, WaitRange, wait_range

VIEW = WaitingView(
    title="You are in line",
    room="default",
    position=1284,
    ahead=1283,
    queue_length=4000,
    eta_seconds=154,
    rate_per_minute=500.0,
    refresh_seconds=4,
    arrived_at="2026-11-23T20:30:00Z",
    place_ttl_minutes=10,
)
KIB = 1024
VOID = {"meta", "link", "input", "img", "path", "circle", "br"}
PAGE_NAMES = ["waiting", "held", "reconnecting", "problem", "left", "dashboard"]
HIDING = {"head", "template", "script"}


class Reader(HTMLParser):
    """All tags with their attributes, and the text that is shown without script."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.code: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[tuple[str, bool]] = []  # and whether it hides what is in it
        self.feed(page.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, "hidden" in dict(attrs) or tag in HIDING))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in self.code:
            self.code[self._open[-1][0]].append(data)
        if not any(hides for _, hides in self._open):
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


@pytest.fixture(params=PAGE_NAMES)
def any_page(request: pytest.FixtureRequest, pages: Pages) -> Page:
    match request.param:
        case "waiting":
            return pages.waiting(VIEW)
        case "held":
            return pages.waiting(
                replace(VIEW, reason="held", rate_per_minute=0.0, eta_seconds=None)
            )
        case "reconnecting":
            return pages.waiting(unknown_place())
        case "problem":
            return problem(pages)
        case "left":
            return pages.left()
    return pages.dashboard()


def unknown_place() -> WaitingView:
    return replace(VIEW, position=None, ahead=None, queue_length=None, eta_seconds=None)


def problem(pages: Pages, *, retry_after_s: int | None = 10) -> Page:
    return pages.problem(
        status=502,
        title="The site does not answer",
        message="Please try again.",
        retry_after_s=retry_after_s,
    )


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


# --- what the waiting page says ---


def test_one_who_waits_reads_place_wait_and_pace_without_script(pages: Pages) -> None:
    words = Reader(pages.waiting(VIEW)).words
    for said in ("1,284", "1,283", "2–4 minutes", "500 per minute", "20:30 UTC", "10 minutes"):
        assert said in words


def test_without_script_the_page_asks_again_by_itself_and_with_script_it_does_not(
    pages: Pages,
) -> None:
    body = pages.waiting(replace(VIEW, refresh_seconds=12)).body.decode()
    assert '<noscript><meta http-equiv="refresh" content="12"></noscript>' in body
    assert body.count("http-equiv") == 1


def test_without_script_a_page_is_not_renewed_while_one_still_reads_it(pages: Pages) -> None:
    body = pages.waiting(replace(VIEW, refresh_seconds=1)).body.decode()
    assert '<meta http-equiv="refresh" content="10">' in body


def test_a_held_line_is_called_paused(pages: Pages) -> None:
    words = Reader(
        pages.waiting(replace(VIEW, reason="held", rate_per_minute=0.0, eta_seconds=None))
    ).words
    assert "The line is paused" in words
    assert "not known yet" in words


def test_an_unknown_place_is_kept_and_shows_no_number(pages: Pages) -> None:
    words = Reader(pages.waiting(unknown_place())).words
    assert "Reconnecting, your place is kept" in words
    assert "None" not in words
    assert "Your place in line –" in words


def test_the_page_speaks_the_language_of_the_visitor_and_runs_its_way(pages: Pages) -> None:
    for lang, direction, said in (
        ("de", "ltr", ("Sie stehen in der Warteschlange", "1.284", "2–4 Minuten", "10 Minuten")),
        ("he", "rtl", ("מקומך בתור נשמר", "1,284", "10 דקות")),
        ("ru", "ltr", ("1\xa0284", "2–4 минуты", "500 в минуту")),
    ):
        page = pages.waiting(replace(VIEW, lang=lang))
        reader = Reader(page)
        html = reader.attributes("html")[0]
        assert (html["lang"], html["dir"], page.language) == (lang, direction, lang)
        text = reader.text.replace("\u202f", " ")
        for each in said:
            assert each in text.replace("\xa0", " ") or each in text


def test_a_title_of_the_operators_own_is_said_as_it_stands(pages: Pages) -> None:
    page = pages.waiting(replace(VIEW, title="Not in line", lang="de"))
    assert "Not in line" in Reader(page).words


def test_a_problem_is_told_in_the_language_of_whoever_has_it(pages: Pages) -> None:
    page = pages.problem(
        status=502,
        title="Bad Gateway",
        message="The site is not responding right now. Your place is kept.",
        retry_after_s=5,
        lang="fr",
    )
    assert "Votre place est gardée." in Reader(page).words


def test_a_slow_line_is_told_per_hour(pages: Pages) -> None:
    assert "30 per hour" in Reader(pages.waiting(replace(VIEW, rate_per_minute=0.5))).words


def test_one_minute_is_not_called_minutes(pages: Pages) -> None:
    words = Reader(pages.waiting(replace(VIEW, place_ttl_minutes=1))).words
    assert "kept for 1 minute." in words


def test_where_no_place_is_kept_the_page_says_so(pages: Pages) -> None:
    words = Reader(pages.waiting(replace(VIEW, place_ttl_minutes=0))).words
    assert "you give up your place" in words


@pytest.mark.parametrize(
    ("eta_seconds", "wait"),
    [
        (None, WaitRange("unknown")),
        (0, WaitRange("soon")),
        (48, WaitRange("soon")),
        (49, WaitRange("minute", 1, 2)),
        (154, WaitRange("minute", 2, 4)),
        (720, WaitRange("minute", 9, 15)),
        (721, WaitRange("minute", 5, 20)),
        (1800, WaitRange("minute", 20, 40)),
        (4320, WaitRange("minute", 55, 90)),
        (4321, WaitRange("hour", 0.5, 2)),
        (3 * 3600, WaitRange("hour", 2, 4)),
        (10 * 3600, WaitRange("hour", 8, 13)),
        (20 * 3600, WaitRange("long")),
    ],
)
def test_a_wait_is_a_range_that_widens_with_it(eta_seconds: int | None, wait: WaitRange) -> None:
    assert wait_range(eta_seconds) == wait


def test_every_range_holds_its_estimate() -> None:
    for eta_seconds in range(49, 19 * 3600, 7):
        wait = wait_range(eta_seconds)
        unit_s = {"minute": 60, "hour": 3600}[wait.unit]
        assert wait.low * unit_s <= max(eta_seconds, unit_s)
        assert eta_seconds <= wait.high * unit_s
        assert wait.low < wait.high


# --- notices ---


def test_a_problem_page_tells_status_title_message_and_when_it_tries_again(pages: Pages) -> None:
    page = problem(pages)
    words = Reader(page).words
    for said in ("502", "One moment, please", "Please try again.", "tries again automatically"):
        assert said in words
    assert b'<meta http-equiv="refresh" content="10">' in page.body


def test_a_problem_page_without_retry_after_never_asks_again_by_itself(pages: Pages) -> None:
    assert b"http-equiv" not in problem(pages, retry_after_s=None).body


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "javascript:x", "", "/a\nb"])
def test_the_way_back_into_line_stays_on_this_site(pages: Pages, path: str) -> None:
    links = Reader(pages.left(path=path)).attributes("a")
    assert [link["href"] for link in links] == ["/"]


def test_the_way_back_into_line_leads_where_the_gate_says(pages: Pages) -> None:
    links = Reader(pages.left(path='/checkout/?a=1&b="')).attributes("a")
    assert [link["href"] for link in links] == ['/checkout/?a=1&b="']


# --- safety ---

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7*7 }}"


def test_a_hostile_title_stays_text(pages: Pages) -> None:
    page = pages.waiting(replace(VIEW, title=HOSTILE))
    reader = Reader(page)
    assert HOSTILE in reader.text
    assert len(reader.attributes("script")) == 2
    assert reader.attributes("img") == []
    assert reader.attributes("html")[0]["data-title"] == HOSTILE


def test_a_hostile_room_stays_in_its_attribute_and_in_its_query(pages: Pages) -> None:
    reader = Reader(pages.waiting(replace(VIEW, room='a"&b=#')))
    data = reader.attributes("html")[0]
    assert data["data-room"] == 'a"&b=#'
    assert data["data-status"] == "/.gatekeeper/status?room=a%22%26b%3D%23"
    assert reader.attributes("form")[0]["action"] == "/.gatekeeper/leave?room=a%22%26b%3D%23"


def test_a_hostile_message_stays_text(pages: Pages) -> None:
    page = pages.problem(status=502, title=HOSTILE, message=HOSTILE, retry_after_s=None)
    assert Reader(page).attributes("script") == []
    assert Reader(page).text.count(HOSTILE) == 1


def test_no_page_has_code_without_a_hash_in_the_policy_or_anything_from_elsewhere(
    any_page: Page, pages: Pages
) -> None:
    reader = Reader(any_page)
    for kind, codes in reader.code.items():
        for code in codes:
            assert source_of(code) in directives(pages.csp)[f"{kind}-src"]
    for _, attributes in reader.tags:
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in {"src", "href", "action"}:
                assert value is not None
                assert not re.match(r"(?!data:image/svg\+xml,)[a-z]+:|//", value)


def source_of(code: str) -> str:
    return f"'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'"


def directives(policy: str) -> dict[str, str]:
    return dict(part.strip().partition(" ")[::2] for part in policy.split(";"))


def test_the_policies_start_from_nothing_and_allow_only_code_that_they_name(pages: Pages) -> None:
    for policy in (pages.csp, pages.dashboard_csp):
        allowed = directives(policy)
        assert allowed["default-src"] == allowed["base-uri"] == "'none'"
        for kind in ("script-src", "style-src"):
            own, *hashes = allowed[kind].split()
            assert own == "'self'"
            assert all(each.startswith("'sha256-") for each in hashes)
        assert allowed["form-action"] == "'self'"
        assert "frame-ancestors" in allowed
        assert "unsafe" not in policy
    assert directives(pages.dashboard_csp)["script-src"] == "'self'"


def test_an_own_style_is_carried_and_named_like_the_built_in_one(tmp_path: Path) -> None:
    own = Pages(static=write(tmp_path, "waiting.css", "h1 { color: red }\r\n"))
    [style] = Reader(own.waiting(VIEW)).code["style"]
    assert style == "h1 { color: red }\n"
    assert source_of(style) in own.csp


@pytest.mark.parametrize("text", ["/* </style> */", "/* </SCRIPT */", "/* <!-- */"])
def test_a_style_that_would_end_its_element_stops_the_start(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"waiting\.css"):
        Pages(static=write(tmp_path, "waiting.css", text))


def test_no_page_is_indexed_and_all_fit_a_phone(any_page: Page) -> None:
    named = {tag.get("name"): tag.get("content") for tag in Reader(any_page).attributes("meta")}
    assert named["robots"] == "noindex"
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"


def test_every_page_has_a_heading_a_language_a_title_and_a_main_landmark(any_page: Page) -> None:
    reader = Reader(any_page)
    assert len(reader.attributes("h1")) == 1
    assert len(reader.attributes("main")) == 1
    assert reader.attributes("html")[0]["lang"] == "en"
    assert b"<title>" in any_page.body


# --- weight ---


def test_the_one_request_of_a_visitor_weighs_less_than_15_kib(pages: Pages) -> None:
    for each in languages().values():
        assert len(pages.waiting(replace(VIEW, lang=each.code)).gzip) < 15 * KIB


def test_the_gzip_of_a_page_is_the_page(pages: Pages) -> None:
    page = pages.waiting(VIEW)
    assert decompress(page.gzip) == page.body


# --- assets ---


def test_an_asset_is_found_under_its_hashed_name_only(pages: Pages) -> None:
    url = pages.asset_url("waiting.css")
    assert re.fullmatch(r"/\.gatekeeper/static/waiting\.[0-9a-f]{12}\.css", url)
    asset = pages.asset(url.rpartition("/")[2])
    assert asset is not None
    assert asset.content_type == "text/css; charset=utf-8"
    assert decompress(asset.gzip) == asset.body
    assert pages.asset("waiting.css") is None
    assert pages.asset("../templates/waiting.html") is None


def test_a_changed_asset_gets_another_name(pages: Pages, tmp_path: Path) -> None:
    static = write(tmp_path, "waiting.css", "h1 { color: red }")
    other = Pages(static=static)
    assert other.asset_url("waiting.css") != pages.asset_url("waiting.css")
    assert other.asset_url("waiting.js") == pages.asset_url("waiting.js")


def test_a_users_own_files_are_served_beside_the_built_in_ones(tmp_path: Path) -> None:
    static = write(tmp_path / "static", "logo.png", "not really")
    write(static, ".hidden", "of an editor")
    (static / "folder").mkdir()
    extended = '{% extends "builtin/waiting.html" %}{% block main %}'
    extended += '<img src="{{ asset_url("logo.png") }}">{{ super() }}{% endblock %}'
    templates = write(tmp_path / "templates", "waiting.html", extended)
    pages = Pages(templates=templates, static=static)
    reader = Reader(pages.waiting(VIEW))
    logo = reader.attributes("img")[0]["src"]
    assert logo is not None
    asset = pages.asset(logo.rpartition("/")[2])
    assert asset is not None
    assert (asset.content_type, asset.body) == ("image/png", b"not really")
    assert "1,284" in reader.words


def test_assets_may_lie_under_another_prefix() -> None:
    pages = Pages(asset_prefix="/static/")
    assert b'src="/static/admin.' in pages.dashboard().body
    assert b"/.gatekeeper/" not in pages.dashboard().body


# --- overrides ---


def test_a_users_template_replaces_one_page_and_leaves_the_others(tmp_path: Path) -> None:
    templates = write(tmp_path, "waiting.html", "<h1>Warte, {{ view.title }}</h1>")
    pages = Pages(templates=templates)
    assert pages.waiting(VIEW).body == b"<h1>Warte, You are in line</h1>"
    assert b"One moment, please" in problem(pages).body


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ok\n{% if %}", "waiting.html:2: "),
        ("{{ view.positoin }}", "positoin"),
        ("{{ nobody }}", "'nobody' is undefined"),
        ("{{ 1 // (view.position or 0) }}", "ZeroDivisionError"),
        ("{{ view.position + 1 }}", "TypeError"),
        ("{{ asset_url('no.css') }}", "no.css"),
        ('{% extends "nowhere.html" %}', "nowhere.html"),
        ("{% if view.rate_per_minute == 0 %}{{ held }}{% endif %}", "'held' is undefined"),
    ],
)
def test_a_broken_template_stops_the_start_and_says_where(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Pages(templates=write(tmp_path, "waiting.html", text))
    assert caught.value.source == str(tmp_path)
    assert len(caught.value.problems) == 1
    assert "waiting.html" in caught.value.problems[0]
    assert problem in caught.value.problems[0]


def test_all_broken_templates_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "waiting.html", "{{ nobody }}")
    write(tmp_path, "left.html", "{% endif %}")
    with pytest.raises(ConfigError) as caught:
        Pages(templates=tmp_path)
    assert [text.partition(".html")[0] for text in caught.value.problems] == ["waiting", "left"]


def test_a_template_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "waiting.html").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"waiting\.html"):
        Pages(templates=tmp_path)


def test_a_missing_folder_of_assets_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Pages(static=tmp_path / "nowhere")


def test_a_template_that_breaks_on_real_data_is_replaced_by_the_built_in_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "waiting.html", "own{% if view.position == 777 %}{{ 1 // 0 }}{% endif %}")
    write(tmp_path, "left.html", "own{% if path == '/x' %}{{ 1 // 0 }}{% endif %}")
    static = write(tmp_path / "static", "waiting.css", "h1 { color: red }")
    pages = Pages(templates=tmp_path, static=static)
    assert pages.waiting(VIEW).body == b"own"
    for _ in range(2):
        reader = Reader(pages.waiting(replace(VIEW, position=777)))
        assert "777" in reader.words
        assert pages.left(path="/x").body == Pages().left(path="/x").body
    # Its style is the built-in one, and its own policy allows that.
    [style] = reader.code["style"]
    assert source_of(style) in pages.waiting(replace(VIEW, position=777)).csp
    assert pages.waiting(VIEW).body == b"own"
    assert capsys.readouterr().out.count("template_failed") == 2
