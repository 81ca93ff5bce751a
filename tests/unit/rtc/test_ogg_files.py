"""Opus packets of Ogg files."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from rtcrelay.errors import DataError, ExitStatus
from rtcrelay.rtc.ogg import read_opus_packets
from rtcrelay.rtc.rtp import opus_duration


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of silence, written by FFmpeg."""
    path = tmp_path_factory.mktemp("ogg") / "tone.opus"
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000)
        for start in range(0, 96_000, 960):
            frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 48000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_every_packet_is_found_as_ffmpeg_finds_it(tone: Path) -> None:
    with av.open(str(tone)) as container:
        expected = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    packets = list(read_opus_packets(tone))
    assert packets == expected
    assert {opus_duration(packet) for packet in packets} == {960}


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nothing") as caught:
        list(read_opus_packets(tmp_path / "nothing"))
    assert caught.value.status == ExitStatus.NO_INPUT


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no Opus audio"),
        (b"RIFF" + bytes(40), "is not an Ogg file"),
        (b"OggS" + bytes(22) + b"\1\4Spee", "holds no Opus audio"),
        (b"OggS" + bytes(22) + b"\1\x50Opus", "ends in the middle of a page"),
        (b"OggS" + bytes(22) + b"\5", "ends in the middle of a page"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        list(read_opus_packets(path))


def test_a_packet_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    page = b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255 + bytes(255 * 255)
    path.write_bytes(page)
    with pytest.raises(DataError, match="packet of over"):
        list(read_opus_packets(path))
