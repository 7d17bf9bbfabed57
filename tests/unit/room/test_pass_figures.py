"""The busiest passes between processes: added up, bounded, and read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pass_figures import (
    MAX_LISTED,
    PassFigures,
    busiest,
    encode_passes,
    merge_passes,
    pass_file,
    read_passes,
)
from gatekeeper.room.worker_figures import Figures, parse_figures

ANN = PassFigures(RoomName("sale"), VisitorId("A" * 22), 10, 3, 1, (1, 2))
RAW = json.loads(encode_passes([ANN]))[0]


def test_figures_of_one_pass_are_added_up_over_workers() -> None:
    other = replace(ANN, requests=5, most=7, turned_away=2, addresses=(2, 3))
    bob = replace(ANN, visitor=VisitorId("B" * 22), requests=99)
    elsewhere = replace(ANN, room=RoomName("side"))
    merged = merge_passes([[ANN, elsewhere], [other], [bob]])
    assert merged[0] == bob
    assert set(merged[1:]) == {
        replace(ANN, requests=15, most=7, turned_away=3, addresses=(1, 2, 3)),
        elsewhere,
    }


def test_list_is_bounded_and_has_both_kinds() -> None:
    many = [
        replace(ANN, visitor=VisitorId(f"{n:022}"), requests=1000 - n, addresses=(1,))
        for n in range(100)
    ]
    few = replace(ANN, requests=1, addresses=tuple(range(9)))
    found = busiest([*many, few])
    assert len(found) == MAX_LISTED
    assert found[-1] == few
    assert found[:10] == many[:10]


def test_file_of_a_worker_returns_what_was_written(tmp_path: Path) -> None:
    file = pass_file(tmp_path, 7)
    assert read_passes(file) == ()
    file.write_bytes(encode_passes([ANN]))
    assert read_passes(file) == (ANN,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "[1]",
        json.dumps([RAW | {"visitor": "A"}]),
        json.dumps([RAW | {"room": ""}]),
        json.dumps([RAW | {"room": "a\nb"}]),
        json.dumps([RAW | {"requests": -1}]),
        json.dumps([RAW | {"most": True}]),
        json.dumps([RAW | {"turned_away": 1.5}]),
        json.dumps([RAW | {"addresses": ["192.0.2.1"]}]),
        json.dumps([RAW | {"addresses": list(range(17))}]),
        json.dumps([{key: value for key, value in RAW.items() if key != "most"}]),
        json.dumps([RAW] * (MAX_LISTED + 1)),
        json.dumps([RAW | {"room": "x" * 100_000}]),
    ],
)
def test_file_that_is_not_ours_has_no_passes(text: str, tmp_path: Path) -> None:
    file = pass_file(tmp_path, 7)
    file.write_text(text)
    assert read_passes(file) == ()


def test_figures_round_trip_and_are_empty_of_older_releases() -> None:
    figures = Figures("gate", 1.0, 0, {}, store_up=True, events_up=True, passes=(ANN,))
    assert parse_figures(figures.to_json()) == figures
    raw = json.loads(figures.to_json())
    del raw["passes"]
    assert parse_figures(json.dumps(raw).encode()).passes == ()
    with pytest.raises(ValueError, match="visitor"):
        parse_figures(json.dumps(raw | {"passes": [RAW | {"visitor": "A"}]}).encode())
