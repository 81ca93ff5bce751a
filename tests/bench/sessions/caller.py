"""One session as its client's packets make it: signaling, a check, DTLS, then SRTP and RTCP by hand.

Much cheaper than a real client, so that the generator is not what is measured. It stands for the relay too: the SPP
header of each session has a client address of its own, and all come from one socket.
"""

from __future__ import annotations

import http.client
import os
import secrets
import struct
import time

from rtcrelay._dataplane import SppHeader, classify, pack_spp
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.rtc import stun
from rtcrelay.rtc.dtls import Dtls, DtlsIdentity, DtlsState
from rtcrelay.rtc.offer_answer import Answer, IceCredentials, read_answer, write_offer
from rtcrelay.rtc.ogg import read_opus_packets
from rtcrelay.rtc.reports import Reporter

PAYLOAD_BYTES = 80
"""32 kb/s at 20 ms."""
CHECK_SECONDS = 2.5
"""Between consent checks, as Chromium."""
_HEADER = struct.Struct("!BBHII")
_SPEECH = tuple(read_opus_packets(SPEECH_FILE)) if "BENCH_SPEECH" in os.environ else ()


class BenchCall:
    """The client of one session; ``index`` 0 to 65535 is in its address."""

    def __init__(self, index: int, relay: tuple[str, int], identity: DtlsIdentity, signaling: str) -> None:
        self.header = pack_spp(SppHeader((f"10.9.{index >> 8}.{index & 255}", 40_000), relay))
        self.ssrc = index + 1
        self.ice = IceCredentials("benchmrk", secrets.token_hex(16))
        self.identity = identity
        self.answer = self._signal(signaling)
        self.dtls = Dtls(identity, self.answer.dtls_role, self.answer.fingerprints)
        now = time.monotonic()
        self.reports = Reporter(self.ssrc, "bench", now, unix_offset=time.time() - now)
        self.check_at = now + CHECK_SECONDS * secrets.randbelow(1000) / 1000
        self._sequence = secrets.randbelow(0x4000)
        self._timestamp = secrets.randbits(31)
        self._filler = b"\xf8" + secrets.token_bytes(PAYLOAD_BYTES - 9)

    def check(self, nominate: bool = False) -> bytes:
        """A binding request behind its header."""
        username = f"{self.answer.ice.ufrag}:{self.ice.ufrag}"
        check = stun.IceCheck(1, True, bytes(8), nominate)
        return self.header + stun.write_binding_request(
            secrets.token_bytes(12), username, self.answer.ice.password, check
        )

    def speak(self, now: float) -> bytes:
        """The next packet, with the time in its payload, or of the recorded voice if ``BENCH_SPEECH`` is set."""
        assert self.dtls.srtp is not None
        self._sequence = self._sequence + 1 & 0xFFFF
        self._timestamp += 960
        if _SPEECH:
            payload = _SPEECH[self._sequence % len(_SPEECH)]
        else:
            payload = self._filler + time.monotonic_ns().to_bytes(8, "big")
        header = _HEADER.pack(0x80, 111, self._sequence, self._timestamp & 0xFFFF_FFFF, self.ssrc)
        self.reports.handle_sent(self._timestamp, PAYLOAD_BYTES, now)
        packet = self.dtls.srtp.protect(header + payload)
        assert packet is not None
        return self.header + packet

    def report(self, now: float) -> bytes | None:
        """The RTCP packet that is due."""
        plain = self.reports.poll_report(now)
        packet = self.dtls.srtp.protect_rtcp(plain) if plain is not None and self.dtls.srtp is not None else None
        return None if packet is None else self.header + packet

    def hear(self, payload: bytes, now: float) -> None:
        """Counts an echo by its header, which is in the clear; it is not decrypted."""
        _, _, sequence, timestamp, ssrc = _HEADER.unpack_from(payload)
        self.reports.handle_packet(ssrc, sequence, timestamp, now)

    def handle_control(self, payload: bytes, now: float) -> list[bytes]:
        """Anything but RTP; returns what to send."""
        kind = classify(payload)
        if kind == "dtls":
            self.dtls.handle_datagram(payload, now)
            out = []
            while (datagram := self.dtls.poll_transmit()) is not None:
                out.append(self.header + datagram)
            return out
        if kind == "rtcp" and self.dtls.srtp is not None:
            plain = self.dtls.srtp.unprotect_rtcp(payload)
            if plain is not None:
                self.reports.handle_rtcp(plain, now)
        return []

    @property
    def is_connected(self) -> bool:
        """Whether DTLS is complete."""
        return self.dtls.state is DtlsState.CONNECTED

    def _signal(self, signaling: str) -> Answer:
        connection = http.client.HTTPConnection(signaling, timeout=10)
        offer = write_offer(self.ice, self.identity.fingerprint, ssrc=self.ssrc, data=False)
        connection.request("POST", "/whip", offer, {"Content-Type": "application/sdp"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.status == 201, text
        return read_answer(text)
