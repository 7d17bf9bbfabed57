"""Changes that a reload applies, and changes that it refuses because they require a restart."""

from pathlib import Path

import pytest

from gatekeeper.config.restart import restart_problems
from gatekeeper.config.schema import Config
from tests.builders import SECRET, parse_config

SERVER = '[server]\nlisten = "127.0.0.1:1"\n'
SHARED = f'[tokens]\nsecrets = ["{SECRET.decode()}"]\n'


def config(text: str, folder: Path) -> Config:
    return parse_config(text, folder=folder)


@pytest.mark.parametrize(
    "text",
    [
        SERVER + 'trusted_proxies = ["10.0.0.0/8"]\nshutdown_timeout = "1s"\ndefault_rules = false',
        SERVER + '[[room]]\nname = "a"\n[[room]]\nname = "b"\npath = "/b/"\n',
        SERVER + '[[rule]]\nname = "a"\naction = "block"\npath = "/a"\n',
        SERVER + '[admission]\nrate = "1/min"\n[waiting]\ntitle = "T"\nupdates = "stream"\n',
        SERVER + '[tokens]\ncookie = "c"\nsame_site = "none"\npartitioned = true\n' + SHARED[9:],
        SERVER + '[admin]\ntoken = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"\n',
    ],
)
def test_reloaded_keys_are_no_problem(text: str, tmp_path: Path) -> None:
    before = config(SERVER, tmp_path)
    after = config(text, tmp_path)
    assert before != after
    assert restart_problems(before, after) == []
    assert restart_problems(after, before) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[server]\nlisten = "127.0.0.1:2"\n',
            'server.listen: "127.0.0.1:2" requires a restart; expected "127.0.0.1:1" until then',
        ),
        (
            SERVER + 'workers = "auto"',
            'server.workers: "auto" requires a restart; expected 1 until then',
        ),
        (SERVER + '[origin]\nurl = "http://h:1"\n', 'origin.url: "http://h:1" requires a restart'),
        (SERVER + '[store]\ntimeout = "2s"\n', "store.timeout: 2 requires a restart; expected 1"),
        (
            SERVER + SHARED + '[store]\nurl = "redis://u:hidden@h"\n',
            "store.url: another value requires a restart; expected the value at the start",
        ),
        (
            SERVER + '[events]\nurl = "nats://u:hidden@h"\n',
            "events.url: another value requires a restart; expected the value at the start",
        ),
        (SERVER + '[admin]\nlisten = "127.0.0.1:3"\n', 'admin.listen: "127.0.0.1:3" requires'),
    ],
)
def test_other_keys_require_a_restart(text: str, problem: str, tmp_path: Path) -> None:
    [found] = restart_problems(config(SERVER, tmp_path), config(text, tmp_path))
    assert found.startswith(problem)
    assert "hidden" not in found


def test_only_the_first_certificate_requires_a_restart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    tls = {
        name: config(
            f'{SERVER}tls_cert = "{tmp_path / name}"\ntls_key = "{tmp_path / name}"\n', tmp_path
        )
        for name in ("a", "b")
    }
    plain = config(SERVER, tmp_path)
    assert restart_problems(tls["a"], tls["b"]) == []
    assert restart_problems(plain, tls["a"]) == [
        "server.tls_cert: a certificate requires a restart; expected HTTP without TLS until then"
    ]
    assert restart_problems(tls["a"], plain) == [
        "server.tls_cert: no certificate requires a restart; expected HTTPS until then"
    ]


@pytest.mark.parametrize(
    ("before", "after", "problems"),
    [
        ('domains = "a.b"', 'domains = ["a.b", "c.d"]\nemail = "e@f.g"', []),
        (
            'domains = "a.b"',
            'domains = "a.b"\nhttps_port = 444',
            ["edge.https_port: 444 requires a restart; expected 443 until then"],
        ),
        (
            'domains = ["a.b", "c.d"]',
            "",
            ["edge.domains: no domain requires a restart; expected a.b, c.d until then"],
        ),
        (
            "",
            'domains = "a.b"',
            ["edge.domains: the first domain requires a restart; expected none until then"],
        ),
        (
            'domains = "a.b"',
            'domains = "a.b"\n[server]\nlisten = "0.0.0.0:8080"',
            [
                (
                    "server.listen: its own port next to the edge requires a restart; "
                    "expected none until then"
                )
            ],
        ),
        (
            'domains = "a.b"',
            'domains = "a.b"\n[server]\nlisten = "127.0.0.1:9090"',
            [
                (
                    "server.listen: its own port next to the edge requires a restart; "
                    "expected none until then"
                )
            ],
        ),
    ],
)
def test_edge_comes_and_goes_with_a_restart(
    before: str, after: str, problems: list[str], tmp_path: Path
) -> None:
    running, new = config(f"[edge]\n{before}", tmp_path), config(f"[edge]\n{after}", tmp_path)
    assert restart_problems(running, new) == problems


def test_every_key_is_either_reloaded_or_requires_a_restart(tmp_path: Path) -> None:
    """A new key requires a restart until it is declared as reloadable."""
    before = config(SERVER, tmp_path)
    for name in Config.model_fields.keys() - {"rooms", "rules", "schedule"}:
        section = getattr(before, name)
        for key in type(section).model_fields:
            after = before.model_copy(update={name: section.model_copy(update={key: "other"})})
            problems = restart_problems(before, after)
            assert problems == [] or problems[0].startswith((f"{name}.", "server.tls_cert"))
