"""Log lines are sampled by kind, and dropped lines are counted."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from gatekeeper import logs
from gatekeeper.logs import MAX_LINES, PERIOD_S, Sampler
from tests.unit.clock import Clock


@pytest.fixture
def sampler(clock: Clock) -> Sampler:
    return Sampler(clock)


def passed(sampler: Sampler, count: int, kind: str = "origin_failed") -> int:
    return sum(sampler.pass_line(kind) is not None for _ in range(count))


def test_lines_beyond_the_limit_are_dropped_and_counted(sampler: Sampler, clock: Clock) -> None:
    assert passed(sampler, 500) == MAX_LINES
    clock.now_s += PERIOD_S
    assert sampler.pass_line("origin_failed") == 500 - MAX_LINES
    assert sampler.pass_line("origin_failed") == 0


def test_kinds_are_limited_apart(sampler: Sampler) -> None:
    assert passed(sampler, 500) == MAX_LINES
    assert passed(sampler, 3, "request_failed") == 3


def test_few_lines_are_all_passed(sampler: Sampler, clock: Clock) -> None:
    for _ in range(20):
        assert passed(sampler, MAX_LINES) == MAX_LINES
        clock.now_s += PERIOD_S


def test_dropped_lines_are_reported_once_when_no_other_follows(
    sampler: Sampler, clock: Clock
) -> None:
    passed(sampler, 500)
    passed(sampler, 3, "request_failed")
    assert sampler.take_suppressed() == []
    clock.now_s += PERIOD_S
    assert sampler.take_suppressed() == [("origin_failed", 500 - MAX_LINES)]
    assert sampler.take_suppressed() == []
    assert sampler.pass_line("origin_failed") == 0


def test_number_of_kinds_is_bounded(sampler: Sampler) -> None:
    for number in range(10_000):
        sampler.pass_line(f"message {number}")
    assert len(sampler._periods) <= 257


@contextmanager
def written_log(monkeypatch: pytest.MonkeyPatch, sampler: Sampler) -> Iterator[io.StringIO]:
    """The output of a process that logs with this sampler."""
    written = io.StringIO()
    monkeypatch.setattr(logs, "_sampler", sampler)
    monkeypatch.setattr("sys.stderr", written)
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    try:
        logs.set_up_logging(process="test")
        yield written
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logging.basicConfig(level=level, handlers=handlers, force=True)


def test_failing_origin_writes_few_lines_with_their_number(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler, clock: Clock
) -> None:
    with written_log(monkeypatch, sampler) as written:
        log = structlog.get_logger()
        for _ in range(500):
            log.warning("origin_failed", error="refused")
            log.info("audit", action="rate")  # the record of operators is complete
            logging.getLogger("asyncio").error("accept failed on %s", "a socket")
        clock.now_s += PERIOD_S
        log.warning("origin_failed", error="refused")
        logging.getLogger("asyncio").error("accept failed on %s", "a socket")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    failed = [line for line in lines if line["event"] == "origin_failed"]
    assert len(failed) == MAX_LINES + 1
    assert [line.get("suppressed") for line in failed] == [None] * MAX_LINES + [500 - MAX_LINES]
    assert sum(line["event"] == "audit" for line in lines) == 500
    accepts = [line["event"] for line in lines if "accept failed on a socket" in line["event"]]
    assert len(accepts) == MAX_LINES + 1
    assert accepts[-1].endswith(f"(suppressed={500 - MAX_LINES})")


def test_end_of_failures_is_followed_by_their_number(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler, clock: Clock
) -> None:
    with written_log(monkeypatch, sampler) as written:
        for _ in range(30):
            structlog.get_logger().error("store_full", room="shop")
        logs.log_suppressed()
        clock.now_s += PERIOD_S
        logs.log_suppressed()
    last = json.loads(written.getvalue().splitlines()[-1])
    assert (last["event"], last["of"], last["room"]) == (
        "log_lines_suppressed",
        "store_full",
        "shop",
    )
    assert last["suppressed"] == 30 - MAX_LINES
