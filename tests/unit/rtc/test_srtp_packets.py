"""SRTP: what does not authenticate is None, whatever it is."""

from __future__ import annotations

import importlib
import random
import secrets

import pylibsrtp
import pytest

from rtcrelay.rtc import srtp
from rtcrelay.rtc.rtp import RtpPacket, write_rtp
from rtcrelay.rtc.srtp import MAX_PLAIN_BYTES, MAX_SOURCES, PROFILES, Srtp, SrtpProfile

RTCP = bytes.fromhex("80c900010011223300000000")


def ends(profile: SrtpProfile = PROFILES[0]) -> tuple[Srtp, Srtp]:
    material = secrets.token_bytes(2 * (profile.key_bytes + profile.salt_bytes))
    return Srtp(profile, material, "client"), Srtp(profile, material, "server")


def rtp(sequence: int = 1, ssrc: int = 1, payload: bytes = b"opus") -> bytes:
    return write_rtp(RtpPacket(111, False, sequence, 960 * sequence, ssrc, payload))


def protected(sender: Srtp, packet: bytes) -> bytes:
    result = sender.protect(packet)
    assert result is not None
    return result


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_packets_pass_both_ways_in_every_profile(profile: SrtpProfile) -> None:
    client, server = ends(profile)
    for sender, receiver in ((client, server), (server, client)):
        assert receiver.unprotect(protected(sender, rtp())) == rtp()
        control = sender.protect_rtcp(RTCP)
        assert control is not None
        assert receiver.unprotect_rtcp(control) == RTCP


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_the_rtcp_index_counts_packets(profile: SrtpProfile) -> None:
    client, server = ends(profile)
    for expected in (1, 2, 3):
        control = client.protect_rtcp(RTCP)
        assert control is not None
        assert server.unprotect_rtcp(control) == RTCP
        assert server.rtcp_index(control) == expected


def test_there_is_a_profile_that_every_browser_has() -> None:
    assert "SRTP_AES128_CM_SHA1_80" in [profile.name for profile in PROFILES]


def test_a_replayed_packet_is_none() -> None:
    client, server = ends()
    packet = protected(client, rtp())
    assert server.unprotect(packet) is not None
    assert server.unprotect(packet) is None


def test_a_replayed_rtcp_packet_is_none() -> None:
    client, server = ends()
    packets = [client.protect_rtcp(RTCP) for _ in range(3)]
    for packet in (packets[1], packets[0], packets[2]):  # in whatever order
        assert packet is not None
        assert server.unprotect_rtcp(packet) == RTCP
        assert server.unprotect_rtcp(packet) is None


def test_an_rtcp_packet_from_long_ago_is_none() -> None:
    client, server = ends()
    first = client.protect_rtcp(RTCP)
    assert first is not None
    for _ in range(2000):
        packet = client.protect_rtcp(RTCP)
        assert packet is not None
        assert server.unprotect_rtcp(packet) == RTCP
    assert server.unprotect_rtcp(first) is None


def test_sessions_share_their_memory_without_mixing_packets() -> None:
    pairs = [ends() for _ in range(20)]
    packets = [protected(client, rtp(ssrc=index)) for index, (client, _) in enumerate(pairs)]
    for index, (_, server) in enumerate(pairs):
        assert server.unprotect(packets[index - 1]) is None
        assert server.unprotect(packets[index]) == rtp(ssrc=index)


def test_the_binding_has_the_private_parts_that_are_used() -> None:
    session = pylibsrtp.Session(pylibsrtp.Policy(bytes(30), pylibsrtp.Policy.SSRC_ANY_OUTBOUND))
    assert session._srtp[0]
    binding = importlib.import_module("pylibsrtp._binding")
    for name in ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp"):
        assert callable(getattr(binding.lib, name))


def test_a_changed_packet_is_none() -> None:
    client, server = ends()
    packet = protected(client, rtp())
    for index in range(len(packet)):
        changed = packet[:index] + bytes([packet[index] ^ 1]) + packet[index + 1 :]
        assert server.unprotect(changed) is None, index
    assert server.unprotect(packet) == rtp()


@pytest.mark.parametrize("length", [0, 1, 11, 12, 1500, 1501, 2048, 65_507])
def test_a_packet_of_any_length_raises_nothing(length: int) -> None:
    client, server = ends()
    for first in (0x80, 0xBF, 0x00):
        packet = bytes([first]) * length
        assert server.unprotect(packet) is None
        assert server.unprotect_rtcp(packet) is None
    assert server.unprotect(protected(client, rtp())) == rtp()


def test_random_packets_are_none() -> None:
    _, server = ends()
    dice = random.Random(1)
    for _ in range(5000):
        packet = bytes([0x80]) + dice.randbytes(dice.randrange(200))
        assert server.unprotect(packet) is None
        assert server.unprotect_rtcp(packet) is None


def test_a_packet_that_is_too_long_to_protect_is_none() -> None:
    client, server = ends()
    longest = rtp(payload=bytes(MAX_PLAIN_BYTES - 12))
    assert server.unprotect(protected(client, longest)) == longest
    assert client.protect(longest + b"x") is None
    assert client.protect_rtcp(RTCP + bytes(MAX_PLAIN_BYTES)) is None


def test_no_more_sources_are_kept_than_the_limit() -> None:
    client, server = ends()
    for ssrc in range(1, MAX_SOURCES + 1):
        assert server.unprotect(protected(client, rtp(ssrc=ssrc))) is not None
    ninth = protected(client, rtp(ssrc=99))
    assert not server.has_room_for(ninth[8:12])
    assert server.has_room_for(protected(client, rtp(3, ssrc=1))[8:12])
    assert server.unprotect(ninth) is None
    assert server.unprotect(protected(client, rtp(2, ssrc=1))) is not None


def test_forged_sources_take_no_place() -> None:
    client, server = ends()
    for ssrc in range(1000):
        assert server.unprotect(rtp(ssrc=ssrc) + bytes(16)) is None
    assert server.unprotect(protected(client, rtp())) is not None


def test_the_sequence_may_roll_over() -> None:
    client, server = ends()
    for sequence in [*range(65000, 65536, 5), *range(0, 1000, 5)]:
        assert server.unprotect(protected(client, rtp(sequence))) is not None


def test_profiles_that_libsrtp_lacks_are_left_out() -> None:
    missing = SrtpProfile("NONE", 0xFFFF, 16, 14, 14)
    assert not srtp._is_built_in(missing)
