"""Whatever stands in a file's place, each command that reads one ends with a documented status, in little memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.rtc import stun

from .conftest import Cli
from .test_stun_command import demo_keys  # noqa: F401  # a fixture

CAPTURE = Path(__file__).parents[1] / "vectors" / "captures" / "chromium.pcap"
RELAY = ("-l", "127.0.0.1:3478", "--cluster", "7")
MEASURE = (
    "import re, sys; from rtcrelay.__main__ import main; status = main(sys.argv[1:]);"
    # Not ru_maxrss, which counts the process that this one was forked from.
    "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read());"
    "print('peak', peak[1], file=sys.stderr); sys.exit(status)"
)
PEAK_MEGABYTES = 60
"""What a command may take with any file; with a small one it takes about 30, and 4 are read at once at most."""

CAPTURE_READERS = {
    "explain": ("explain", *RELAY, "-r"),
    "stun decode": ("stun", "decode", "-r"),
    "spp decode": ("spp", "decode", "-r"),
    "probe replay": ("probe", "replay", "--to", "127.0.0.1", "--dry-run"),
}
OTHER_READERS = {
    "explain --flows": ("explain", *RELAY, "-r", str(CAPTURE), "--flows"),
    "stun decode @": ("stun", "decode"),
    "spp decode @": ("spp", "decode"),
    "explain @": ("explain", *RELAY, "--from", "198.51.100.7:1"),
    "sdp inspect": ("sdp", "inspect"),
    "--password-file": ("stun", "encode", "--password-file"),
    "probe --password-file": ("probe", "stun", "127.0.0.1", "--ufrag", "x", "--password-file"),
}
READERS = {**CAPTURE_READERS, **OTHER_READERS}
captures = pytest.mark.parametrize("command", CAPTURE_READERS)
readers = pytest.mark.parametrize("command", READERS)


@pytest.fixture(autouse=True)
def _keys(demo_keys: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("RTCRELAY_KEY_FILE", demo_keys)


def line(command: str, path: Path | str) -> list[str]:
    words = list(READERS[command])
    return [*words, f"@{path}" if command.endswith("@") else str(path)]


def measured(command: str, path: Path, stdin: bytes | None = None) -> tuple[int, str, int]:
    """(status, stderr without the last line, peak memory in megabytes) of a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *line(command, path)], input=stdin, capture_output=True)
    *err, peak = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, "\n".join(err), int(peak.split()[1]) // 1024


@readers
def test_a_directory_is_an_io_error(cli: Cli, command: str, tmp_path: Path) -> None:
    done = cli(*line(command, tmp_path))
    assert (done.status, done.out) == (74, "")
    assert done.err.startswith(f"rtcrelay: error: cannot read {tmp_path}: is a directory")


@readers
def test_a_missing_file_and_a_link_to_nothing_have_status_66(cli: Cli, command: str, tmp_path: Path) -> None:
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nothing")
    for path in (dangling, tmp_path / "nothing", f"{__file__}/inside"):
        done = cli(*line(command, path))
        assert (done.status, done.out) == (66, ""), done.err


@readers
def test_a_link_to_itself_is_an_io_error(cli: Cli, command: str, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    done = cli(*line(command, loop))
    assert done.status == 74
    assert "too many levels of symbolic links" in done.err


@captures
def test_a_link_to_a_capture_is_read(cli: Cli, command: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(CAPTURE)
    assert cli(*line(command, link)).status == 0


@pytest.mark.requires(command="setpriv", install="apt-get install util-linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the right away: sudo tests/check.sh")
@pytest.mark.parametrize("command", ["explain", "stun decode", "probe replay", "sdp inspect", "explain --flows"])
def test_a_file_that_may_not_be_read_is_an_io_error(process: Cli, command: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.write_bytes(b"x")
    closed.chmod(0)
    rights = "-dac_override,-dac_read_search"
    done = process(*line(command, closed), before=("setpriv", "--bounding-set", rights, "--inh-caps", rights))
    assert done.status == 74
    assert f"cannot read {closed}: permission denied" in done.err


@captures
def test_a_pipe_with_a_name_is_read_like_stdin(cli: Cli, command: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(gzip.compress(CAPTURE.read_bytes())))
    writer.start()
    done = cli(*line(command, fifo))
    writer.join()
    assert (done.status, done.out) == (0, cli(*line(command, CAPTURE)).out)


@captures
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "malformed capture at byte 0: it has 0 bytes"),
        (b"\x00", "malformed capture at byte 0: it has 1 bytes"),
        (bytes(64), "malformed capture at byte 0: it starts with 00000000"),
        (b"#!/bin/sh\n", "malformed capture at byte 0: it starts with 23212f62"),
        (b"\x1f\x8b" + bytes(30), "damaged"),
        (gzip.compress(b"no capture"), "malformed capture at byte 0: it starts with 6e6f2063"),
        (CAPTURE.read_bytes()[:20], "malformed capture at byte 4: the file header is cut short"),
    ],
)
def test_what_is_no_capture_has_status_65(cli: Cli, command: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    done = cli(*line(command, path))
    assert (done.status, done.out) == (65, "")
    assert message in done.err


@captures
def test_a_capture_that_ends_anywhere_gives_what_it_has(cli: Cli, command: str, tmp_path: Path) -> None:
    content, path = CAPTURE.read_bytes(), tmp_path / "cut.pcap"
    for size in (24, 25, 39, 41, 200, 4_321, len(content) - 1):
        path.write_bytes(content[:size])
        done = cli(*line(command, path))
        assert done.status == (1 if size < 100 and command in ("explain", "probe replay") else 0), done.err
        assert ("the capture ends inside a record" in done.err) == (size != 24)


@captures
def test_random_changes_of_a_capture_give_packets_or_status_65(cli: Cli, command: str, tmp_path: Path) -> None:
    chance = random.Random(17)
    path = tmp_path / "mad.pcap"
    for _ in range(40):
        content = bytearray(CAPTURE.read_bytes()[: chance.randrange(200, 20_000)])
        for _ in range(chance.choice((1, 5, 50))):
            content[chance.randrange(24, len(content))] = chance.randrange(256)
        path.write_bytes(content)
        done = cli(*line(command, path))
        assert done.status in (0, 1, 65), done.err
        path.write_bytes(chance.randbytes(chance.randrange(1, 5_000)))
        assert cli(*line(command, path)).status == 65


@readers
def test_a_hundred_megabytes_of_zeros_need_no_memory(command: str, tmp_path: Path) -> None:
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as stream:
        stream.truncate(100_000_000)
    status, err, peak = measured(command, zeros)
    assert status == 65, err
    assert peak < PEAK_MEGABYTES


@captures
def test_a_capture_of_zeros_needs_no_memory(command: str, tmp_path: Path) -> None:
    """Behind a sound header, zeros are empty frames, any number of them; compressed, they are a small file."""
    packed = tmp_path / "zeros.pcap.gz"
    packed.write_bytes(gzip.compress(CAPTURE.read_bytes()[:24] + bytes(8_000_000)))
    status, err, peak = measured(command, packed)
    assert status in (0, 1)
    assert "500000 of 500000 frames left out: malformed" in err
    assert peak < PEAK_MEGABYTES


@captures
def test_stun_with_every_length_wrong_is_told_from_the_rest(cli: Cli, command: str, tmp_path: Path) -> None:
    """Each length field of a request, the header's and each attribute's, one too small, one too large, and extreme."""
    request = stun.write_binding_request(bytes(12), "server:client", "p", stun.IceCheck(1, True, bytes(8), True))
    fields, offset = [2], 20
    while offset < len(request):
        fields.append(offset + 2)
        offset += 4 + (int.from_bytes(request[offset + 2 : offset + 4], "big") + 3) // 4 * 4
    wrong = []
    for field in fields:
        right = int.from_bytes(request[field : field + 2], "big")
        for length in {right - 1, right + 1, right + 4, 0xFFFF, 0x7FFF, 0} - {right, -1}:
            wrong.append(request[:field] + length.to_bytes(2, "big") + request[field + 2 :])
    path = tmp_path / "wrong.pcapng"
    with path.open("wb") as stream:
        writer = CaptureWriter(stream)
        for number, datagram in enumerate(wrong):
            writer.write(number * 1000, ("198.51.100.7", 5), ("127.0.0.1", 3478), datagram)
    done = cli(*line(command, path))
    assert done.status in (0, 1), done.err
    if command == "stun decode":
        # A shorter attribute whose padding still fits parses; its integrity is unchecked, its fingerprint wrong.
        rows = [json.loads(row) for row in cli(*line(command, path), "-o", "jsonl").out.splitlines()]
        assert [row["frame"] for row in rows] == list(range(1, len(wrong) + 1))
        assert {row["verdict"] for row in rows} == {"malformed", "wrong"}
    if command == "explain":
        assert "routed" not in done.out
