"""``rtcrelay explain`` and ``sdp inspect``: what they print, and their statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rtcrelay.client.demo.site import HOST
from rtcrelay.debug.capture_writer import CaptureWriter

from .conftest import Cli
from .test_cli_app import on_terminal
from .test_stun_command import CALL, demo_keys  # noqa: F401  # a fixture

RELAY = ("-l", f"{HOST}:3478", "--cluster", "7")
ANSWER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=ice-lite
m=audio 3478 UDP/TLS/RTP/SAVPF 111
a=ice-ufrag:{ufrag}
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 {print}
a=setup:active
a=rtcp-mux
a=mid:0
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host
"""


@pytest.fixture
def relay(demo_keys: str) -> tuple[str, ...]:  # noqa: F811
    """The options of the relay in the recorded call."""
    return (*RELAY, "--key-file", demo_keys)


def test_a_recorded_call_is_explained(cli: Cli, relay: tuple[str, ...]) -> None:
    done = cli("explain", "-r", str(CALL), *relay)
    assert done.status == 0
    lines = done.out.splitlines()
    assert len(lines) == 61
    assert lines[1] == (
        "    1    0.000000  public    192.0.2.2:55790        stun      routed to 127.0.0.1:7000 by ufrag"
        " (key 0, cluster 7); claim of 127.0.0.1:7000 opened"
    )
    assert done.err.splitlines() == [
        "60 packets judged: 30 forwarded, 30 returned",
        "60 sent by the relay itself and 0 to other addresses were left out",
    ]


def test_a_call_of_chromium_is_judged_as_the_relay_did(cli: Cli, relay: tuple[str, ...]) -> None:
    done = cli("explain", "-r", str(CALL.with_name("chromium.pcap")), *relay, "-o", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.status == 0
    assert [sum(row["action"] == action for row in rows) for action in ("forward", "to_client", "drop")] == [75, 75, 0]
    assert [claim for row in rows for claim in row["claims"]] == [
        "claim of 127.0.0.1:7000 opened",
        "claim of 127.0.0.1:7000 confirmed weakly",
        "claim of 127.0.0.1:7000 confirmed",
    ]
    assert {row["class"] for row in rows} == {"stun", "dtls", "rtp", "rtcp"}


def test_a_capture_that_begins_in_mid_call_is_judged_with_the_flows_of_the_relay(
    cli: Cli, relay: tuple[str, ...], tmp_path: Path
) -> None:
    late = tmp_path / "late.pcap"
    with late.open("wb") as stream:
        writer = CaptureWriter(stream, "pcap")
        for number in range(3):
            client = ("198.51.100.7", 51234 + number)
            writer.write(number * 10**9, client, (HOST, 3478), b"\x80\x60" + bytes(30))
    claims = [{"next_hop": f"{HOST}:7000", "state": "strong", "key_id": 0, "idle_s": 1.5}]
    flows = tmp_path / "flows.jsonl"
    rows = [
        {"kind": "flow", "v": 1, "client": "198.51.100.7:51234", "ingress": 3479, "claims": claims},
        {"kind": "flow", "v": 1, "client": "198.51.100.7:51235", "ingress": 3480, "claims": claims},
    ]
    flows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no_route" in cli("explain", "-r", str(late), *relay).out
    done = cli("explain", "-r", str(late), *relay, "--flows", str(flows))
    verdicts = [line.split("rtp       ")[1] for line in done.out.splitlines()[1:]]
    assert verdicts[0] == f"forwarded to {HOST}:7000 by its path"
    assert all(verdict.startswith("dropped: no_route") for verdict in verdicts[1:])
    assert done.err.splitlines()[0] == (
        "1 claims of 2 paths taken over; 1 are of other ingresses, or these settings do not allow them"
    )
    both = cli("explain", "-r", "-", "--flows", "-", *relay)
    assert (both.status, both.err.splitlines()[0]) == (
        2,
        "rtcrelay: error: --flows - and -r - exclude each other: there is one stdin",
    )


def test_the_settings_may_come_from_the_configuration_file(cli: Cli, tmp_path: Path, relay: tuple[str, ...]) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f'key_file = "{relay[-1]}"\ncluster = 6\n[relay]\nlisten = ["{HOST}:3478"]\n')
    done = cli("explain", "-r", str(CALL), "--config", str(config), "--dropped", "-o", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert {(row["action"], row["reason"], row["cluster"]) for row in rows} == {("drop", "cluster_unknown", 7)}
    assert "28 forwarded, 30 returned, 2 dropped (cluster_unknown 2)" in done.err
    assert not {"tone", "shown"} & set(rows[0])
    assert rows[0]["time"].endswith("Z")
    assert "heartbeats" not in done.err
    done = cli("explain", "-r", str(CALL), "--config", str(config), "--redis", "redis://127.0.0.1", "-o", "jsonl")
    assert "heartbeats are not read here: --clusters ID=ADDR has what" in done.err


def test_a_capture_from_elsewhere_is_mapped_by_vip(cli: Cli, demo_keys: str) -> None:  # noqa: F811
    options = ("-l", f"{HOST}:9999", "--cluster", "7", "--key-file", demo_keys)
    done = cli("explain", "-r", str(CALL), *options, "--internal", f"{HOST}:9998")
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "no packet was sent to 127.0.0.1:9999 and 127.0.0.1:9998: --vip and --internal say what the relay's addresses"
        " are there"
    )
    assert "60 packets judged" in cli("explain", "-r", str(CALL), *options, "--vip", HOST).err


def test_one_packet_is_explained(cli: Cli, relay: tuple[str, ...]) -> None:
    ufrag = cli("ufrag", "encode", "--endpoint", f"{HOST}:7000", *relay[2:]).out.strip()
    message = cli("stun", "encode", "--username", f"{ufrag}:abcd").out.strip()
    done = cli("explain", message, "--from", "198.51.100.7:51234", *relay, "-o", "jsonl")
    row = json.loads(done.out)
    assert (done.status, row["action"], row["next_hops"], row["time"]) == (0, "forward", [f"{HOST}:7000"], None)
    done = cli("explain", "80" * 20, "--from", "198.51.100.7:51234", "--to", f"{HOST}:3478", *relay)
    assert done.status == 1
    assert "dropped: no_route: not a binding request" in done.out
    done = cli("explain", "80" * 20, "--from", "198.51.100.7:51234", "--to", "internal", *relay)
    assert "dropped: spp_short: " in done.out


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ("00", 2, "expected --from ADDR with packets as hex"),
        ("00 --from x", 2, "--from: 'x' has no port, expected IP:PORT or [IP6]:PORT"),
        ("00 --from 1.2.3.4:5 --to 1.2.3.4:5", 2, "--to: '1.2.3.4:5' is none of the relay's addresses: 127.0.0.1:3478"),
        (f"-r {CALL} --from 1.2.3.4:5", 2, "--from and --to are for packets given as hex"),
        ("--vip 1.2.3.4 --vip 1.2.3.5", 2, "2 times --vip and 1 listeners, expected at most one for each"),
        ("-r /none", 66, "cannot read /none: no such file or directory"),
        ("--key-file /none 00", 78, "cannot read key file /none: no such file or directory"),
        ("--cluster x 00", 78, "--cluster: 'x' is not a whole number from 0 to 65535"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_status(
    cli: Cli, relay: tuple[str, ...], args: str, status: int, message: str
) -> None:
    done = cli("explain", *relay, *args.split())
    assert done.err.startswith(f"rtcrelay: error: {message}")
    assert done.status == status


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_is_never_overrun_and_verdicts_have_colours(relay: tuple[str, ...], columns: int) -> None:
    args = ["explain", "-r", str(CALL), *relay]
    shown = on_terminal(args, columns, NO_COLOR="1")
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert "\x1b[32m" in on_terminal(args, columns)
    assert "\x1b[31m" in on_terminal([*args, "--cluster", "6"], columns)


# -- sdp


@pytest.fixture
def answer(cli: Cli, relay: tuple[str, ...], tmp_path: Path) -> Path:
    """A sound answer of a transceiver."""
    ufrag = cli("ufrag", "encode", "--endpoint", "10.0.3.7:7000", *relay[2:]).out.strip()
    path = tmp_path / "answer.sdp"
    path.write_text(ANSWER.format(ufrag=ufrag, print="AB:" * 31 + "AB"))
    return path


def test_a_sound_answer_is_shown_with_its_route(cli: Cli, relay: tuple[str, ...], answer: Path) -> None:
    done = cli("sdp", "inspect", str(answer), "--vip", "203.0.113.10", "--key-file", relay[-1])
    assert (done.status, done.err) == (0, "0 faults, 0 warnings\n")
    assert "route        10.0.3.7:7000 (key 0, cluster 7)\n" in done.out
    assert "0    audio  sendrecv   active  yes   111  minptime=10;useinbandfec=1\n" in done.out
    assert "203.0.113.10:3478  udp        host     1  2130706431\n" in done.out
    assert "0123456789abcdefghijklmn" not in done.out


def test_a_fault_is_status_1_and_named(cli: Cli, answer: Path) -> None:
    done = cli("sdp", "inspect", str(answer), "--vip", "203.0.113.99", "--json")
    assert (done.status, done.err) == (1, "2 faults, 0 warnings\n")
    report = json.loads(done.out)
    assert (report["kind"], report["v"], report["ice_lite"]) == ("sdp", 1, True)
    assert [finding["code"] for finding in report["findings"]] == ["vip_missing", "not_a_vip"]
    assert "not_a_vip" in cli("sdp", "inspect", str(answer), "--vip", "203.0.113.99").out


def test_a_description_is_read_from_stdin(answer: Path) -> None:
    command = [sys.executable, "-m", "rtcrelay", "sdp", "inspect", "-o", "jsonl"]
    done = subprocess.run(command, input=answer.read_bytes(), capture_output=True)
    assert json.loads(done.stdout)["role"] == "answer"


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (None, 66, "cannot read "),
        (b"x", 65, "the session description starts with 'x', expected 'v=0'"),
        (b"\xff", 65, "the session description is not UTF-8 text (byte 0)"),
        (b"v=0\n" + b"a" * 300_000, 65, "the session description has 262144 characters, expected at most 65536"),
    ],
)
def test_what_is_no_description_has_its_status(
    cli: Cli, tmp_path: Path, content: bytes | None, status: int, message: str
) -> None:
    path = tmp_path / "x.sdp"
    if content is not None:
        path.write_bytes(content)
    done = cli("sdp", "inspect", str(path))
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"rtcrelay: error: {message}")


def test_inspect_fits_a_terminal(answer: Path) -> None:
    for columns in (80, 200):
        shown = on_terminal(
            ["sdp", "inspect", str(answer), "--vip", "203.0.113.99"], columns, NO_COLOR="1", TERM="dumb"
        )
        assert max(len(line) for line in shown.splitlines()) <= columns
        assert "…" not in shown
