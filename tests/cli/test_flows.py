"""``rtcrelay flows`` against relays that run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import SPP_HEADER, Route, SppHeader, mint_ufrag, pack_spp

from .conftest import Cli
from .relay_process import RelayProcess, UnixConnection, binding_request

SUCCESS = bytes.fromhex("010100002112a442") + bytes(12)


@dataclass
class Scene:
    """A relay with one call that has media both ways, of which the client's lost two of ten packets."""

    relay: RelayProcess
    client: str
    transceiver: socket.socket
    internal: tuple[str, int]
    socket: str

    def announce(self, client: tuple[str, int]) -> None:
        self.transceiver.sendto(pack_spp(SppHeader(client, self.internal)), self.internal)

    def rtp(self, number: int) -> bytes:
        return b"\x80\x6f" + number.to_bytes(2, "big") + (960 * number).to_bytes(4, "big") + bytes(44)


@pytest.fixture
def scene(tmp_path: Path, key_file: str) -> Iterator[Scene]:
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as client:
        for sock in (transceiver, client):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
        port = transceiver.getsockname()[1]
        ring = keys.load_key_file(Path(key_file)).ring
        ufrag = mint_ufrag(ring, Route("endpoint", 0, ip="127.0.0.1", port=port, nonce=1, key_id=3))
        with RelayProcess(tmp_path, key_file, "--transceivers", f"127.0.0.1:{port}") as relay:
            host, _, number = relay.ask("/v1/stats")[1]["listeners"][0]["internal"].rpartition(":")
            scene = Scene(relay, "", transceiver, (host, int(number)), str(relay.admin))
            client.sendto(binding_request(f"{ufrag}:abcd"), relay.public())
            header = transceiver.recv(2048)[:SPP_HEADER]
            scene.client = f"127.0.0.1:{client.getsockname()[1]}"
            for payload in (SUCCESS, scene.rtp(1)):
                transceiver.sendto(header + payload, scene.internal)
                assert client.recv(2048) == payload
            for at in (1, 2, 3, 4, 6, 7, 9, 10):
                client.sendto(scene.rtp(at), relay.public())
                assert transceiver.recv(2048)
            yield scene


def test_a_listing_shows_each_leg_and_counts_on_stderr(scene: Scene, process: Cli) -> None:
    done = process("flows", "list", "-A", scene.socket)
    assert (done.status, done.err) == (0, "1 flows\n")
    header, line = done.out.splitlines()
    assert header.split() == [
        *("SRC", "DST", "STATE", "IDLE", "PKTS>", "<PKTS", "BYTES>", "<BYTES"),
        *("LOSS%>", "<LOSS%", "JITTER>", "<JITTER", "RTT-C", "RTT-T", "ONE-WAY"),
    ]
    cells = line.split()
    assert cells[0] == scene.client
    assert (cells[2], cells[4], cells[5]) == ("strong", "9", "2")
    assert (cells[8], cells[9]) == ("20.0", "0.0")
    assert cells[12] == "-", "no check of the transceiver's, no DTLS: unknown"
    assert len(cells) == 14, "nothing is one-way"


def test_json_is_the_same_with_and_without_a_filter(scene: Scene, process: Cli) -> None:
    (found,) = json.loads(process("flows", "list", "-A", scene.socket, "--json").out)
    assert (found["kind"], found["v"], found["client"], found["state"]) == ("flow", 1, scene.client, "strong")
    assert found["from_client"]["loss_percent"] == 20.0
    (filtered,) = json.loads(process("flows", "list", "-A", scene.socket, "--json", "--src", "127.0.0.0/8").out)
    assert list(filtered) == list(found)
    assert json.loads(process("flows", "list", "-A", scene.socket, "-o", "jsonl").out)["relay"] == found["relay"]
    for nothing in (("--src", "10.0.0.0/8"), ("--state", "pending"), ("--idle-above", "1h"), ("--dst", "10.0.0.1")):
        done = process("flows", "list", "-A", scene.socket, "--json", *nothing)
        assert (done.status, json.loads(done.out)) == (0, [])


def test_legs_that_are_not_watched_are_unknown_and_the_rest_is_as_ever(tmp_path: Path, key_file: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver:
        transceiver.bind(("127.0.0.1", 0))
        network = f"127.0.0.1:{transceiver.getsockname()[1]}"
        with RelayProcess(tmp_path, key_file, "--watch-legs", "off", "--transceivers", network) as relay:
            host, _, port = relay.ask("/v1/stats")[1]["listeners"][0]["internal"].rpartition(":")
            header = pack_spp(SppHeader(("198.51.100.9", 1), (host, int(port))))
            transceiver.sendto(header + b"\x80\x6f\0\1" + bytes(40), (host, int(port)))
            while not (flows := relay.ask("/v1/flows")[1]["flows"]):
                pass
    assert (flows[0]["state"], flows[0]["to_client"], flows[0]["packets_out"]) == ("strong", None, 1)


def test_get_shows_a_client_and_is_1_for_a_stranger(scene: Scene, process: Cli) -> None:
    done = process("flows", "get", scene.client, "-A", scene.socket)
    assert done.status == 0
    assert "loss%>" in done.out
    assert process("flows", "get", "192.0.2.1", "-A", scene.socket).status == 1


def test_several_pages_are_one_listing(scene: Scene, process: Cli) -> None:
    for port in range(10_000, 22_000):
        scene.announce(("198.51.100.9", port))
        if port % 200 == 0:
            assert scene.relay.ask("/healthz")[0] == 200  # lets the relay keep up
    found = json.loads(process("flows", "list", "-A", scene.socket, "--json").out)
    clients = [flow["client"] for flow in found]
    assert len(clients) == len(set(clients)) == scene.relay.ask("/v1/stats")[1]["gauges"]["flows"]
    assert len(clients) > 10_000


def test_stats_show_what_happened_and_only_what_happens_with_an_interval(scene: Scene, process: Cli) -> None:
    rows = json.loads(process("flows", "stats", "-A", scene.socket, "--json").out)
    counts = {(row["group"], row["name"]): row["count"] for row in rows}
    assert counts[("count", "routed_by_ufrag")] == 1
    assert all(row["count"] for row in rows)
    assert json.loads(process("flows", "stats", "-A", scene.socket, "--json", "-i", "50ms").out) == []
    everything = json.loads(process("flows", "stats", "-A", scene.socket, "--json", "--all").out)
    assert {"group": "drop", "name": "no_route"}.items() <= next(
        r for r in everything if r["name"] == "no_route"
    ).items()


def test_top_prints_one_frame_where_there_is_no_terminal(scene: Scene, process: Cli) -> None:
    done = process("flows", "top", "-A", scene.socket, "-i", "100ms", "--sort", "loss")
    assert done.status == 0
    summary, blank, header, line = done.out.splitlines()
    assert summary.startswith("1 flows, ")
    assert summary.endswith("0 one-way; by loss")
    assert (blank, header.split()[:4], line.split()[0]) == ("", ["SRC", "DST", "PPS>", "<PPS"], scene.client)


def test_a_flow_that_is_killed_is_gone_and_the_transceiver_does_not_bring_it_back(scene: Scene, process: Cli) -> None:
    for port in (10_000, 10_001):
        scene.announce(("198.51.100.9", port))
    dry = process("flows", "kill", "198.51.100.9", "-A", scene.socket, "--dry-run", "--json")
    assert (dry.status, dry.err) == (0, "2 flows would be killed\n")
    assert sorted(flow["client"] for flow in json.loads(dry.out)) == ["198.51.100.9:10000", "198.51.100.9:10001"]
    done = process("flows", "kill", "198.51.100.9", "-A", scene.socket, "--yes")
    assert (done.status, done.err) == (0, "2 flows killed\n")
    assert process("flows", "kill", "198.51.100.9", "-A", scene.socket, "--yes").err == "0 flows killed\n"
    scene.announce(("198.51.100.9", 10_000))
    scene.announce(("198.51.100.10", 10_000))
    left = {flow["client"] for flow in json.loads(process("flows", "list", "-A", scene.socket, "--json").out)}
    assert left == {scene.client, "198.51.100.10:10000"}
    assert scene.relay.ask("/v1/stats")[1]["drops"]["killed"] == 1
    assert process("flows", "kill", "192.0.2.1", "-A", scene.socket, "--yes").status == 1


def test_a_person_is_asked_before_flows_are_killed(scene: Scene) -> None:
    for answer, status, said in (("n", 1, b"nothing was killed"), ("y", 0, b"1 flows killed")):
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "rtcrelay", "flows", "kill", scene.client, "-A", scene.socket]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
            os.write(ours, f"{answer}\n".encode())
            err = asking.communicate(timeout=20)[1]
        os.close(ours)
        os.close(theirs)
        assert err.startswith(b"Kill 1 flows? [y/N] ")
        assert said in err
        assert asking.returncode == status


def test_a_list_of_paths_to_kill_is_read_strictly(scene: Scene) -> None:
    for body in (b"", b"[1]", b"{}", b'[{"client": "x", "ingress": 1}]', b'[{"client": "1.2.3.4:5"}]'):
        connection = UnixConnection(scene.relay.admin)
        connection.request("POST", "/v1/flows/kill", body)
        assert connection.getresponse().status == 400
        connection.close()


def tail(scene: Scene, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rtcrelay", "flows", "tail", "-A", scene.socket, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_a_tail_prints_what_happens_until_it_has_enough(scene: Scene) -> None:
    with tail(scene, "-o", "jsonl", "-n", "1", "--src", "198.51.100.9") as process:
        port = 10_000
        while process.poll() is None:  # until it listens
            scene.announce(("198.51.100.8", port))
            scene.announce(("198.51.100.9", port))
            port += 1
            signal.sigtimedwait([], 0.01)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    event = json.loads(out)
    assert (event["kind"], event["event"], event["ingress"]) == ("flow_event", "established", scene.internal[1])
    assert event["client"].startswith("198.51.100.9:")
    assert event["next_hop"] == f"127.0.0.1:{scene.transceiver.getsockname()[1]}"


def test_a_tail_ends_with_0_on_ctrl_c_and_with_69_when_the_relay_ends(scene: Scene) -> None:
    first, second = tail(scene), tail(scene)
    for process in (first, second):
        while process.poll() is None and not _has_output(process):
            scene.announce(("198.51.100.9", 10_000 + int.from_bytes(os.urandom(2), "big") % 50_000))
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=10)[1] == ""
    assert first.returncode == 0
    assert scene.relay.end()[0] == 0
    assert second.communicate(timeout=10)[1] == "rtcrelay: error: a relay has ended\n"
    assert second.returncode == 69


def _has_output(process: subprocess.Popen[str]) -> bool:
    import select

    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.01)[0])


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["list", "--src", "x"], 2, "--src: 'x' is no address, expected IP, CIDR, IP:PORT or [IP6]:PORT"),
        (["list", "--state", "new"], 2, "--state: 'new' is not one of strong, weak, pending, none"),
        (["tail", "-o", "json"], 2, "a tail has no end: --sort-by and -o json do not go with it"),
        (["tail", "-e", "expire"], 2, "--event: 'expire' is not one of opened, established, refreshed, asked, killed"),
        (["kill"], 2, "expected SRC, --dst, --state or --idle-above, or --all for every path"),
        (["kill", "--all", "127.0.0.1"], 2, "--all and a choice of paths exclude each other"),
        (["kill", "127.0.0.1"], 2, "there is no terminal to ask on"),
        (["kill", "127.0.0.1", "-y", "-A", "/nonexistent.sock"], 69, "cannot reach the admin socket /nonexistent.sock"),
        (["top", "--sort", "x"], 2, "--sort: 'x' is not one of rate, bytes, idle, loss, jitter, rtt"),
        (["top", "-n", "x"], 2, "--limit: 'x' is not a whole number"),
        (["list", "-A", "/nonexistent.sock"], 69, "cannot reach the admin socket /nonexistent.sock: no such file"),
        (["tail", "-A", "/nonexistent.sock"], 69, "cannot reach the admin socket /nonexistent.sock: no such file"),
        (["stats", "-A", "/nonexistent.sock"], 69, "cannot reach the admin socket /nonexistent.sock: no such file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cli: Cli, args: list[str], status: int, message: str) -> None:
    done = cli("flows", *args)
    assert done.status == status
    assert done.err.startswith(f"rtcrelay: error: {message}")
