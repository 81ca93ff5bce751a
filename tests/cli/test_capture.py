"""``rtcrelay capture`` against relays that run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import SPP_HEADER, Route, mint_ufrag

from .conftest import Cli
from .relay_process import RelayProcess, UnixConnection, binding_request

SUCCESS = bytes.fromhex("010100002112a442") + bytes(12)
DTLS = bytes.fromhex("16fefd0000000000000000000a") + bytes(10)
DATA_CHANNEL = bytes.fromhex("17fefd0001000000000001003c") + bytes(60)


def rtp(number: int) -> bytes:
    return b"\x80\x6f" + number.to_bytes(2, "big") + (960 * number).to_bytes(4, "big") + b"ssrc" + b"speech" * 20


class Call:
    """A client, a transceiver, and the relay between them."""

    def __init__(self, relay: RelayProcess, transceiver: socket.socket, key_file: str, nonce: int) -> None:
        self.relay, self.transceiver = relay, transceiver
        self.client = socket.socket(type=socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.client.settimeout(10)
        self.address = f"127.0.0.1:{self.client.getsockname()[1]}"
        ring, port = keys.load_key_file(Path(key_file)).ring, transceiver.getsockname()[1]
        self.ufrag = mint_ufrag(ring, Route("endpoint", 0, ip="127.0.0.1", port=port, nonce=nonce, key_id=3))
        self.header = b""

    def send(self, payload: bytes) -> None:
        self.client.sendto(payload, self.relay.public())

    def up(self, payload: bytes) -> None:
        self.send(payload)
        self.header = self.transceiver.recv(2048)[:SPP_HEADER]

    def down(self, payload: bytes) -> None:
        host, _, port = self.relay.ask("/v1/stats")[1]["listeners"][0]["internal"].rpartition(":")
        self.transceiver.sendto(self.header + payload, (host, int(port)))
        assert self.client.recv(2048) == payload

    def run(self) -> None:
        """One check, one handshake flight each way, a packet of speech each way, data, and a packet that is dropped."""
        self.up(binding_request(f"{self.ufrag}:abcd"))
        for payload in (SUCCESS, DTLS, rtp(1)):
            self.down(payload)
        for payload in (DTLS, rtp(1), DATA_CHANNEL):
            self.up(payload)
        self.send(b"\x10" + bytes(30))


@pytest.fixture
def calls(tmp_path: Path, key_file: str) -> Iterator[tuple[Call, Call]]:
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(10)
        network = f"127.0.0.1:{transceiver.getsockname()[1]}"
        with RelayProcess(tmp_path, key_file, "--transceivers", network) as relay:
            first, second = (Call(relay, transceiver, key_file, nonce) for nonce in (1, 2))
            with first.client, second.client:
                yield first, second


def start(*args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rtcrelay", "capture", *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert process.stderr is not None
    assert process.stderr.readline() == b"capturing\n"
    return process


def packets_in(file: Path) -> int:
    """Enhanced Packet Blocks so far (pcapng, section 4.3)."""
    content, at, found = file.read_bytes(), 0, 0
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<II", content, at)
        at += length
        found += kind == 6 and at <= len(content)
    return found


def until_written(file: Path, packets: int) -> None:
    """Waits for so many: the relay's ring is looked at every 50 ms."""
    end = time.monotonic() + 20
    while packets_in(file) < packets:
        assert time.monotonic() < end, f"{packets_in(file)} of {packets} packets were written"
        time.sleep(0.02)


def finish(process: subprocess.Popen[bytes], signum: int = signal.SIGINT) -> tuple[int, str]:
    """(exit status, stderr)."""
    if process.poll() is None:
        process.send_signal(signum)
    _, err = process.communicate(timeout=20)
    return process.returncode, err.decode()


def tshark(file: Path, *fields: str) -> list[list[str]]:
    """The fields of each packet, as an independent reader has them."""
    command = ["tshark", "-r", str(file), "-T", "fields", *(word for field in fields for word in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def both_legs(call: Call) -> list[tuple[str, int]]:
    """Where each packet of `Call.run` is seen: the interface and the length of the datagram."""
    check = len(binding_request(f"{call.ufrag}:abcd"))
    up = [check, len(DTLS), len(rtp(1)), len(DATA_CHANNEL)]
    down = [len(SUCCESS), len(DTLS), len(rtp(1))]
    seen = [("client", length) for length in (*up, *down, 31)]
    return sorted(seen + [("internal", SPP_HEADER + length) for length in (*up, *down)])


def found_by_tshark(file: Path) -> list[tuple[str, int]]:
    rows = tshark(file, "frame.interface_name", "udp.length")
    return sorted((name.partition("-")[0], int(length) - 8) for name, length in rows)


@pytest.mark.requires(command="tshark", install="apt-get install tshark")
def test_a_capture_has_both_legs_of_the_chosen_flow_and_nothing_else(calls: tuple[Call, Call], tmp_path: Path) -> None:
    call, other = calls
    file = tmp_path / "call.pcapng"
    process = start("-A", str(call.relay.admin), "--src", call.address, "-w", str(file))
    other.run()
    before = time.time()
    call.run()
    until_written(file, 15)
    status, err = finish(process)
    assert status == 0
    assert err == (
        "15 packets of 1 clients: 8 on the client leg, 7 on the internal leg; 1 were dropped by the relay;"
        " 0 missing here\n"
    )
    assert found_by_tshark(file) == both_legs(call)
    times = [float(row[0]) for row in tshark(file, "frame.time_epoch")]
    assert times == sorted(times)
    assert before - 1 < times[0] <= times[-1] < before + 10
    assert len({row[0][-3:] for row in tshark(file, "frame.time_epoch")}) > 1, "the last digits are nanoseconds"
    directions = {row[0] for row in tshark(file, "frame.packet_flags_direction")}
    assert len(directions) == 2, "inbound and outbound"
    comments = [row[0] for row in tshark(file, "frame.comment") if row[0]]
    assert comments == ["dropped: zrtp: The first byte says ZRTP, which is not relayed."]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_media_and_data_only_headers_are_kept_unless_they_are_wanted(
    calls: tuple[Call, Call], tmp_path: Path
) -> None:
    call, _ = calls
    for extra, has_speech in (((), False), (("--full",), True), (("--full", "-s", "12"), False)):
        file = tmp_path / f"call{len(extra)}.pcapng"
        process = start("-A", str(call.relay.admin), "--src", call.address, "-w", str(file), *extra)
        call.run()
        until_written(file, 15)
        assert finish(process)[0] == 0
        content = file.read_bytes()
        assert (b"speech" in content) is has_speech
        assert content.count(b"\x80\x6f\x00\x01") == 4, "each packet of speech, at each leg"


@pytest.mark.requires(command="tshark", install="apt-get install tshark")
def test_a_ufrag_finds_its_flow_also_when_it_is_set_up_already(calls: tuple[Call, Call], tmp_path: Path) -> None:
    call, other = calls
    call.run()
    other.run()
    file = tmp_path / "call.pcapng"
    process = start("-A", str(call.relay.admin), "--ufrag", f"{call.ufrag}:abcd", "-w", str(file))
    other.up(rtp(2))
    call.up(rtp(2))
    other.run()
    until_written(file, 2)
    assert finish(process)[0] == 0
    assert found_by_tshark(file) == [("client", 132), ("internal", 132 + SPP_HEADER)]


@pytest.mark.requires(command="tshark", install="apt-get install tshark")
@pytest.mark.parametrize(("extra", "packets"), [((), 30), (("--src", "192.0.2.0/24"), 0)])
def test_a_node_finds_all_its_flows_and_another_kind_of_filter_narrows_it(
    calls: tuple[Call, Call], tmp_path: Path, extra: Sequence[str], packets: int
) -> None:
    node = f"127.0.0.1:{calls[0].transceiver.getsockname()[1]}"
    file = tmp_path / "node.pcapng"
    process = start("-A", str(calls[0].relay.admin), "--node", node, "-w", str(file), *extra)
    for call in calls:
        call.run()
    until_written(file, packets)
    time.sleep(0.3)  # what ought not to come would be late, too
    assert finish(process)[0] == 0
    # What is dropped unread is of no node, except that its path is claimed by one.
    assert len(found_by_tshark(file)) == packets


def test_it_ends_after_so_many_packets_and_after_so_many_seconds(calls: tuple[Call, Call], tmp_path: Path) -> None:
    call, _ = calls
    file = str(tmp_path / "call.pcapng")
    counting = start("-A", str(call.relay.admin), "--all", "-w", file, "-n", "3")
    call.run()
    _, err = counting.communicate(timeout=20)
    assert (counting.returncode, err.split(b" ")[0]) == (0, b"3")
    timed = start("-A", str(call.relay.admin), "--src", "192.0.2.1", "-w", file, "--seconds", "1")
    _, err = timed.communicate(timeout=20)
    assert (timed.returncode, err.split(b" ")[0]) == (0, b"0")


@pytest.mark.requires(command="tshark", install="apt-get install tshark")
def test_stdout_can_be_read_while_it_grows(calls: tuple[Call, Call]) -> None:
    call, _ = calls
    process = start("-A", str(call.relay.admin), "--src", call.address, "-w", "-")
    reader = subprocess.Popen(["tshark", "-l", "-r", "-"], stdin=process.stdout, stdout=subprocess.PIPE, text=True)
    call.run()
    assert reader.stdout is not None
    assert "STUN" in reader.stdout.readline()
    assert finish(process, signal.SIGTERM)[0] == 0
    reader.communicate(timeout=20)


def test_explain_reads_it_with_the_media_that_was_cut(
    calls: tuple[Call, Call], tmp_path: Path, process: Cli, key_file: str
) -> None:
    call, _ = calls
    file = tmp_path / "call.pcapng"
    capturing = start("-A", str(call.relay.admin), "--src", call.address, "-w", str(file))
    call.run()
    until_written(file, 15)
    assert finish(capturing)[0] == 0
    (listener,) = call.relay.ask("/v1/stats")[1]["listeners"]
    network = f"127.0.0.1:{call.transceiver.getsockname()[1]}"
    addresses = ("-l", listener["public"], "--internal", listener["internal"], "--transceivers", network)
    done = process("explain", "-r", str(file), *addresses, "--key-file", key_file, "-o", "jsonl")
    assert done.status == 0
    assert "8 packets judged: 4 forwarded, 3 returned, 1 dropped (zrtp 1)\n" in done.err
    assert "left out: cut" not in done.err
    judged = [json.loads(line) for line in done.out.splitlines()]
    assert [row["class"] for row in judged].count("rtp") == 2
    assert [row["bytes"] for row in judged if row["class"] == "rtp"] == [132 + SPP_HEADER, 132]


def test_the_relay_ends_a_capture_whose_reader_is_gone(calls: tuple[Call, Call], tmp_path: Path, cli: Cli) -> None:
    """Eight may run at once, and the ninth is told so until one of them goes."""
    admin = calls[0].relay.admin
    with ExitStack() as stack:
        readers = []
        for _ in range(8):
            reader = stack.enter_context(closing(UnixConnection(admin)))
            reader.request("GET", "/v1/capture?all=1")
            readers.append((reader, reader.getresponse()))
        command = ("capture", "-A", str(admin), "--all", "--seconds", "1", "-w", str(tmp_path / "x"))
        refused = cli(*command)
        assert "8 captures run already" in refused.err
        readers[0][1].close()
        readers[0][0].close()
        deadline = time.monotonic() + 5
        while (done := cli(*command)).status != 0 and time.monotonic() < deadline:
            pass
        assert done.status == 0


def test_a_relay_that_ends_is_told_of_and_the_file_is_whole(calls: tuple[Call, Call], tmp_path: Path) -> None:
    call, _ = calls
    file = tmp_path / "call.pcapng"
    process = start("-A", str(call.relay.admin), "--all", "-w", str(file))
    call.run()
    until_written(file, 15)
    assert call.relay.end()[0] == 0
    _, err = process.communicate(timeout=20)
    assert process.returncode == 69
    assert re.match(rb"15 packets .*\nrtcrelay: error: a relay has ended\n$", err)
    assert file.stat().st_size > 15 * 32


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["-w", "x"], 2, "expected --ufrag, --src or --node, or --all for every flow"),
        (["--src", "127.0.0.1"], 2, "expected -w FILE, where to write"),
        (["--all", "--src", "127.0.0.1", "-w", "x"], 2, "--all and --src, --node, --ufrag exclude each other"),
        (["--src", "x", "-w", "x"], 2, "--src: 'x' is not a network, expected CIDR, for example 10.0.0.0/8"),
        (["--ufrag", "x:y", "-w", "x"], 2, "--ufrag: 'x:y' is not a routing ufrag, expected 27 of the characters"),
        (["--all", "-w", "x", "-n", "0"], 2, "--count: '0' is not a whole number from 1"),
        (["--all", "-w", "x", "-s", "1501"], 2, "--snaplen: '1501' is not a whole number from 0 to 1500"),
        (["--all", "-w", "/nonexistent/x", "-A", "/nonexistent.sock"], 74, "cannot write /nonexistent/x: no such file"),
        (["--all", "-w", "/dev/null", "-A", "/nonexistent.sock"], 69, "cannot reach the admin socket /nonexistent"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cli: Cli, args: list[str], status: int, message: str) -> None:
    done = cli("capture", *args)
    assert done.status == status
    assert done.err.startswith(f"rtcrelay: error: {message}")
