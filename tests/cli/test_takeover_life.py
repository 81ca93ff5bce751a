"""``serve relay --takeover`` as operators do it: two real processes, one after the other, under load."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import SPP_HEADER, Route, mint_ufrag

from .conftest import Cli
from .relay_process import RelayProcess, binding_request

SUCCESS = bytes.fromhex("010100002112a442") + bytes(12)
RTP = b"\x80\x6f" + bytes(50)


class Load:
    """An established call whose client sends numbered packets all the time, and the transceiver that counts them."""

    def __init__(self, directory: Path, key_file: str) -> None:
        self.directory, self.key_file = directory, key_file
        self.client = socket.socket(type=socket.SOCK_DGRAM)
        self.transceiver = socket.socket(type=socket.SOCK_DGRAM)
        self.transceiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        for sock in (self.client, self.transceiver):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
        self.public, self.internal = _free_udp_port(), _free_udp_port()
        self.metrics = _free_tcp_port()
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def relay(self, notify: str, *args: str, internal: int | None = None, key_file: str | None = None) -> RelayProcess:
        transceiver = f"127.0.0.1:{self.transceiver.getsockname()[1]}"
        addresses = ("-l", f"127.0.0.1:{self.public}", "--internal", f"127.0.0.1:{internal or self.internal}")
        options = (*addresses, "--transceivers", transceiver, "--log-format", "json")
        metrics = ("--metrics", f"127.0.0.1:{self.metrics}")
        return RelayProcess(self.directory, key_file or self.key_file, *options, *metrics, *args, notify=notify)

    def establish(self) -> None:
        ip, port = self.transceiver.getsockname()
        ring = keys.load_key_file(Path(self.key_file)).ring
        ufrag = mint_ufrag(ring, Route("endpoint", 0, ip=ip, port=port, nonce=1, key_id=3))
        self.client.sendto(binding_request(f"{ufrag}:abcd"), ("127.0.0.1", self.public))
        header = self.transceiver.recv(2048)[:SPP_HEADER]
        for payload in (SUCCESS, RTP):
            self.transceiver.sendto(header + payload, ("127.0.0.1", self.internal))
            assert self.client.recv(2048) == payload

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[int]:
        """Ends the load; returns the numbers that arrived."""
        self._stop.set()
        self._thread.join()
        return sorted(self._number(self.transceiver.recv(2048)) for _ in range(self.sent))

    def _number(self, datagram: bytes) -> int:
        return int.from_bytes(datagram[SPP_HEADER + 2 :][:8], "big")

    def _run(self) -> None:
        while not self._stop.wait(0.0002):
            self.client.sendto(b"\x80\x6f" + self.sent.to_bytes(8, "big") + bytes(50), ("127.0.0.1", self.public))
            self.sent += 1

    def close(self) -> None:
        self._stop.set()
        self.client.close()
        self.transceiver.close()


def _end(pid: int) -> None:
    """Ends a process that is nobody's child here, and waits until it is gone."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        select.select([descriptor], [], [], 10)
        os.close(descriptor)


def _free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def load(tmp_path: Path, key_file: str) -> Iterator[Load]:
    load = Load(tmp_path, key_file)
    yield load
    load.close()


def test_under_load_two_hand_overs_lose_nothing_and_the_counters_go_on(load: Load) -> None:
    with load.relay("one") as first:
        load.establish()
        load.start()
        time.sleep(0.2)
        with load.relay("two", "--takeover", "-w", "2") as second:
            assert first.process.wait(timeout=10) == 0
            with load.relay("three", "--takeover") as third:
                assert second.process.wait(timeout=10) == 0
                time.sleep(0.2)
                assert load.stop() == list(range(load.sent))
                assert load.sent > 1000
                stats = third.ask("/v1/stats")[1]
                assert stats["pid"] == third.process.pid
                assert stats["counters"]["routed_by_path"] == load.sent
                assert stats["counters"]["routed_by_ufrag"] == 1
                assert sum(stats["drops"].values()) == 0
                assert stats["gauges"]["flows"] == 1
                (flow,) = third.ask("/v1/flows")[1]["flows"]
                assert flow["packets_in"] == load.sent + 1
                assert sorted(path.name for path in load.directory.glob("relay.sock*")) == [
                    "relay.sock",
                    "relay.sock.takeover",
                ]
                with socket.create_connection(("127.0.0.1", load.metrics)):
                    pass
                assert third.end()[0] == 0
                assert list(load.directory.glob("relay.sock*")) == []


def test_fewer_workers_serve_all_sockets_and_more_than_there_are_sockets_are_said_not_to_run(load: Load) -> None:
    with load.relay("one", "-w", "2") as first:
        load.establish()
        load.start()
        with load.relay("two", "--takeover", "-w", "1") as second:
            assert first.process.wait(timeout=10) == 0
            assert second.ask("/v1/stats")[1]["gauges"]["workers"] == 1
            with load.relay("three", "--takeover", "-w", "4") as third:
                assert second.process.wait(timeout=10) == 0
                assert load.stop() == list(range(load.sent))
                assert third.ask("/v1/stats")[1]["gauges"]["workers"] == 2
                assert third.ask("/readyz")[0] == 200
                status, log = third.end()
                assert status == 0
                said = "2 workers run and not 4, since the other relay had no more"
                assert said in [record["message"] for record in log]


def test_the_service_manager_hears_of_the_new_process_before_the_old_one_ends(load: Load) -> None:
    with load.relay("one") as first:
        second = load.relay("two", "--takeover")
        seen = second.wait_for("READY=1")
        assert seen.index(f"MAINPID={second.process.pid}") < seen.index("READY=1")
        _, log = first.process.communicate(timeout=10)
        assert f"process {second.process.pid} has taken over" in log
        first._notify.setblocking(False)
        with pytest.raises(BlockingIOError):  # STOPPING=1 would be taken for the service's end
            first._notify.recv(4096)
        second.__exit__(None, None, None)


def test_a_failed_start_leaves_the_old_relay_serving(load: Load, tmp_path: Path) -> None:
    other_key = tmp_path / "loose.toml"
    keys.write_key_file(other_key, keys.generate(1))
    other_key.chmod(0o644)
    with load.relay("one") as first:
        load.establish()
        before = first.ask("/v1/stats")[1]["pid"]
        other = load.relay("two", "--takeover", internal=_free_udp_port())
        out = other.process.communicate(timeout=20)[1]
        assert other.process.returncode == 69
        assert "cannot take over: the running relay refuses: its listeners are others" in out
        wrong = load.relay("three", "--takeover", key_file=str(other_key))
        out = wrong.process.communicate(timeout=20)[1]
        assert wrong.process.returncode == 78
        assert "has mode 0644" in out
        load.start()
        time.sleep(0.1)
        assert load.stop() == list(range(load.sent))
        stats = first.ask("/v1/stats")[1]
        assert (stats["pid"], stats["gauges"]["workers"]) == (before, 1)
        assert sorted(path.name for path in load.directory.glob("relay.sock*")) == ["relay.sock", "relay.sock.takeover"]
        assert "\nrtcrelay_relay_takeovers_failed_total 1.0\n" in first.ask("/metrics")[1]
        assert first.end()[0] == 0
    for relay in (other, wrong):
        relay.__exit__(None, None, None)


def test_a_killed_successor_leaves_the_old_relay_serving(load: Load) -> None:
    with load.relay("one") as first:
        load.establish()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.connect(f"{first.admin}.takeover")
        load.start()
        time.sleep(0.1)
        assert load.stop() == list(range(load.sent))
        status, log = first.end()
        assert status == 0
        assert any("a successor did not take over, this relay goes on" in record["message"] for record in log)


def test_detached_a_takeover_returns_when_the_next_one_may_come(load: Load) -> None:
    with load.relay("one") as first:
        load.establish()
        load.start()
        command = [*map(str, cast("list[str]", first.process.args)), "--takeover", "--detach"]
        pids = [first.process.pid]
        try:
            for _ in range(2):
                # Not into pipes: what goes on keeps them open.
                assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
                pids.append(first.ask("/v1/stats")[1]["pid"])
            assert len(set(pids)) == 3
            assert first.process.wait(timeout=10) == 0
            assert load.stop() == list(range(load.sent))
        finally:
            for pid in pids[1:]:
                _end(pid)


def test_detached_a_takeover_that_fails_says_so_by_its_status(tmp_path: Path, key_file: str, process: Cli) -> None:
    socket_path = tmp_path / "relay.sock"
    command = ("serve", "relay", "--takeover", "--detach", "--key-file", key_file, "--admin", str(socket_path))
    done = process(*command)
    assert (done.status, "no relay answers" in done.err) == (69, True)
    done = process(*command, "-w", "0")
    assert (done.status, done.err) == (78, "rtcrelay: error: --workers: '0' is not a whole number from 1 to 64\n")


def test_only_a_takeover_can_detach(key_file: str, process: Cli) -> None:
    done = process("serve", "relay", "--detach", "--key-file", key_file)
    assert done.status == 2
    assert done.err.startswith("rtcrelay: error: --detach needs --takeover\n")


def test_without_a_running_relay_there_is_nothing_to_take_over(tmp_path: Path, key_file: str, process: Cli) -> None:
    socket_path = tmp_path / "relay.sock"
    done = process("serve", "relay", "--takeover", "--key-file", key_file, "--admin", str(socket_path))
    assert done.status == 69
    assert done.err == (
        f"rtcrelay: error: cannot take over: no relay answers at {socket_path}.takeover: no such file or directory\n"
        "hint: start without --takeover if none runs\n"
    )
    assert list(tmp_path.glob("relay.sock*")) == []


def test_a_takeover_needs_an_admin_socket(key_file: str, process: Cli) -> None:
    done = process("serve", "relay", "--takeover", "--key-file", key_file, "--admin", "none")
    assert done.status == 78
    assert done.err.startswith("rtcrelay: error: --takeover needs an admin socket")
