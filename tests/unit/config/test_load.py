"""Loading: valid files are accepted, and every problem of an invalid one is reported at once."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.event_schema import EventConfig
from gatekeeper.config.lane_schema import LaneConfig
from gatekeeper.config.load import load_config
from gatekeeper.config.renamed import RENAMED_KEYS
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import AdminToken, Config, RoomConfig, RoomKeys
from gatekeeper.errors import ConfigError

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "testdata" / "config"
GOOD = sorted((DATA / "good").glob("*.toml"))
BAD = sorted((DATA / "bad").glob("*.toml"))
SECRET = "0123456789abcdef0123456789abcdef"


def problems_of(
    path: Path | None = None,
    *,
    environ: dict[str, str] | None = None,
    overrides: dict[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ=environ or {}, overrides=overrides)
    return refused.value.problems


@pytest.fixture(autouse=True)
def working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some test data name an existing file by its path from the repository's root."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_is_accepted(path: Path) -> None:
    assert load_config(path, environ={}).rooms


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_is_refused_with_exactly_its_problems(path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = [text for line in lines if (text := line.removeprefix("# expect: ")) != line]
    assert expected, "the file must list its problems"
    assert problems_of(path) == sorted(expected)


def test_testdata_has_good_and_bad_files() -> None:
    assert len(GOOD) >= 5
    assert len(BAD) >= 25


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "missing.toml") == [
        "No such file or directory; expected a readable file"
    ]


def test_error_names_its_file_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gatekeeper.toml"
    path.write_text("[server]\nworkers = 0\nlisten = 1\n")
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ={})
    assert refused.value.public.startswith(f"{path}: server.listen: 1 is not HOST:PORT; expected")
    assert "\n" not in refused.value.public


def test_example_file_equals_the_defaults() -> None:
    assert load_config(ROOT / "gatekeeper.toml", environ={}) == Config()


def test_example_file_shows_every_key() -> None:
    text = (ROOT / "gatekeeper.toml").read_text()
    shown = {
        line.removeprefix("# ").partition(" = ")[0] for line in text.splitlines() if " = " in line
    }
    sections = [
        getattr(Config(), name)
        for name in Config.model_fields
        if name not in {"rooms", "rules", "schedule"}
    ]
    keys = {key for section in [*sections, RoomConfig()] for key in type(section).model_fields}
    keys |= AdminToken.model_fields.keys() | RuleConfig.model_fields.keys()
    keys |= EventConfig.model_fields.keys() - {"settings"} | LaneConfig.model_fields.keys()
    assert "# [[admin.tokens]]" in text
    assert shown >= keys - {"tokens"}
    assert {key for key in shown if key.isidentifier()} <= keys


def test_example_file_is_accepted_with_its_comments_filled_in(tmp_path: Path) -> None:
    text = (ROOT / "gatekeeper.toml").read_text()
    for name in ("cert.pem", "key.pem", "ca.pem", "shop.pem"):
        (tmp_path / name).write_text("")
    for name in ("my-templates", "my-static"):
        (tmp_path / name).mkdir()
    lines = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [[") else line
        for line in text.splitlines()
        if "secret_file = " not in line
    ]
    filled = "\n".join(lines).replace('"…"', f'"{SECRET}"')
    for name in ("cert.pem", "key.pem", "ca.pem", "shop.pem", "my-templates", "my-static"):
        filled = filled.replace(f'"{name}"', f'"{tmp_path / name}"')
    path = tmp_path / "gatekeeper.toml"
    path.write_text(filled)
    config = load_config(path, environ={})
    assert config.server.tls
    assert config.admin.token == SECRET
    assert [(token.name, token.role) for token in config.admin.tokens] == [("maria", "read")]
    assert [room.name for room in config.rooms] == ["checkout"]
    assert config.rooms[0].host == ("shop.example.com",)


def test_rooms_take_defaults_and_override_them() -> None:
    plain, checkout, sale = load_config(DATA / "good" / "several_rooms.toml", environ={}).rooms
    assert (plain.rate, plain.session_idle_timeout, plain.status, plain.host) == (
        120,
        600,
        429,
        (),
    )
    assert (checkout.rate, checkout.session_idle_timeout, checkout.title) == (
        1,
        600,
        "The till is busy",
    )
    assert (checkout.host, checkout.path) == (("*.example.com",), ("/checkout/",))
    assert (sale.rate, sale.session_idle_timeout, sale.session_absolute_timeout) == (120, 30, 14400)


def test_networks_are_normalised() -> None:
    config = load_config(DATA / "good" / "one_per_core_behind_proxies.toml", environ={})
    assert config.server.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")


def test_variable_overrides_file_and_flag_overrides_both(tmp_path: Path) -> None:
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
        ("SERVER__TRUSTED_PROXIES", "::1", lambda c: c.server.trusted_proxies == ("::1/128",)),
        ("EDGE__DOMAINS", "a.example, b.example", lambda c: len(c.edge.domains) == 2),
        ("TOKENS__SECRETS", "a,b" * 16, lambda config: config.tokens.secrets == ("a,b" * 16,)),
        ("ORIGIN__PRESERVE_HOST", "false", lambda config: not config.origin.preserve_host),
        ("ADMISSION__RATE", "0", lambda config: config.rooms[0].rate == 0),
        ("WAITING__STATUS", "429", lambda config: config.rooms[0].status == 429),
        ("ADMIN__TOKEN", "1" * 32, lambda config: config.admin.token == "1" * 32),
        ("WAITING__TITLE", "true", lambda config: config.rooms[0].title == "true"),
        ("WAITING__TITLE", '"quoted"', lambda config: config.rooms[0].title == '"quoted"'),
        ("WAITING__TITLE", "2026-01-01", lambda config: config.rooms[0].title == "2026-01-01"),
        ("TOKENS__SECRETS", f'["{SECRET}"]', lambda config: config.tokens.secrets == (SECRET,)),
    ],
)
def test_variable_is_parsed_by_the_type_of_its_key(
    name: str, text: str, seen: Callable[[Config], bool]
) -> None:
    assert seen(load_config(environ={f"GATEKEEPER_{name}": text}))


def test_other_variables_are_ignored() -> None:
    environ = {"GATEKEEPER_STATE_DIR": "/x", "GATEKEEPER_TEST_STORE_URL": "x", "PATH": "a__b"}
    assert load_config(environ=environ) == Config()


def test_invalid_variable_is_named_in_the_problem() -> None:
    environ = {
        "GATEKEEPER_SERVER__WORKERS": "1\nlisten = 2",
        "GATEKEEPER_SERVER__LISEN": "0.0.0.0:1",
        "GATEKEEPER_SERVERS__LISTEN": "0.0.0.0:1",
        "GATEKEEPER_TOKENS__SECRETS": '["short"]',
    }
    unknown_section, unknown_key, workers, secret = problems_of(environ=environ)
    assert unknown_section == "GATEKEEPER_SERVERS__LISTEN: unknown section; expected [server]"
    assert unknown_key == (
        "server.lisen (from GATEKEEPER_SERVER__LISEN): unknown key; expected server.listen"
    )
    assert workers.startswith("server.workers (from GATEKEEPER_SERVER__WORKERS): ")
    assert "\n" not in workers
    assert secret.startswith("tokens.secrets[0] (from GATEKEEPER_TOKENS__SECRETS): too short;")


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_renamed_variable_and_flag_name_the_new_key(old: str, new: tuple[str, str]) -> None:
    section, key = new
    variable = f"GATEKEEPER_{section}__{old}".upper()
    use = f"renamed; use {section}.{key}"
    assert problems_of(environ={variable: "1"}) == [f"{section}.{old} (from {variable}): {use}"]
    flag = {f"{section}.{old}": "1"}
    assert problems_of(overrides=flag) == [f"{section}.{old}: {use}"]


def test_renamed_value_of_a_variable_names_the_new_value() -> None:
    variable = "GATEKEEPER_ADMISSION__STORE_FAILURE_MODE"
    assert problems_of(environ={variable: "hold"}) == [
        f'admission.store_failure_mode (from {variable}): "hold" is renamed; use "closed"'
    ]


def test_renamed_names_are_no_keys_of_today() -> None:
    assert not RENAMED_KEYS.keys() & RoomConfig.model_fields.keys()
    assert {key for _, key in RENAMED_KEYS.values()} <= RoomKeys.model_fields.keys()


def test_invalid_flag_is_not_blamed_on_the_variable_it_overrides() -> None:
    environ = {"GATEKEEPER_ORIGIN__URL": "http://127.0.0.1:1"}
    assert problems_of(environ=environ, overrides={"origin.url": "nowhere"}) == [
        (
            'origin.url: not an HTTP URL; expected e.g. "http://127.0.0.1:9000", '
            'or "none" for forward auth only'
        )
    ]


def test_printed_configuration_shows_no_secret() -> None:
    environ = {
        "GATEKEEPER_TOKENS__SECRETS": f'["{SECRET}"]',
        "GATEKEEPER_ADMIN__TOKEN": "the-operator" * 3,
        "GATEKEEPER_STORE__URL": "redis://:the-password@store:6379",
        "GATEKEEPER_EVENTS__URL": "nats://the-token@events:4222",
    }
    config = load_config(environ=environ)
    shown = repr(config) + str(config) + repr(config.tokens) + f"{config.store}{config.events}"
    for hidden in (SECRET, "the-operator", "the-password", "the-token"):
        assert hidden not in shown
    assert config.tokens.cookie in shown


def test_problem_shows_no_secret() -> None:
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


@pytest.mark.parametrize("listen", ["127.0.0.2:1", "[::1]:1", "localhost:1"])
def test_admin_on_loopback_needs_no_token(listen: str) -> None:
    environ = {"GATEKEEPER_ADMIN__LISTEN": listen}
    assert load_config(environ=environ).admin.listen == listen


@pytest.mark.parametrize("listen", [":8081", "[::]:8081", "gate.internal:8081", "10.0.0.1:8081"])
def test_admin_beyond_loopback_needs_a_token(listen: str) -> None:
    [problem] = problems_of(environ={"GATEKEEPER_ADMIN__LISTEN": listen})
    assert problem.startswith("admin.token: missing while admin.listen is not loopback")


KEYS = [
    f"GATEKEEPER_{name}__{key}".upper()
    for name in Config.model_fields
    if name not in {"rooms", "rules", "schedule"}
    for key in type(getattr(Config(), name)).model_fields
] + [f"GATEKEEPER_ADMISSION__{key}".upper() for key in RoomConfig.model_fields]


@given(st.dictionaries(st.sampled_from(KEYS), st.text(st.characters()), max_size=4))
def test_any_variables_load_or_are_named_in_the_problem(
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


def test_testdata_is_valid_toml_except_not_toml() -> None:
    for path in GOOD + [path for path in BAD if path.stem != "not_toml"]:
        tomllib.loads(path.read_text())


def test_rooms_have_the_lanes_that_name_them() -> None:
    sale, rest = load_config(DATA / "good" / "lanes.toml", environ={}).rooms
    assert [(lane.name, lane.head_start) for lane in sale.lanes] == [
        ("members", 900),
        ("vip_2-a", 86_400),
    ]
    assert [(lane.name, lane.head_start) for lane in rest.lanes] == [("members", 1)]
    assert sale != sale.with_lanes([])  # a reload notices the change
    assert sale.model_copy(update={"rate": 1.0}).lanes == sale.lanes


def test_domain_and_origin_alone_make_a_gate() -> None:
    flags = {"edge.domains": '["shop.example.com"]', "origin.url": "http://10.0.0.5:3000"}
    config = load_config(environ={}, overrides=flags)
    assert config.edge.domains == ("shop.example.com",)
    assert [(str(room.name), room.path) for room in config.rooms] == [("default", ("/",))]
    assert not config.listens


@pytest.mark.parametrize("text", ["shop.example.com", '["SHOP.example.com"]'])
def test_domains_of_a_variable_are_a_text_or_a_list(text: str) -> None:
    config = load_config(environ={"GATEKEEPER_EDGE__DOMAINS": text})
    assert config.edge.domains == ("shop.example.com",)


def test_gate_with_an_edge_listens_only_where_configured() -> None:
    environ = {"GATEKEEPER_EDGE__DOMAINS": "a.b", "GATEKEEPER_SERVER__LISTEN": "0.0.0.0:8080"}
    assert load_config(environ=environ).listens
    assert load_config(environ={}).listens
