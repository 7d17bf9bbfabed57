"""The configuration: what is right is parsed once, what is wrong is named, all of it at once."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gatekeeper.config import types
from gatekeeper.config.load import load_config
from gatekeeper.config.schema import AdminToken, Config, RoomConfig
from gatekeeper.config.types import parse_duration_s, parse_rate_per_minute, split_listen
from gatekeeper.errors import ConfigError

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "testdata" / "config"
GOOD = sorted((DATA / "good").glob("*.toml"))
BAD = sorted((DATA / "bad").glob("*.toml"))
SECRET = "0123456789abcdef0123456789abcdef"


def problems_of(
    path: Path | None = None, environ: dict[str, str] | None = None, **overrides: str
) -> list[str]:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ=environ or {}, overrides=dotted)
    return refused.value.problems


@pytest.fixture(autouse=True)
def at_the_top_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the files name a file that exists, by its path from here."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_is_accepted(path: Path) -> None:
    assert load_config(path, environ={}).rooms


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_every_problem_and_no_other(path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = [text for line in lines if (text := line.removeprefix("# expect: ")) != line]
    assert expected, "the file must say what is expected"
    assert problems_of(path) == sorted(expected)


def test_there_are_files_of_both_kinds() -> None:
    assert len(GOOD) >= 5
    assert len(BAD) >= 15


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "missing.toml") == ["No such file or directory"]


def test_the_error_names_its_file_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gatekeeper.toml"
    path.write_text("[server]\nworkers = 0\nlisten = 1\n")
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ={})
    assert refused.value.public.startswith(f"{path}: server.listen: expected HOST:PORT")
    assert "\n" not in refused.value.public


def test_the_example_file_is_the_defaults() -> None:
    assert load_config(ROOT / "gatekeeper.toml", environ={}) == Config()


def test_the_example_file_shows_every_key_there_is() -> None:
    text = (ROOT / "gatekeeper.toml").read_text()
    shown = {
        line.removeprefix("# ").partition(" = ")[0] for line in text.splitlines() if " = " in line
    }
    sections = [getattr(Config(), name) for name in Config.model_fields if name != "rooms"]
    keys = {key for section in [*sections, RoomConfig()] for key in type(section).model_fields}
    keys |= set(AdminToken.model_fields)
    assert "# [[admin.tokens]]" in text
    assert shown >= keys - {"tokens"}
    assert {key for key in shown if key.isidentifier()} <= keys


def test_what_the_example_file_offers_is_accepted_once_it_is_filled_in(tmp_path: Path) -> None:
    text = (ROOT / "gatekeeper.toml").read_text()
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("")
    for name in ("my-templates", "my-static"):
        (tmp_path / name).mkdir()
    lines = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [[") else line
        for line in text.splitlines()
        if "secret_file = " not in line
    ]
    filled = "\n".join(lines).replace('"…"', f'"{SECRET}"')
    for name in ("cert.pem", "key.pem", "ca.pem", "my-templates", "my-static"):
        filled = filled.replace(f'"{name}"', f'"{tmp_path / name}"')
    path = tmp_path / "gatekeeper.toml"
    path.write_text(filled)
    config = load_config(path, environ={})
    assert config.server.tls
    assert config.admin.token == SECRET
    assert [(token.name, token.role) for token in config.admin.tokens] == [("maria", "read")]
    assert [room.name for room in config.rooms] == ["checkout"]
    assert config.rooms[0].host == "shop.example.com"


def test_rooms_take_the_defaults_and_set_their_own() -> None:
    plain, checkout, sale = load_config(DATA / "good" / "several_rooms.toml", environ={}).rooms
    assert (plain.rate, plain.session_idle_timeout, plain.status, plain.host) == (
        120,
        600,
        429,
        None,
    )
    assert (checkout.rate, checkout.session_idle_timeout, checkout.title) == (
        1,
        600,
        "The till is busy",
    )
    assert (checkout.host, checkout.path) == ("*.example.com", "/checkout/")
    assert (sale.rate, sale.session_idle_timeout, sale.session_absolute_timeout) == (120, 30, 14400)


def test_networks_are_put_in_order() -> None:
    config = load_config(DATA / "good" / "one_per_core_behind_proxies.toml", environ={})
    assert config.server.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")


def test_a_variable_goes_before_the_file_and_the_command_line_before_both(tmp_path: Path) -> None:
    path = tmp_path / "gatekeeper.toml"
    path.write_text('[admission]\nrate = "1/min"\nburst = 1\nmax_active = 1\n')
    environ = {"GATEKEEPER_ADMISSION__RATE": "2/min", "GATEKEEPER_ADMISSION__BURST": "2"}
    room = load_config(path, environ=environ, overrides={"admission.rate": "3/min"}).rooms[0]
    assert (room.rate, room.burst, room.max_active) == (3, 2, 1)


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("SERVER__WORKERS", "auto", lambda config: config.server.workers == "auto"),
        ("SERVER__WORKERS", "4", lambda config: config.server.workers == 4),
        ("SERVER__TRUSTED_PROXIES", '["::1"]', lambda c: c.server.trusted_proxies == ("::1/128",)),
        ("ORIGIN__PRESERVE_HOST", "false", lambda config: not config.origin.preserve_host),
        ("ADMISSION__RATE", "0", lambda config: config.rooms[0].rate == 0),
        ("WAITING__STATUS", "429", lambda config: config.rooms[0].status == 429),
        ("ADMIN__TOKEN", "12345", lambda config: config.admin.token == "12345"),
        ("ADMIN__TOKEN", "true", lambda config: config.admin.token == "true"),
        ("ADMIN__TOKEN", '"quoted"', lambda config: config.admin.token == '"quoted"'),
        ("WAITING__TITLE", "2026-01-01", lambda config: config.rooms[0].title == "2026-01-01"),
        ("TOKENS__SECRETS", f'["{SECRET}"]', lambda config: config.tokens.secrets == (SECRET,)),
    ],
)
def test_a_variable_is_text_or_where_that_is_wanted_a_number_a_truth_or_a_list(
    name: str, text: str, seen: Callable[[Config], bool]
) -> None:
    assert seen(load_config(environ={f"GATEKEEPER_{name}": text}))


def test_other_variables_are_none_of_our_business() -> None:
    environ = {"GATEKEEPER_STATE_DIR": "/x", "GATEKEEPER_TEST_STORE_URL": "x", "PATH": "a__b"}
    assert load_config(environ=environ) == Config()


def test_a_wrong_variable_is_named_in_the_problem() -> None:
    environ = {
        "GATEKEEPER_SERVER__WORKERS": "1\nlisten = 2",
        "GATEKEEPER_SERVER__LISEN": "0.0.0.0:1",
        "GATEKEEPER_SERVERS__LISTEN": "0.0.0.0:1",
        "GATEKEEPER_TOKENS__SECRETS": '["short"]',
    }
    unknown_section, unknown_key, workers, secret = problems_of(environ=environ)
    assert unknown_section == "GATEKEEPER_SERVERS__LISTEN: there is no section [servers]"
    assert unknown_key == "server.lisen (from GATEKEEPER_SERVER__LISEN): unknown key"
    assert workers.startswith('server.workers (from GATEKEEPER_SERVER__WORKERS): expected "auto"')
    assert secret.startswith("tokens.secrets[0] (from GATEKEEPER_TOKENS__SECRETS): has fewer than")


def test_a_wrong_flag_is_not_blamed_on_the_variable_it_replaced() -> None:
    environ = {"GATEKEEPER_ORIGIN__URL": "http://127.0.0.1:1"}
    assert problems_of(environ=environ, origin__url="nowhere") == [
        'origin.url: expected a URL such as "http://127.0.0.1:9000"'
    ]


def test_no_secret_shows_when_a_configuration_is_printed() -> None:
    environ = {
        "GATEKEEPER_TOKENS__SECRETS": f'["{SECRET}"]',
        "GATEKEEPER_ADMIN__TOKEN": "the-operator",
        "GATEKEEPER_STORE__URL": "redis://:the-password@store:6379",
        "GATEKEEPER_EVENTS__URL": "nats://the-token@events:4222",
    }
    config = load_config(environ=environ)
    shown = repr(config) + str(config) + repr(config.tokens) + f"{config.store}{config.events}"
    for hidden in (SECRET, "the-operator", "the-password", "the-token"):
        assert hidden not in shown
    assert config.tokens.cookie in shown


def test_no_secret_shows_in_a_problem() -> None:
    environ = {
        "GATEKEEPER_TOKENS__SECRETS": '["a-short-secret"]',
        "GATEKEEPER_TOKENS__SECRET": "misnamed-secret",
        "GATEKEEPER_STORE__URL": "http://:the-password@store",
        "GATEKEEPER_ORIGIN__URL": "http://user:the-password@origin",
        "GATEKEEPER_ADMIN__LISTEN": "0.0.0.0:1",
    }
    with pytest.raises(ConfigError) as refused:
        load_config(environ=environ)
    error: BaseException | None = refused.value
    assert len(refused.value.problems) == 5
    while error is not None:
        for hidden in ("a-short-secret", "misnamed-secret", "the-password"):
            assert hidden not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("listen", "split"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::1]:80", ("::1", 80)),
        (":8080", ("", 8080)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_is_split_into_host_and_port(listen: str, split: tuple[str, int]) -> None:
    assert split_listen(listen) == split


@pytest.mark.parametrize("listen", ["127.0.0.2:1", "[::1]:1", "localhost:1"])
def test_on_loopback_the_admin_needs_no_token(listen: str) -> None:
    environ = {"GATEKEEPER_ADMIN__LISTEN": listen}
    assert load_config(environ=environ).admin.listen == listen


@pytest.mark.parametrize("listen", [":8081", "[::]:8081", "gate.internal:8081", "10.0.0.1:8081"])
def test_beyond_loopback_the_admin_needs_a_token(listen: str) -> None:
    [problem] = problems_of(environ={"GATEKEEPER_ADMIN__LISTEN": listen})
    assert problem.startswith("admin.token: required")


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
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "s", "1 h", "-1s", "1w", "1e3s", "٣s", 90, True, None, "9" * 400 + "s"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "per_minute"),
    [("500/min", 500), ("8/s", 480), ("120/hour", 2), ("1.5 / m", 1.5), (0, 0), ("0", 0)],
)
def test_a_rate_is_read_as_admissions_per_minute(text: object, per_minute: float) -> None:
    assert parse_rate_per_minute(text) == pytest.approx(per_minute)


@pytest.mark.parametrize(
    "text",
    ["", "500", "/min", "-1/s", "1/day", "1/0s", "inf/s", "٣/s", 500, False, "9" * 400 + "/s"],
)
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate_per_minute(text)


@pytest.mark.parametrize("text", ["", "Doors at noon.", "Türen um 12 – 🎟", "x" * 500, "שלום"])
def test_a_message_is_one_line_of_any_script(text: str) -> None:
    assert types.parse_message(f"  {text}\n") == text


@pytest.mark.parametrize(
    "text",
    ["x" * 501, "two\nlines", "a\rb", "a\0b", "a\x1b[2J", "a\x85b", "a\u2028b", "a\ud800", None, 7],
)
def test_what_is_no_message_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected"):
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
def test_any_value_is_a_finite_duration_or_a_value_error(value: object) -> None:
    try:
        duration_s = parse_duration_s(value)
    except ValueError:
        return
    assert 0 <= duration_s <= 366 * 86400


@given(anything)
def test_any_value_is_a_finite_rate_or_a_value_error(value: object) -> None:
    try:
        rate = parse_rate_per_minute(value)
    except ValueError:
        return
    assert 0 <= rate <= 60_000_000


SPELLINGS = [
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


@given(value=anything, kind=st.sampled_from(SPELLINGS))
def test_any_value_of_any_kind_is_accepted_or_refused_in_one_line(value: object, kind: Any) -> None:
    messages: list[str] = []
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as refused:
        messages = [detail["msg"] for detail in refused.errors(include_input=False)]
    assert not any("\n" in message for message in messages)


KEYS = [
    f"GATEKEEPER_{name}__{key}".upper()
    for name in Config.model_fields
    if name != "rooms"
    for key in type(getattr(Config(), name)).model_fields
] + [f"GATEKEEPER_ADMISSION__{key}".upper() for key in RoomConfig.model_fields]


@given(st.dictionaries(st.sampled_from(KEYS), st.text(st.characters()), max_size=4))
def test_any_variables_make_a_configuration_or_name_the_variable_that_is_wrong(
    environ: dict[str, str],
) -> None:
    problems: list[str] = []
    try:
        load_config(environ=environ)
    except ConfigError as refused:
        problems = refused.problems
    for problem in problems:
        path = problem.partition(":")[0]
        assert path == "tokens" or any(name in path for name in environ) or "token" in path


@given(st.integers(1, 10**6), st.sampled_from(["ms", "s", "m"]))
def test_a_spelled_duration_is_that_many_of_its_unit(number: int, unit: str) -> None:
    expected = number * {"ms": 0.001, "s": 1, "m": 60}[unit]
    if expected <= 366 * 86400:
        assert parse_duration_s(f"{number}{unit}") == pytest.approx(expected)


def test_the_test_data_is_toml_but_for_the_file_that_is_not() -> None:
    for path in GOOD + [path for path in BAD if path.stem != "not_toml"]:
        tomllib.loads(path.read_text())
