"""``rtcrelay stun`` and ``spp``: what they print, and their statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rtcrelay import keys
from rtcrelay.keys import DEMO_SECRET

from .conftest import Cli
from .test_cli_app import imported_by, on_terminal

CALL = Path(__file__).parents[1] / "vectors" / "captures" / "call.pcap"
CHROMIUM = CALL.with_name("chromium.pcap")
PASSWORDS = str(CALL.with_suffix(".passwords"))
REQUEST = (
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008"
    "932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
"""RFC 5769 section 2.1."""
SPP = "56ec00000000000000000000ffffc633640700000000000000000000ffff0a000005c8220d97"


@pytest.fixture
def demo_keys(tmp_path: Path) -> str:
    """The key file of the recorded call."""
    path = tmp_path / "demo.toml"
    keys.write_key_file(path, f'[[keys]]\nid = 0\nsecret = "{DEMO_SECRET.hex()}"\nstate = "active"\n')
    return str(path)


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    """The password of the official vectors."""
    path = tmp_path / "password"
    path.write_text("VOkJxbRl1RmTxUk/WvJxBt\n")
    return str(path)


def test_the_official_vector_is_shown_whole(cli: Cli, password_file: str) -> None:
    done = cli("stun", "decode", REQUEST, "--password-file", password_file)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "binding request, 108 bytes, transaction b7e7a701bc34d686fa87dfae",
        "TYPE    NAME               RULE      BYTES  VALUE                                        VERDICT",
        "0x8022  SOFTWARE           optional     16  STUN test client",
        "0x0024  PRIORITY           required      4  1845494271 (type 110, local 1, component 1)",
        "0x8029  ICE-CONTROLLED     optional      8  932ff9b151263b36",
        "0x0006  USERNAME           required      9  evtj:h6vY",
        "0x0008  MESSAGE-INTEGRITY  required     20  9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2     ok",
        "0x8028  FINGERPRINT        optional      4  e57a3bcf                                     ok",
    ]


def test_every_check_of_a_call_of_chromium_is_right_on_both_legs(cli: Cli, demo_keys: str) -> None:
    args = ("stun", "decode", "-r", str(CHROMIUM), "--key-file", demo_keys)
    done = cli(*args, "--password-file", str(CHROMIUM.with_suffix(".passwords")), "-o", "jsonl")
    assert done.status == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 16
    assert {(row["verdict"], row["integrity"], row["fingerprint"]) for row in rows} == {("ok", "ok", "ok")}
    requests = [row for row in rows if row["message"] == "binding request"]
    assert {row["ufrag"]["endpoint"] for row in requests} == {"127.0.0.1:7000"}
    assert {row["ufrag"]["cluster"] for row in requests} == {7}
    # Both legs: the same request with and without an SPP header.
    assert [row["spp"] is None for row in requests] == [True, False] * 4
    names = {attribute["name"] for row in requests for attribute in row["attributes"]}
    assert {"GOOG-NETWORK-INFO", "USE-CANDIDATE", "ICE-CONTROLLING", "PRIORITY"} <= names
    assert "unassigned" not in names
    assert "16 STUN messages: 0 wrong, 0 malformed; 284 other packets" in done.err


def test_hex_that_the_shell_split_is_put_together(cli: Cli) -> None:
    pairs = [REQUEST[i : i + 2] for i in range(0, len(REQUEST), 2)]
    assert json.loads(cli("stun", "decode", *pairs, "--json").out) == json.loads(
        cli("stun", "decode", REQUEST, "--json").out
    )
    [first, second] = json.loads(cli("stun", "decode", REQUEST, REQUEST, "--json").out)
    assert first == second


def test_json_has_every_field_also_of_a_capture(cli: Cli, demo_keys: str) -> None:
    [message] = json.loads(cli("stun", "decode", REQUEST, "--json").out)
    assert (message["kind"], message["v"], message["type"], message["verdict"]) == ("stun", 1, "0x0001", "unchecked")
    assert message["attributes"][0] == {
        "type": "0x8022",
        "name": "SOFTWARE",
        "required": False,
        "offset": 24,
        "length": 16,
        "value": "STUN test client",
        "hex": b"STUN test client".hex(),
    }
    done = cli("stun", "decode", "-r", str(CALL), "--json", "--key-file", demo_keys, "--password-file", PASSWORDS)
    rows = json.loads(done.out)
    assert done.err == "8 STUN messages: 0 wrong, 0 malformed; 112 other packets\n"
    assert {row["verdict"] for row in rows} == {"ok"}
    assert set(rows[0]) == set(message)
    assert rows[0]["ufrag"]["endpoint"] == "127.0.0.1:7000"
    assert rows[1]["spp"] == {"client": rows[0]["source"], "proxy": "127.0.0.1:3479", "ingress": 3479}
    assert rows[0]["time"].startswith("20")
    assert rows[0]["time"].endswith("Z")


def test_a_capture_is_a_line_a_message_and_whole_with_v(cli: Cli, demo_keys: str) -> None:
    args = ("stun", "decode", "-r", str(CALL), "--key-file", demo_keys)
    lines = cli(*args, "-n", "2").out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:6] == ["1", "192.0.2.2:55790", "127.0.0.1:3478", "binding", "request", "unchecked"]
    assert lines[1].endswith("-> 127.0.0.1:7000 (key 0, cluster 7)")
    assert cli(*args, "-n", "2").err.splitlines()[0] == "2 of 8 rows shown"
    shown = cli(*args, "-v").out
    assert shown.count("binding request, ") == 4
    assert "SPP: client 192.0.2.2:55790, proxy 127.0.0.1:3479, ingress 3479" in shown


def test_rows_can_be_sorted(cli: Cli) -> None:
    rows = json.loads(cli("stun", "decode", "-r", str(CALL), "--json", "--sort-by", "-frame").out)
    assert [row["frame"] for row in rows] == sorted((row["frame"] for row in rows), reverse=True)
    assert "tone" not in rows[0]


def test_a_wrong_check_is_status_1_and_no_message_is_65(cli: Cli, tmp_path: Path) -> None:
    changed = REQUEST.replace("5354554e", "5354554f")
    assert cli("stun", "decode", changed).status == 1
    (tmp_path / "wrong").write_text("wrong\n")
    assert cli("stun", "decode", REQUEST, "--password-file", str(tmp_path / "wrong")).status == 1
    done = cli("stun", "decode", REQUEST[:-8], changed)
    assert done.status == 65
    assert done.err == "rtcrelay: error: not a STUN message: the header says that 88 bytes follow it, and 84 do\n"
    assert "binding request" in done.out, "the other message is shown all the same"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ("stun decode 0001zz", 65, "'0001zz' is not hexadecimal: 'z'"),
        ("stun decode @/none", 66, "cannot read /none: no such file or directory"),
        ("stun decode @/", 74, "cannot read /: is a directory"),
        ("stun decode -r /none", 66, "cannot read /none: no such file or directory"),
        ("stun decode -r /", 74, "cannot read /: is a directory"),
        ("stun decode -r /dev/null", 65, "malformed capture at byte 0: it has 0 bytes, expected a pcap or pcapng file"),
        ("stun decode -r /dev/zero", 65, "malformed capture at byte 0: it starts with 00000000, which is neither"),
        ("stun decode 00 -r x", 2, "messages as arguments and -r exclude each other"),
        (f"stun decode {REQUEST} --password-file /none", 66, "cannot read /none: no such file or directory"),
        (f"stun decode {REQUEST} --password-file /dev/null", 65, "/dev/null holds no password"),
        (f"stun decode {REQUEST} --key-file /none", 78, "cannot read key file /none: no such file or directory"),
        ("stun encode qqq", 2, "CLASS: 'qqq' is not one of request, indication, success, error"),
        ("stun encode --priority 0", 2, "--priority: '0' is not a whole number from 1 to 2147483647"),
        ("stun encode --role boss", 2, "--role: 'boss' is not one of controlling, controlled"),
        ("stun encode --tie-breaker 00", 2, "--tie-breaker needs --role"),
        ("stun encode --transaction 00", 2, "--transaction: '00' has 1 bytes, expected 12"),
        ("stun encode --mapped x", 2, "--mapped: 'x' has no port, expected IP:PORT or [IP6]:PORT"),
        ("stun encode --error 200", 2, "--error: '200' is not a whole number from 300 to 699"),
        ("stun encode --attribute x", 2, "--attribute: 'x' is not TYPE=HEX, expected for example 0xc057=00010005"),
        ("stun encode --attribute 1=x", 2, "--attribute: 'x' is not hexadecimal: 'x'"),
        ("stun encode -f qqq", 2, "-f: 'qqq' is not one of hex, binary"),
        (
            "stun encode -w /dev/null --from [::1]:1",
            2,
            "--from and --to: ::1 and 192.0.2.2 are of different IP versions",
        ),
        ("stun encode -w /none/x", 74, "/none/x: no such file or directory"),
        ("spp decode 00", 65, "not an SPP datagram: 1 bytes, and the header has 38"),
        (f"spp decode {'00' * 38}", 65, "not an SPP datagram: it begins with 0x0000, expected 0x56ec"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_status(cli: Cli, args: str, status: int, message: str) -> None:
    done = cli(*args.split())
    assert done.err.startswith(f"rtcrelay: error: {message}")
    assert (done.status, done.out) == (status, "")


def test_what_is_encoded_is_decoded(cli: Cli, tmp_path: Path, password_file: str) -> None:
    ice = [
        "--username",
        "a:b",
        "--priority",
        "7",
        "--role",
        "controlling",
        "--tie-breaker",
        "0102030405060708",
        "--use-candidate",
    ]
    more = ["--software", "x", "--attribute", "0xc057=00010005", "--transaction", "000102030405060708090a0b"]
    made = cli("stun", "encode", *ice, *more, "--password-file", password_file)
    [row] = json.loads(cli("stun", "decode", made.out.strip(), "--password-file", password_file, "--json").out)
    assert row["transaction"] == "000102030405060708090a0b"
    assert row["verdict"] == "ok"
    assert {a["name"]: a["value"] for a in row["attributes"][:6]} == {
        "SOFTWARE": "x",
        "USERNAME": "a:b",
        "ICE-CONTROLLING": "0102030405060708",
        "PRIORITY": {"priority": 7, "type": 0, "local": 0, "component": 249},
        "USE-CANDIDATE": "",
        "GOOG-NETWORK-INFO": {"network_id": 1, "cost": 5},
    }


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        ("success --mapped [2001:db8::1]:5", "XOR-MAPPED-ADDRESS", "[2001:db8::1]:5"),
        ("error --error 487:Role", "ERROR-CODE", {"code": 487, "reason": "Role"}),
        ("indication --software y", "SOFTWARE", "y"),
    ],
)
def test_each_class_of_message_is_written(cli: Cli, args: str, name: str, value: object) -> None:
    made = cli("stun", "encode", *args.split(), "--no-fingerprint")
    [row] = json.loads(cli("stun", "decode", made.out.strip(), "--json").out)
    assert row["message"] == f"binding {args.split()[0]}"
    assert [(a["name"], a["value"]) for a in row["attributes"]] == [(name, value)]


@pytest.mark.parametrize("name", ["x.pcap", "x.pcapng", "-"])
def test_a_message_is_written_as_bytes_and_as_a_capture(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "rtcrelay", "stun"]
    path = name if name == "-" else str(tmp_path / name)
    made = subprocess.run([*command, "encode", "-w", path, "--to", "192.0.2.9:9"], capture_output=True, check=True)
    read = subprocess.run(
        [*command, "decode", "-r", path, "-o", "jsonl"], input=made.stdout, capture_output=True, check=True
    )
    assert json.loads(read.stdout)["destination"] == "192.0.2.9:9"
    made = subprocess.run([*command, "encode", "-f", "binary"], capture_output=True, check=True)
    assert len(made.stdout) == 28
    read = subprocess.run([*command, "decode", "-", "-o", "jsonl"], input=made.stdout, capture_output=True, check=True)
    assert json.loads(read.stdout)["fingerprint"] == "ok"


@pytest.mark.requires(command="tshark", install="apt-get install tshark")
def test_wireshark_agrees_with_what_is_encoded(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "x.pcapng")
    cli("stun", "encode", "--username", "a:b", "--priority", "7", "-w", path)
    fields = [f"-estun.{name}" for name in ("type", "att.username", "att.priority", "att.crc32.status")]
    done = subprocess.run(["tshark", "-r", path, "-Tfields", *fields], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0x0001", "a:b", "7", "1"]


def test_a_malformed_packet_of_a_capture_is_a_row_and_status_1(cli: Cli, tmp_path: Path) -> None:
    file = bytearray(CALL.read_bytes())
    at = file.index(bytes.fromhex("2112a442")) - 2
    file[at] ^= 1
    (tmp_path / "x.pcap").write_bytes(file)
    done = cli("stun", "decode", "-r", str(tmp_path / "x.pcap"), "--json")
    assert done.status == 1
    first = json.loads(done.out)[0]
    assert (first["verdict"], first["message"]) == ("malformed", None)
    assert first["error"].startswith("not a STUN message: the header says that ")
    assert done.err == "7 STUN messages: 0 wrong, 1 malformed; 112 other packets\n"


def test_a_capture_that_was_cut_short_is_normal_and_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(CALL.read_bytes()[:-3])
    done = cli("stun", "decode", "-r", str(tmp_path / "x.pcap"), "-q")
    assert (done.status, done.err) == (0, "")
    done = cli("stun", "decode", "-r", str(tmp_path / "x.pcap"))
    assert done.err.splitlines()[-1] == "the capture ends inside a record, after 119 whole frames"


def test_a_capture_takes_constant_memory(tmp_path: Path) -> None:
    records = CALL.read_bytes()[24:]
    with (tmp_path / "big.pcap").open("wb") as file:
        file.write(CALL.read_bytes()[:24])
        for _ in range(600):
            file.write(records)
    code = (
        "import resource, sys; from rtcrelay.__main__ import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks = []
    for name in (str(CALL), str(tmp_path / "big.pcap")):
        command = [sys.executable, "-c", code, "stun", "decode", "-r", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < peaks[0] + 4096, f"{peaks} KiB"


# -- spp


def test_an_spp_header_is_read(cli: Cli) -> None:
    done = cli("spp", "decode", SPP, SPP + "80" + "00" * 11)
    assert done.out.splitlines() == [
        "CLIENT                 PROXY                  INGRESS  PAYLOAD   BYTES",
        "198.51.100.7:51234     10.0.0.5:3479             3479  announce      0",
        "198.51.100.7:51234     10.0.0.5:3479             3479  rtp          12",
    ]


def test_the_spp_packets_of_a_capture_are_listed(cli: Cli) -> None:
    done = cli("spp", "decode", "-r", str(CALL), "-o", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 60
    assert {(row["proxy"], row["ingress"]) for row in rows} == {("127.0.0.1:3479", 3479)}
    assert {row["payload"] for row in rows} >= {"stun", "dtls", "rtp"}
    assert done.err == "60 packets with SPP, 0 of them announces; 60 without\n"


# -- all of them


@pytest.mark.parametrize(
    "args", ["stun decode --help", "stun encode", "spp decode --help", "sdp inspect --help", "explain --help"]
)
def test_nothing_slow_is_imported(args: str) -> None:
    assert imported_by(*args.split()) == set()


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("args", ["stun decode", "spp decode"])
def test_a_terminal_is_never_overrun_and_nothing_is_cut(args: str, columns: int) -> None:
    shown = on_terminal([*args.split(), "-r", str(CALL), "-n", "4"], columns, NO_COLOR="1")
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert "…" not in shown
    assert shown.count("192.0.2.2:55790") >= 4


def test_a_wrong_message_is_red_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("wrong\n")
    args = ["stun", "decode", "-r", str(CALL), "--password-file", str(tmp_path / "p")]
    assert "\x1b[31m" in on_terminal(args, 200)
    assert "\x1b[31m" not in on_terminal(args, 200, NO_COLOR="1")
    assert "\x1b[31m" not in on_terminal([*args, "--color", "never"], 200)
    piped = subprocess.run(
        [sys.executable, "-m", "rtcrelay", *args, "--color", "always"], capture_output=True, text=True
    )
    assert "\x1b[31m" in piped.stdout


def test_a_terminal_is_not_waited_for() -> None:
    shown = on_terminal(["stun", "decode"], 80)
    assert shown.startswith("rtcrelay: error: expected a message in hex, @FILE or - (stdin)\n")
    assert on_terminal(["spp", "decode", "-r", "-"], 80).startswith("rtcrelay: error: -r - reads a capture from stdin")


def test_a_closed_pipe_is_success() -> None:
    script = f"set -o pipefail; {sys.executable} -m rtcrelay spp decode -r {CALL} -q | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
