"""The picture of the packets' path shows what the processes said, and fits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rtcrelay.cli.picture import LEAST_HEIGHT, LEAST_WIDTH, WORDS, draw
from rtcrelay.client.demo.scene import Lane, Scene
from rtcrelay.client.demo.story import STEPS

LANE = Lane(
    node="a",
    media="127.0.0.1:28235",
    runs=True,
    sessions=1,
    client="127.0.0.1:51234",
    ufrag="abquirhmcyggd2ma5bajn5ewrba",
    route="cluster 1, 127.0.0.1:28235",
    sent=502,
    received=500,
    relay_in=511,
    relay_out=509,
    node_in=513,
    node_out=507,
    arrivals=tuple(90.0 + 0.02 * i for i in range(500)),
)
SCENE = Scene(
    now=100.0,
    vip="127.0.0.1:26561",
    relay_pid=4711,
    counters={"routed_by_ufrag": 7, "announces": 0, "claims_learned": 3},
    lanes=(LANE, replace(LANE, node="b", client="127.0.0.1:51236", media="127.0.0.1:21747")),
    killed_at=None,
    ready_at=None,
)
EMPTY = replace(
    LANE,
    sessions=0,
    client=None,
    ufrag=None,
    route=None,
    sent=0,
    received=0,
    relay_in=0,
    node_in=0,
    node_out=0,
    arrivals=(),
)
BEFORE = replace(SCENE, relay_pid=None, counters={}, lanes=(EMPTY, replace(EMPTY, node="b")))
DEAD = replace(SCENE, relay_pid=None, killed_at=99.8)
AGAIN = replace(SCENE, relay_pid=4712, killed_at=98.0, ready_at=98.267)


def text(scene: Scene, step: str = "conversation", width: int = 80) -> str:
    return "\n".join(draw(scene, step, width, color=False))


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("scene", [BEFORE, SCENE, DEAD, AGAIN], ids=["before", "talking", "dead", "again"])
@pytest.mark.parametrize("step", [name for name, _, _ in STEPS])
def test_every_picture_has_the_same_height_and_fits_the_width(step: str, scene: Scene, width: int) -> None:
    plain = draw(scene, step, width, color=False)
    assert len(plain) == len(draw(BEFORE, "", LEAST_WIDTH)) < LEAST_HEIGHT
    assert max(map(len, plain)) < width
    painted = draw(scene, step, width)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in painted] == plain


@pytest.mark.parametrize("step", [name for name, _, _ in STEPS])
def test_what_is_told_during_a_step_is_not_cut_at_eighty_columns(step: str) -> None:
    assert " ".join(text(SCENE, step).splitlines()[-2:]).strip() == WORDS[step]


def test_a_picture_has_every_count_of_every_leg() -> None:
    seen = text(SCENE)
    for count in ("502", "500", "511", "509", "513", "507", "4711", ":51234", "127.0.0.1:26561", "127.0.0.1:28235"):
        assert count in seen
    assert re.search(r"routed by ufrag +7", seen)
    assert re.search(r"paths learned +3", seen)
    assert "ufrag abquirhmcyggd2ma5bajn5ewrba opens to cluster 1, 127.0.0.1:28235: a" in seen


def test_before_there_is_a_call_no_leg_is_drawn() -> None:
    seen = text(BEFORE)
    assert "not yet started" in seen
    assert "▶" not in seen
    assert "ufrag a" not in seen


def test_a_killed_relay_is_dead_and_its_legs_are_cut() -> None:
    seen = text(DEAD)
    assert "relay: DEAD" in seen
    assert "killed (-9)" in seen
    assert "▶" not in seen
    assert re.search(r"·x·", seen)
    assert "kill -9 ┘" in seen
    assert re.search(r"routed by ufrag +-", seen)  # of a process that is gone


def test_after_the_restart_the_strip_shows_how_long_nothing_came_back() -> None:
    gap = tuple(at for at in LANE.arrivals if not 98.0 < at < 98.3)
    lanes = tuple(replace(lane, arrivals=gap) for lane in AGAIN.lanes)
    seen = text(replace(AGAIN, lanes=lanes))
    strips = [line.split()[-1] for line in seen.splitlines() if line.startswith("back from ")]
    assert strips[0] == strips[1]
    assert re.fullmatch(r"[▄█]{7}[·▄]{7,8}[▄█]+", strips[0])
    assert "└ a new relay runs, 267 ms later" in seen
    assert "was dead 267 ms" in seen
