"""URLs of a store behind Sentinels: their parts, and the problems of an invalid one."""

from pathlib import Path

import pytest

from gatekeeper.config.load import load_config
from gatekeeper.config.sentinel_url import parse_sentinel_url
from gatekeeper.errors import ConfigError


def test_all_parts_of_the_url_are_read() -> None:
    url = parse_sentinel_url(
        "rediss+sentinel://gate:p%40ss@one:26379,two,[::1]:5000/shop/3"
        "?sentinel_username=s&sentinel_password=a%2Fb&ssl_ca_certs=/ca.pem"
    )
    assert url is not None
    assert url.hosts == (("one", 26379), ("two", 26379), ("::1", 5000))
    assert url.primary == "shop"
    assert url.server_url == "rediss://gate:p%40ss@primary/3?ssl_ca_certs=%2Fca.pem"
    assert url.login == {"username": "s", "password": "a/b"}
    assert "p%40ss" not in repr(url)
    assert "a/b" not in repr(url)


def test_shortest_url() -> None:
    url = parse_sentinel_url("redis+sentinel://sentinels/shop")
    assert url is not None
    assert (url.hosts, url.primary) == ((("sentinels", 26379),), "shop")
    assert url.server_url == "redis://primary/?"


@pytest.mark.parametrize("url", ["redis://h/0", "unix:///s.sock", "embedded"])
def test_other_urls_have_no_sentinels(url: str) -> None:
    assert parse_sentinel_url(url) is None


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("one:26379", "no name of a primary after the hosts"),
        ("one:26379/", "no name of a primary after the hosts"),
        ("one:26379,/shop", "a host is empty or malformed"),
        ("[::1,two/shop", "a host is empty or malformed"),
        ("/shop", "a host is empty or malformed"),
        ("u:secret@/shop", "a host is empty or malformed"),
        ("one:x/shop", "a port is not a number up to 65535"),
        ("one:70000/shop", "a port is not a number up to 65535"),
        ("one/shop/x", "the database after the primary is not a number"),
        ("one/shop?sentinel_timeout=3", "unknown parameter sentinel_timeout"),
    ],
)
def test_wrong_url_is_a_problem_without_the_password(
    tmp_path: Path, rest: str, problem: str
) -> None:
    file = tmp_path / "gatekeeper.toml"
    file.write_text(f'[store]\nurl = "redis+sentinel://{rest}"\n')
    with pytest.raises(ConfigError) as refused:
        load_config(file, environ={})
    assert refused.value.problems[0] == (
        f"store.url: {problem}; expected redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY, "
        "with user and password of the servers, if any, before the first host"
    )
