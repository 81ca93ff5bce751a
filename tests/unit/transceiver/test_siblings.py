"""Which worker a call is for, and whose request it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay._dataplane import Route, mint_ufrag, open_ufrag
from rtcrelay.http.owners import Owners, worker_nonce
from rtcrelay.transceiver.owner import owner_rules
from rtcrelay.transceiver.workers.board import Board
from rtcrelay.transceiver.workers.siblings import Siblings, Workplace

from .network import HTTP, Caller, Network, key_file, settings


class Stage:
    """Worker 0 of three; the others are what the test writes on the board."""

    def __init__(self, network: Network) -> None:
        self.board = Board(3)
        self.network = network
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        place = Workplace(0, self.board, self.sockets[0], None, tuple(self.sockets), "secret")
        self.siblings = Siblings(place, network.transceiver)
        for worker in range(3):
            self.board.begin(worker)
            self.board.set_pid(worker, 1000 + worker)

    def others(self, *sessions: int, has_room: bool = True) -> None:
        for worker, count in enumerate(sessions, 1):
            self.board.write(worker, count, is_serving=True, has_room=has_room)


@pytest.fixture
def stage(network: Network) -> Iterator[Stage]:
    stage = Stage(network)
    yield stage
    for listener in stage.sockets:
        listener.close()


def test_a_call_goes_to_the_one_with_the_fewest_sessions_if_it_has_two_fewer(stage: Stage) -> None:
    for _ in range(3):
        Caller(stage.network)
    stage.others(2, 2)
    assert stage.siblings.choose() is None
    stage.others(1, 0)
    assert stage.siblings.choose() == 2
    stage.others(1, 5)
    assert stage.siblings.choose() == 1


def test_a_call_stays_where_it_is_if_nobody_else_takes_any(stage: Stage) -> None:
    for _ in range(5):
        Caller(stage.network)
    assert stage.siblings.choose() is None, "they have written nothing yet"
    stage.others(0, 0, has_room=False)
    assert stage.siblings.choose() is None
    stage.others(0, 0)
    assert stage.siblings.choose() is not None
    stage.board.clear(1)
    stage.board.clear(2)
    assert stage.siblings.choose() is None, "they are dead"


def test_a_worker_without_room_gives_its_calls_away(stage: Stage) -> None:
    stage.others(400, 300)
    assert stage.siblings.choose() is None
    stage.network.transceiver.is_draining = True
    assert stage.siblings.choose() == 2


def test_the_board_shows_each_session_at_once(stage: Stage) -> None:
    Caller(stage.network)
    Caller(stage.network)
    assert (stage.board.row(0).sessions, stage.board.row(0).has_room) == (2, 1)


def test_a_session_names_its_worker_among_those_of_one_address(tmp_path: Path) -> None:
    network = Network.make(tmp_path, worker=5, workers=6)
    caller = Caller(network)
    token = caller.accepted.resource.partition(".")[0]
    assert network.transceiver.owners.find_worker(token) == 5
    assert network.transceiver.owners.find(token) is None, "no other machine's"
    keys = network.transceiver.keys
    elsewhere = mint_ufrag(keys.ring, Route("session", 7, ip="127.0.0.9", port=8080, nonce=worker_nonce(5)))
    assert network.transceiver.owners.find_worker(elsewhere) is None
    assert network.transceiver.owners.find_worker("nonsense") is None


def test_workers_that_are_named_by_node_id_share_the_first_ones(tmp_path: Path) -> None:
    keys = key_file(tmp_path)
    network = Network.make(tmp_path, worker=2, workers=3, node_id=42, http=("::1", 8080), media=("::1", 7002))
    network.transceiver.open(("::1", 7002), ("::1", 8080), network, None)
    caller = Caller(network)
    route = open_ufrag(network.transceiver.keys.ring, caller.accepted.resource.partition(".")[0].encode())
    assert route.ip == "0.0.0.40"
    assert open_ufrag(network.transceiver.keys.ring, caller.session.ice.ufrag.encode()).node == 42
    assert keys is not None


@pytest.mark.parametrize("worker", [0, 1, 63])
def test_a_nonce_holds_the_workers_number_and_is_random_besides(tmp_path: Path, worker: int) -> None:
    keys = key_file(tmp_path)
    owners = Owners(owner_rules(settings(tmp_path), keys), HTTP)
    nonces = {worker_nonce(worker) for _ in range(50)}
    assert len(nonces) > 40
    assert all(nonce < 2**24 for nonce in nonces)
    for nonce in nonces:
        token = mint_ufrag(keys.ring, Route("session", 7, ip=HTTP[0], port=HTTP[1], nonce=nonce))
        assert owners.find_worker(token) == worker
