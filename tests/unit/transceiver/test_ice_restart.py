"""PATCH: candidates that an ICE-lite server needs none of, and ICE restarts that cost no packet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay.http.access import Access
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.rtc.sdp import MAX_BYTES, SdpError, read_description
from rtcrelay.rtc.trickle import MAX_CANDIDATES, read_fragment
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.generations import KEEP_SECONDS, MAX_GENERATIONS
from rtcrelay.transceiver.whip import Front, make_app

from .network import THERE, Caller, Network, arrival

Http = TestClient[Any, Any]
KIND = "application/trickle-ice-sdpfrag"
OLD = IceCredentials("caller", "callerpassword0123456789")
NEW = IceCredentials("restarted", "restartedpassword0123456789")
CANDIDATE = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag caller"


def fragment(ice: IceCredentials = OLD, *lines: str, mid: str = "0") -> str:
    head = [f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}", "m=audio 9 UDP/TLS/RTP/SAVPF 111", f"a=mid:{mid}"]
    return "\r\n".join([*head, *lines]) + "\r\n"


@pytest.fixture
async def http(network: Network) -> AsyncIterator[Http]:
    client = TestClient(TestServer(make_app(Front(network.transceiver, Access()))))
    await client.start_server()
    yield client
    await client.close()


async def patch(http: Http, call: Caller, body: str | bytes, if_match: str | None = "*", kind: str = KIND) -> Any:
    headers = {"Content-Type": kind, **({"If-Match": if_match} if if_match is not None else {})}
    return await http.patch(f"/whip/{call.accepted.resource}", data=body, headers=headers)


async def restart(http: Http, call: Caller, ice: IceCredentials = NEW) -> IceCredentials:
    """An ICE restart that the client takes over; returns our new credentials."""
    response = await patch(http, call, fragment(ice))
    assert response.status == 200
    (media,) = read_description("v=0\r\n" + await response.text()).media
    assert media.ufrag is not None
    assert media.password is not None
    return IceCredentials(media.ufrag, media.password)


def as_restarted(call: Caller, ours: IceCredentials, ice: IceCredentials = NEW) -> None:
    """The client uses the new credentials from now on."""
    object.__setattr__(call.answer, "ice", ours)
    call.ice = ice


# -- trickle


@pytest.mark.parametrize("quoted", [True, False])
async def test_candidates_are_taken_and_change_nothing(
    network: Network, http: Http, call: Caller, quoted: bool
) -> None:
    etag = call.accepted.etag if quoted else f'"other", {call.accepted.etag}'
    response = await patch(http, call, fragment(OLD, CANDIDATE, "a=end-of-candidates"), etag)
    assert (response.status, await response.read()) == (204, b"")
    assert "ETag" not in response.headers
    assert network.count(Count.ICE_RESTARTS) == 0


async def test_a_fragment_without_an_m_line_or_a_password_is_one_too(http: Http, call: Caller) -> None:
    response = await patch(http, call, f"a=ice-ufrag:caller\n{CANDIDATE}\n", call.accepted.etag)
    assert response.status == 204


@pytest.mark.parametrize(
    ("if_match", "status"),
    [(None, 428), ("", 412), ('"other"', 412), ('W/"x"', 412), ('"other", "more"', 412)],
)
async def test_if_match_has_to_name_the_ice_session(
    network: Network, http: Http, call: Caller, if_match: str | None, status: int
) -> None:
    response = await patch(http, call, fragment(NEW), if_match)
    assert (response.status, response.content_type) == (status, "application/problem+json")
    assert network.count(Count.ICE_RESTARTS) == 0
    assert network.session is call.session


async def test_the_etag_of_an_old_ice_session_is_412(http: Http, call: Caller) -> None:
    await restart(http, call)
    assert (await patch(http, call, fragment(NEW, CANDIDATE), call.accepted.etag)).status == 412


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("", 400, "no ice-ufrag"),
        ("hello", 400, "'hello'"),
        (b"\xff\xfe", 400, "not UTF-8"),
        (fragment(OLD, "a=candidate:nonsense"), 400, "candidate"),
        ("a=ice-ufrag:xy\r\n", 400, "ice-chars"),
        ("a=ice-ufrag:newone\r\n", 400, "ice-pwd"),
        (fragment(NEW) + fragment(OLD).replace("m=audio", "m=video"), 400, "several"),
        (fragment(NEW, mid="7"), 422, "mid '7'"),
    ],
)
async def test_a_body_that_cannot_be_used_keeps_the_session(
    network: Network, http: Http, call: Caller, body: str | bytes, status: int, detail: str
) -> None:
    response = await patch(http, call, body)
    assert response.status == status
    assert detail in (await response.json())["detail"]
    call.speak()
    assert call.session.end is None
    assert network.count(Count.RTP_IN) == 1
    assert network.count(Count.ICE_RESTARTS) == 0


async def test_a_new_ufrag_under_a_known_etag_is_no_restart(http: Http, call: Caller) -> None:
    response = await patch(http, call, fragment(NEW), call.accepted.etag)
    assert (response.status, "If-Match: *" in (await response.json())["detail"]) == (422, True)


async def test_another_content_type_is_415_and_a_long_body_413(http: Http, call: Caller) -> None:
    response = await patch(http, call, fragment(NEW), kind="application/sdp")
    assert (response.status, response.headers["Accept-Patch"]) == (415, KIND)
    assert (await patch(http, call, "a" * (MAX_BYTES + 1))).status == 413


async def test_a_session_that_is_not_there_is_404(http: Http, call: Caller) -> None:
    response = await http.patch("/whip/nothing.at-all", data=fragment(NEW), headers={"Content-Type": KIND})
    assert response.status == 404


# -- restart


@pytest.mark.parametrize("any_tag", ["*", '"*"', " * "])
async def test_a_restart_gets_new_credentials_and_a_new_etag(
    network: Network, http: Http, call: Caller, any_tag: str
) -> None:
    response = await patch(http, call, fragment(NEW), any_tag)
    assert (response.status, response.content_type) == (200, KIND)
    assert response.headers["ETag"] != call.accepted.etag
    text = await response.text()
    assert text.startswith("a=ice-lite\r\n")
    assert "a=mid:0\r\n" in text
    (media,) = read_description("v=0\r\n" + text).media
    assert media.ufrag not in (None, call.answer.ice.ufrag)
    assert media.ufrag is not None
    assert network.transceiver.router.knows_ufrag(media.ufrag)
    assert [(c.ip, c.port) for c in media.candidates] == [(c.ip, c.port) for c in call.answer.candidates]


async def test_the_new_ufrag_leads_to_the_same_transceiver(network: Network, http: Http, call: Caller) -> None:
    from rtcrelay._dataplane import open_ufrag

    ours = await restart(http, call)
    ring = network.transceiver.keys.ring
    old, new = open_ufrag(ring, call.answer.ice.ufrag), open_ufrag(ring, ours.ufrag)
    assert (old.kind, old.ip, old.port, old.cluster) == (new.kind, new.ip, new.port, new.cluster)


async def test_media_goes_on_through_a_restart_and_follows_the_client(
    network: Network, http: Http, call: Caller
) -> None:
    ours = await restart(http, call)
    call.speak()
    as_restarted(call, ours)
    call.addresses.add(THERE)
    call.at = arrival(THERE)
    call.check(nominate=True)
    call.pump()
    for _ in range(10):
        call.speak()
    call.pump()
    assert len(call.media) == 11
    path = call.session.link.paths.selected
    assert path is not None
    assert (path.key, path.validated) == (arrival(THERE).key, True)
    assert network.count(Count.DTLS_CONNECTED) == 1


async def test_the_old_ufrag_works_for_ten_seconds_after_the_new_one_was_used(
    network: Network, http: Http, call: Caller
) -> None:
    old = call.answer.ice
    ours = await restart(http, call)
    network.pass_time(KEEP_SECONDS + 1)
    call.check()  # the answer to the restart may have been lost: the old one is all the client has
    assert network.drops(Drop.UNKNOWN_UFRAG) == 0
    as_restarted(call, ours)
    call.check()
    network.pass_time(KEEP_SECONDS - 0.5)
    as_restarted(call, old, OLD)
    call.check()
    assert network.drops(Drop.UNKNOWN_UFRAG) == 0
    network.pass_time(1)
    call.check()
    assert network.drops(Drop.UNKNOWN_UFRAG) == 1
    assert not network.transceiver.router.knows_ufrag(old.ufrag)


async def test_once_the_new_ufrag_is_used_the_old_one_moves_nothing(network: Network, http: Http, call: Caller) -> None:
    old = call.answer.ice
    ours = await restart(http, call)
    as_restarted(call, ours)
    call.check()
    as_restarted(call, old, OLD)
    for _ in range(3):
        call.check(arrival(THERE), nominate=True)
    path = call.session.link.paths.selected
    assert path is not None
    assert path.key == call.at.key


async def test_restarts_that_are_never_used_do_not_pile_up(network: Network, http: Http, call: Caller) -> None:
    for number in range(10):
        await restart(http, call, IceCredentials(f"restart{number}", NEW.password))
    assert len(call.session.link.generations.ufrags()) == MAX_GENERATIONS
    assert len(network.transceiver.router._by_ufrag) == MAX_GENERATIONS
    call.check()
    assert network.drops(Drop.UNKNOWN_UFRAG) == 0
    call.session.close(End.DELETED, network.now)
    assert network.transceiver.router._by_ufrag == {}


async def test_the_same_fragment_again_is_no_second_restart(network: Network, http: Http, call: Caller) -> None:
    await restart(http, call)
    assert (await patch(http, call, fragment(NEW))).status == 204
    assert network.count(Count.ICE_RESTARTS) == 1


# -- fragments


def test_any_text_is_a_fragment_or_an_error_that_says_why() -> None:
    long = fragment(OLD, *[CANDIDATE] * (MAX_CANDIDATES + 1))
    for text in ("\0", "a=", "m=", "m=audio\r\n", "z=1", "a" * (MAX_BYTES + 1), long, "\ud800", "a=mid:" + "x" * 99):
        with pytest.raises(SdpError, match=r"^the "):
            read_fragment(text)
    read = read_fragment(fragment(OLD, *[CANDIDATE] * 3, "a=end-of-candidates"))
    assert (read.ice, read.ufrag, read.mids, read.candidates) == (OLD, "caller", ("0",), 3)
