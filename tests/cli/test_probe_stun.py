"""``rtcrelay probe stun`` against coturn, which knows nothing of us, and against sockets that answer wrongly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtcrelay.client.demo.processes import free_ports
from rtcrelay.rtc import stun

from .conftest import Cli
from .test_cli_app import on_terminal

HOST = "127.0.0.1"
needs_coturn = pytest.mark.requires(command="turnserver", install="apt-get install coturn")


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A STUN server of others: host:port."""
    [port] = free_ports(1)
    directory = tmp_path_factory.mktemp("coturn")
    files = ["--log-file", "stdout", "--userdb", str(directory / "db"), "--pidfile", str(directory / "pid")]
    server = subprocess.Popen(
        ["turnserver", "-n", "-L", HOST, "-p", str(port), "--no-cli", "--no-tls", "--no-dtls", "-m", "1", *files],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_answered(port)
        yield f"{HOST}:{port}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def responder(answer: object) -> Iterator[str]:
    """A socket that answers each datagram with what ``answer(request, source)`` returns."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((HOST, 0))

    def run() -> None:
        while True:
            try:
                data, source = bound.recvfrom(2000)
            except OSError:
                return
            if data == b"end":
                return
            for datagram in answer(data, source):  # type: ignore[operator]  # a function
                bound.sendto(datagram, source)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{bound.getsockname()[1]}"
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", bound.getsockname())
        thread.join()
        bound.close()


def _until_answered(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.1)
        for _ in range(100):
            asking.sendto(stun.write_message(1, bytes(12), []), (HOST, port))
            try:
                asking.recv(2000)
            except OSError:
                time.sleep(0.05)  # refused at once as long as nobody listens
            else:
                return
    raise AssertionError("coturn did not answer")


@needs_coturn
def test_a_strangers_server_is_pinged_line_by_line(cli: Cli, coturn: str) -> None:
    done = cli("probe", "stun", coturn, "-c", "3", "-i", "10ms")
    assert (done.status, done.err) == (0, "")
    first, *replies, empty, title, counts, times = done.out.splitlines()
    assert first.endswith(f"-> {coturn}: plain requests, 28 bytes")
    local = first.split()[1]
    assert len(replies) == 3
    for line in replies:
        assert f" bytes from {coturn}: txid=" in line
        assert f"mapped={local}" in line
    assert (empty, title, counts) == ("", f"--- {coturn} ---", "3 sent, 3 received, 0 % lost")
    assert times.startswith("rtt min/avg/max/mdev = ")


@needs_coturn
def test_programs_get_a_line_for_each_reply_and_a_summary(cli: Cli, coturn: str) -> None:
    rows = [json.loads(line) for line in cli("probe", "stun", coturn, "-c2", "-i10ms", "-o", "jsonl").out.splitlines()]
    assert [(row["kind"], row["v"]) for row in rows] == [("stun_reply", 1), ("stun_reply", 1), ("stun_summary", 1)]
    assert (rows[0]["number"], rows[0]["source"], rows[0]["refused"]) == (1, coturn, None)
    assert 0 < rows[0]["rtt_ms"] < 1000
    whole = json.loads(cli("probe", "stun", coturn, "-c2", "-i10ms", "--json").out)
    assert (whole["sent"], whole["received"], len(whole["replies"]), whole["loss_percent"]) == (2, 2, 2, 0.0)
    assert whole["rtt_min_ms"] <= whole["rtt_avg_ms"] <= whole["rtt_max_ms"]


@needs_coturn
@pytest.mark.parametrize("bad", ["fingerprint", "length", "truncate", "padding"])
def test_a_strangers_server_says_nothing_to_what_is_wrong(cli: Cli, coturn: str, bad: str) -> None:
    done = cli("probe", "stun", coturn, "-c", "1", "-W", "100ms", "--bad", bad)
    assert done.status == 1
    assert "\nwrong on purpose: " in done.out
    assert "no answer to txid=" in done.out
    assert "1 sent, 0 received, 100 % lost" in done.out


@needs_coturn
@pytest.mark.requires(command="tshark", install="apt-get install tshark")
@pytest.mark.parametrize("name", ["kept.pcapng", "kept.pcap"])
def test_every_packet_can_be_kept_for_other_tools(cli: Cli, coturn: str, tmp_path: Path, name: str) -> None:
    cli("probe", "stun", coturn, "-c", "2", "-i", "10ms", "--software", "a probe", "-w", str(tmp_path / name))
    fields = ["-Tfields", "-e", "stun.type", "-e", "stun.att.software"]
    done = subprocess.run(["tshark", "-r", tmp_path / name, *fields], capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["0x0001", "0x0101"] * 2
    assert rows[0][1] == "a probe"


@needs_coturn
def test_a_flood_is_counted_and_has_no_lines(cli: Cli, coturn: str) -> None:
    whole = json.loads(cli("probe", "stun", coturn, "--flood", "2000", "-c", "1000", "--json").out)
    assert whole["sent"] == 1000
    assert whole["received"] > 500
    assert whole["replies"] == []
    assert len(cli("probe", "stun", coturn, "--flood", "1000", "-c", "100").out.splitlines()) == 5


@needs_coturn
@pytest.mark.requires(module="scapy", install="pip install scapy")
@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root: sudo tests/check.sh")
def test_another_source_address_is_spoofed(cli: Cli, coturn: str) -> None:
    done = cli("probe", "stun", coturn, "--raw", "-b", "127.0.0.77", "-c", "1")
    assert done.status == 0
    assert "mapped=127.0.0.77:" in done.out
    foreign = cli("probe", "stun", coturn, "--raw", "-b", "192.0.2.77:4000", "-c", "2", "-i", "1ms", "-W", "1ms")
    assert foreign.status == 0
    assert "192.0.2.77:4000 ->" in foreign.out
    assert "2 sent; answers go to the source address, which is not of this machine" in foreign.out


@pytest.mark.requires(command="setpriv", install="apt-get install util-linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the right away: sudo tests/check.sh")
def test_without_the_right_raw_is_status_77(process: Cli) -> None:
    before = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw")
    done = process("probe", "stun", HOST, "--raw", before=before)
    assert done.status == 77
    assert done.err == (
        "rtcrelay: error: --raw needs the privilege CAP_NET_RAW\nhint: run it with sudo; without --raw none is needed\n"
    )


def test_without_scapy_raw_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.debug.raw_socket._refuse_without_right", lambda: None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "scapy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scapy", None)
    done = cli("probe", "stun", HOST, "--raw")
    assert done.status == 69
    assert done.err.splitlines()[1] == "hint: pip install 'rtcrelay[raw]', or pip install scapy"


def test_a_closed_port_is_said_at_once_and_is_status_1(cli: Cli) -> None:
    [port] = free_ports(1)
    done = cli("probe", "stun", f"{HOST}:{port}", "-c", "1", "-W", "50ms")
    assert done.status == 1
    assert "ICMP from 127.0.0.1: connection refused" in done.out
    row = json.loads(
        cli("probe", "stun", f"{HOST}:{port}", "-c", "1", "-W", "50ms", "-o", "jsonl").out.splitlines()[-1]
    )
    assert row["troubles"] == [{"words": "ICMP from 127.0.0.1: connection refused", "count": 1}]
    assert row["rtt_min_ms"] is None


def test_a_check_is_believed_only_with_the_right_password(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("the password of the session\n")
    args = ("-c", "1", "-W", "100ms", "--ufrag", "server", "--password-file", str(secret))
    for password, status, words in (
        ("the password of the session", 0, "1 received"),
        ("another", 1, "(refused: the MESSAGE-INTEGRITY is wrong: another password)"),
        (None, 1, "(refused: no MESSAGE-INTEGRITY: who answered does not know the password)"),
    ):
        with responder(lambda data, source, p=password: [stun.write_binding_success(data[8:20], source, p)]) as where:
            done = cli("probe", "stun", where, *args)
            assert done.status == status
            assert words in done.out
            assert "\nUSERNAME server:" in done.out


def test_an_error_answer_counts_and_hostile_text_never_reaches_the_terminal(cli: Cli) -> None:
    def answer(data: bytes, _: object) -> list[bytes]:
        return [stun.write_binding_error(data[8:20], 420, "\x1b[2J\nno")]

    with responder(answer) as where:
        done = cli("probe", "stun", where, "-c", "1")
    assert done.status == 0
    assert "error=420 \\x1b[2J\\nno" in done.out


def test_a_second_answer_is_shown_and_not_counted(cli: Cli) -> None:
    with responder(lambda data, source: [stun.write_binding_success(data[8:20], source, None)] * 2) as where:
        done = cli("probe", "stun", where, "-c", "2", "-i", "50ms")
    assert done.out.count("(again)") >= 1
    assert "2 sent, 2 received" in done.out


@pytest.mark.parametrize("form", [(), ("-o", "jsonl")], ids=["person", "program"])
def test_control_c_ends_with_the_summary(form: tuple[str, ...]) -> None:
    with responder(lambda data, source: [stun.write_binding_success(data[8:20], source, None)]) as where:
        command = [sys.executable, "-m", "rtcrelay", "probe", "stun", where, "-c", "0", "-i", "20ms", *form]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(3)]
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert len(lines) == 3
    last = out.splitlines()[-1]
    assert json.loads(last)["kind"] == "stun_summary" if form else last.startswith("rtt min/avg/max/mdev")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ("", 2, "missing argument 'TARGET'"),
        ("127.0.0.1:0", 2, "TARGET: '127.0.0.1:0' has port 0"),
        ("127.0.0.1:x", 2, "TARGET: '127.0.0.1:x' has no valid port"),
        ("::1", 2, "TARGET: '::1' is ambiguous"),
        ("nobody.invalid", 69, "cannot look up nobody.invalid: "),
        ("127.0.0.1 -4 -6", 2, "-4 and -6 exclude each other"),
        ("[::1]:1 -4", 2, "TARGET: ::1 is not IPv4"),
        ("127.0.0.1 -b ::1", 2, "-b: '::1' is ambiguous"),
        ("127.0.0.1 -b [::1]", 2, "::1 and the target 127.0.0.1 are of different IP versions"),
        ("127.0.0.1 -b 192.0.2.77", 71, "cannot bind 192.0.2.77:0: cannot assign requested address"),
        ("127.0.0.1 --flood 20001", 2, "--flood: '20001' is not a whole number from 1 to 20000"),
        ("127.0.0.1 --flood 5 -i 2s", 2, "--flood and -i exclude each other"),
        ("127.0.0.1 -c -1", 2, "-c: '-1' is not a whole number"),
        ("127.0.0.1 --bad day", 2, "--bad: 'day' is not one of fingerprint"),
        ("127.0.0.1 --endpoint 10.0.0.1:7 --node 3", 2, "expected one of --endpoint and --node"),
        ("127.0.0.1 --endpoint [::1]:7", 2, "--endpoint: '[::1]:7' is IPv6, which does not fit into a ufrag"),
        ("127.0.0.1 --endpoint 10.0.0.1:7 --ufrag x", 2, "--ufrag and --password-file do not go with --endpoint"),
        ("127.0.0.1 --cluster 3", 2, "--cluster and --key-file go with --endpoint or --node"),
        ("127.0.0.1 --password-file /none --ufrag x", 66, "cannot read /none: no such file"),
        ("192.0.2.9 --node 3", 78, "no key file"),
        ("127.0.0.1 -w /none/x", 74, "/none/x: no such file or directory"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_status(cli: Cli, args: str, status: int, message: str) -> None:
    done = cli("probe", "stun", *args.split())
    assert done.err.startswith(f"rtcrelay: error: {message}")
    assert done.status == status


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_colours_and_a_pipe_none(columns: int) -> None:
    with responder(lambda data, source: [stun.write_binding_success(data[8:20], source, None)]) as where:
        args = ["probe", "stun", where, "-c", "1"]
        assert "\x1b[32m1 sent, 1 received" in on_terminal(args, columns)
        plain = on_terminal(args, columns, NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(len(line) for line in plain.splitlines()) <= 120


def test_help_says_what_every_way_to_be_wrong_is(cli: Cli) -> None:
    shown = " ".join(cli("probe", "stun", "--help").out.split())
    assert "-c, --count N" in shown
    assert "--config FILE" in shown
    assert "-c, --config" not in shown
    assert "cookie, the magic cookie is another" in shown


def test_a_reader_who_has_enough_ends_it_silently() -> None:
    with responder(lambda data, source: [stun.write_binding_success(data[8:20], source, None)]) as where:
        script = f"set -o pipefail; {sys.executable} -m rtcrelay probe stun {where} -c 0 -i 10ms | head -n 3"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 3)
