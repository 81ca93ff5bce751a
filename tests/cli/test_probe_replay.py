"""``rtcrelay probe replay``: recorded calls sent again, to sockets that listen here."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay._dataplane import KeyRing, open_ufrag, read_stun
from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.keys import DEMO_SECRET, KeyFile, load_key_file
from rtcrelay.rtc import stun

from .conftest import Cli
from .test_probe_stun import responder
from .test_stun_command import demo_keys  # noqa: F401  # a fixture

CAPTURES = Path(__file__).parents[1] / "vectors" / "captures"
CHROMIUM, CALL = CAPTURES / "chromium.pcap", CAPTURES / "call.pcap"
ROUTE = ("--rewrite-ufrag", "--endpoint", "127.0.0.1:7000", "--cluster", "7")
DEMO_RING = KeyRing([(0, DEMO_SECRET, "active")])


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
        bound.settimeout(5)
        yield bound


def where(sink: socket.socket) -> str:
    return f"127.0.0.1:{sink.getsockname()[1]}"


def heard(sink: socket.socket, count: int) -> list[tuple[bytes, tuple[str, int]]]:
    return [sink.recvfrom(2000) for _ in range(count)]


def many(path: Path, sources: int) -> str:
    """A capture with two packets of each of so many clients."""
    with path.open("wb") as stream:
        writer = CaptureWriter(stream)
        for number in range(2 * sources):
            client = ("198.51.100.7", 10_000 + number % sources)
            writer.write(number * 1000, client, ("203.0.113.10", 3478), b"\x80\x60" + number.to_bytes(4, "big") * 4)
    return str(path)


def test_a_call_of_chromium_is_sent_again_as_it_was(cli: Cli, sink: socket.socket) -> None:
    done = cli("probe", "replay", str(CHROMIUM), "--to", where(sink), "-x", "20")
    assert done.status == 0
    packets = heard(sink, 75)
    assert len({source for _, source in packets}) == 1
    assert [payload[0] >> 6 for payload, _ in packets].count(2) == 61
    requests = [message for payload, _ in packets if (message := read_stun(payload)) and message.kind == 1]
    assert len(requests) == 4
    head, source, sent, late, answered = done.out.splitlines()
    assert head.split() == ["SOURCE", "FROM", "HERE", "PACKETS", "STUN", "DTLS", "RTP"]
    assert source.split()[2:] == ["75", "4", "10", "61"]
    assert sent.startswith(f"75 packets, {sum(len(payload) for payload, _ in packets)} bytes to {where(sink)} in ")
    assert late.endswith(" ms after its time")
    assert max(map(len, done.out.splitlines())) <= 80
    assert answered == "0 packets came back; 0 of 4 binding requests answered (0 %)"
    assert done.err.splitlines() == [
        "150 packets sent to clients were left out",
        "75 packets seen a second time, behind or before a relay, were left out",
    ]


def test_programs_get_one_object(cli: Cli, sink: socket.socket) -> None:
    row = json.loads(cli("probe", "replay", str(CALL), "--to", where(sink), "-t", "-l", "3", "--json").out)
    assert (row["kind"], row["v"], row["packets"], row["loops"]) == ("replay", 1, 90, 3)
    assert row["left_out"] == {"to_clients": 60, "seen_twice": 30, "other_classes": 0}
    [source] = row["sources"]
    assert (source["stun"], source["dtls"], source["rtp"], source["packets"]) == (6, 24, 60, 90)


@pytest.mark.parametrize("only", ["stun", "dtls", "rtp"])
def test_one_class_alone(cli: Cli, sink: socket.socket, only: str) -> None:
    row = json.loads(cli("probe", "replay", str(CHROMIUM), "--to", where(sink), "-t", "--only", only, "--json").out)
    assert row["packets"] == row["sources"][0][only] == {"stun": 4, "dtls": 10, "rtp": 61}[only]


def test_each_captured_source_keeps_a_socket_and_may_be_mapped(cli: Cli, sink: socket.socket, tmp_path: Path) -> None:
    capture = many(tmp_path / "many.pcapng", 50)
    mapped = ("--map", "198.51.100.7=127.0.0.9", "--map", "198.51.100.7:10003=127.0.0.4:0")
    done = cli("probe", "replay", capture, "--to", where(sink), "-t", *mapped)
    packets = heard(sink, 100)
    assert [source for _, source in packets[:50]] == [source for _, source in packets[50:]]
    assert len({source for _, source in packets}) == 50
    assert {source[0] for _, source in packets} == {"127.0.0.9", "127.0.0.4"}
    assert packets[3][1][0] == "127.0.0.4"
    assert "and 30 more sources" in done.out


def test_gzip_and_stdin_are_read_like_a_file(sink: socket.socket) -> None:
    command = [sys.executable, "-m", "rtcrelay", "probe", "replay", "-", "--to", where(sink), "-t", "-l", "2", "--json"]
    done = subprocess.run(command, input=gzip.compress(CHROMIUM.read_bytes()), capture_output=True)
    assert (done.returncode, json.loads(done.stdout)["packets"]) == (0, 150)


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(cli: Cli, sink: socket.socket) -> None:
    done = cli("probe", "replay", str(CHROMIUM), "--to", where(sink), "--dry-run")
    assert done.out.splitlines()[-1] == "75 packets, 5993 bytes would be sent"
    plan = json.loads(cli("probe", "replay", str(CHROMIUM), "--to", where(sink), "--dry-run", "--json", "-L7").out)
    assert (plan["kind"], plan["packets"]) == ("replay_plan", 7)
    sink.settimeout(0)
    with pytest.raises(BlockingIOError):
        sink.recv(2000)


def test_ufrags_become_routable_and_requests_are_signed_with_the_passwords_of_the_file(
    cli: Cli, sink: socket.socket, tmp_path: Path
) -> None:
    captured = dict(line.split() for line in (CAPTURES / "chromium.passwords").read_text().splitlines())
    passwords = ("--password-file", str(CAPTURES / "chromium.passwords"))
    done = cli("probe", "replay", str(CHROMIUM), "--to", where(sink), "-t", *ROUTE, *passwords)
    requests = [
        (payload, message)
        for payload, _ in heard(sink, 75)
        if (message := read_stun(payload)) is not None and message.kind == stun.BINDING_REQUEST
    ]
    names = {stun.split_username(message) for _, message in requests}
    [(server, client)] = [name for name in names if name]
    route = open_ufrag(DEMO_RING, server)
    assert (route.kind, route.cluster, route.ip, route.port) == ("endpoint", 7, "127.0.0.1", 7000)
    assert client.decode() in captured
    [password] = [word for name, word in captured.items() if name != client.decode()]
    for payload, message in requests:
        assert stun.verified_attributes(payload, message, password.encode()) is not None
        assert not stun.fingerprint_is_wrong(payload, message)
    assert "4 binding requests have another ufrag" in done.err


def test_probe_ufrags_are_signed_with_the_password_of_their_key(cli: Cli, demo_keys: str) -> None:  # noqa: F811
    ring: KeyFile = load_key_file(Path(demo_keys))

    def answer(data: bytes, source: tuple[str, int]) -> list[bytes]:
        message = read_stun(data)
        assert message is not None
        username = stun.split_username(message)
        assert username is not None
        ufrag = username[0].decode()
        password = ring.probe_password(ufrag)
        assert password is not None
        assert open_ufrag(ring.ring, ufrag).kind == "probe_node"
        if stun.verified_attributes(data, message, password.encode()) is None:
            return []
        return [stun.write_binding_success(data[8:20], source, password)]

    rewrite = ("--rewrite-ufrag", "--probe", "--node", "3", "--key-file", demo_keys)
    with responder(answer) as to:
        args = ("probe", "replay", str(CHROMIUM), "--to", to, "-t", "--only", "stun", *rewrite)
        row = json.loads(cli(*args, "--expect", "100%", "--json").out)
        assert (row["requests"], row["answered"], row["answered_percent"]) == (4, 4, 100.0)
        assert cli(*args, "--expect", "100").status == 0


def test_too_few_answers_are_status_1(cli: Cli, sink: socket.socket) -> None:
    args = ("probe", "replay", str(CHROMIUM), "--to", where(sink), "-t", "-W", "10ms")
    assert cli(*args).status == 0
    done = cli(*args, "--expect", "1%")
    assert done.status == 1
    assert done.out.splitlines()[-1] == "0 packets came back; 0 of 4 binding requests answered (0 %)"
    done = cli(*args, "--expect", "50%", "--only", "rtp")
    assert (done.status, done.out.splitlines()[-1]) == (
        1,
        "0 packets came back; no binding request was sent, so none was answered",
    )


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (f"{CALL}", 2, "expected --to TARGET: where the packets go"),
        (f"{CALL} --to 127.0.0.1 -x 2 -t", 2, "-x, -p and -t exclude each other"),
        (f"{CALL} --to 127.0.0.1 -x 0", 2, "-x: '0' is not a number from 0.001 to 1000"),
        (f"{CALL} --to 127.0.0.1 -p 0", 2, "-p: '0' is not a whole number from 1 to 1000000"),
        (f"{CALL} --to 127.0.0.1 --only srtp", 2, "--only: 'srtp' is not one of stun, dtls, rtp, all"),
        (f"{CALL} --to 127.0.0.1 --map x", 2, "--map: 'x' is not SRC=LOCAL"),
        (f"{CALL} --to 127.0.0.1 --map 1.2.3.4=[::1]", 2, "--map: '[::1]' and the target 127.0.0.1 are of different"),
        (f"{CALL} --to 127.0.0.1 --map 192.0.2.2=192.0.2.77", 71, "cannot bind 192.0.2.77:0"),
        (f"{CALL} --to 127.0.0.1 --expect many", 2, "--expect: 'many' is not a percentage"),
        (f"{CALL} --to 127.0.0.1 --probe", 2, "--probe, --endpoint, --node, --cluster, --key-file and --password-file"),
        (f"{CALL} --to 127.0.0.1 --rewrite-ufrag", 2, "expected one of --endpoint and --node"),
        (f"{CALL} --to 192.0.2.9 {' '.join(ROUTE)}", 78, "no key file"),
        ("/none --to 127.0.0.1", 66, "cannot read /none: no such file"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_status(cli: Cli, args: str, status: int, message: str) -> None:
    done = cli("probe", "replay", *args.split())
    assert done.err.startswith(f"rtcrelay: error: {message}")
    assert done.status == status
