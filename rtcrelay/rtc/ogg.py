"""Which Opus packets are in an Ogg file? (RFC 3533, RFC 7845)"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from rtcrelay.errors import DataError, ExitStatus

_PAGE_HEADER: Final = 27
_MAX_PACKET_BYTES: Final = 61_440
"""RFC 7845 section 6: longer packets may be refused."""


def read_opus_packets(path: Path) -> Iterator[bytes]:
    """The audio packets of an Ogg/Opus file, in order, as they go into RTP.

    Raises DataError if the file cannot be opened, is not Ogg, not Opus, or ends in the middle of a page.
    Checksums are not verified: the file is the operator's own.
    """
    try:
        with path.open("rb") as file:
            packets = _packets(file, path)
            if not next(packets, b"").startswith(b"OpusHead"):
                raise DataError(f"{path} holds no Opus audio")
            next(packets, None)  # OpusTags
            yield from packets
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", status=ExitStatus.NO_INPUT) from error


def _packets(file: BinaryIO, path: Path) -> Iterator[bytes]:
    packet = b""
    while header := file.read(_PAGE_HEADER):
        if len(header) < _PAGE_HEADER or header[:5] != b"OggS\0":
            raise DataError(f"{path} is not an Ogg file, or it is damaged")
        segments = _exactly(file, header[26], path)
        for length in struct.unpack(f"{len(segments)}B", segments):
            packet += _exactly(file, length, path)
            if len(packet) > _MAX_PACKET_BYTES:
                raise DataError(f"{path} holds a packet of over {_MAX_PACKET_BYTES} bytes")
            if length < 255:  # a segment that is not full ends its packet
                yield packet
                packet = b""


def _exactly(file: BinaryIO, length: int, path: Path) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise DataError(f"{path} ends in the middle of a page")
    return data
