"""Signaling over HTTP: statuses, headers, problem details, CORS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay.http.access import Access
from rtcrelay.http.server import start_http
from rtcrelay.rtc.dtls import DtlsEnd
from rtcrelay.rtc.offer_answer import IceCredentials, read_answer, write_offer
from rtcrelay.rtc.sdp import MAX_BYTES
from rtcrelay.transceiver.counters import Count, End
from rtcrelay.transceiver.whip import Front, make_app

from .network import CALLER, Caller, Network

TOKEN = "a-token-of-good-length"
SDP = {"Content-Type": "application/sdp", "Authorization": f"Bearer {TOKEN}"}
OFFER = write_offer(IceCredentials("caller", "callerpassword0123456789"), CALLER.fingerprint, ssrc=1)

Http = TestClient[Any, Any]


async def serving(network: Network, token: str | None = TOKEN, origins: tuple[str, ...] = ()) -> Http:
    client = TestClient(TestServer(make_app(Front(network.transceiver, Access(token, origins)))))
    await client.start_server()
    return client


@pytest.fixture
async def http(network: Network) -> AsyncIterator[Http]:
    client = await serving(network)
    yield client
    await client.close()


async def problem(response: Any, status: int) -> str:
    """Asserts the status and the form of problem details; returns their detail."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    body = await response.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    return str(body["detail"])


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 1000\r\n\r\nv=0", b"Transfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n"],
    ids=["length", "chunks"],
)
async def test_a_client_that_leaves_within_its_body_is_no_defect(
    network: Network, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    app = make_app(Front(network.transceiver, Access()))
    end = await start_http(app, listener)  # aiohttp's test server cancels handlers
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    head = b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nExpect: 100-continue\r\n"
    writer.write(head + rest)
    assert b"100 Continue" in await reader.readline()  # it waits for the body now
    writer.close()
    while not network.count(Count.OFFERS_REFUSED):  # noqa: ASYNC110  # nothing tells of a counter
        await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    await end()
    listener.close()


async def test_an_offer_gets_an_answer_and_a_place(network: Network, http: Http) -> None:
    response = await http.post("/whip", data=OFFER, headers=SDP)
    assert response.status == 201
    assert response.content_type == "application/sdp"
    answer = read_answer(await response.text())
    assert (answer.ice_lite, answer.dtls_role, answer.payload_type) == (True, "server", 111)
    assert [(c.ip, c.port) for c in answer.candidates] == [("127.0.0.1", 3478), ("127.0.0.1", 7001)]
    location = response.headers["Location"]
    placed = network.transceiver.find(location.removeprefix("/whip/"))
    assert placed is not None
    assert placed.session is network.session
    assert response.headers["ETag"] == placed.etag
    assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert response.headers["X-Rtcrelay-Node"] == "test"
    assert network.count(Count.SESSIONS_CREATED) == 1


async def test_delete_ends_the_session_and_tells_the_client(network: Network) -> None:
    http = await serving(network)
    call = Caller(network)
    call.connect()
    response = await http.delete(f"/whip/{call.accepted.resource}", headers=SDP)
    assert response.status == 200
    call.pump()
    assert call.dtls.end is DtlsEnd.CLOSE_NOTIFY
    assert network.transceiver.counters.ends[End.DELETED] == 1
    again = await http.delete(f"/whip/{call.accepted.resource}", headers=SDP)
    assert await problem(again, 404) == "there is no such session"
    await http.close()


async def test_the_secret_of_another_session_ends_nothing(network: Network, http: Http) -> None:
    one, two = Caller(network).accepted.resource, Caller(network).accepted.resource
    mixed = one.partition(".")[0] + "." + two.partition(".")[2]
    await problem(await http.delete(f"/whip/{mixed}", headers=SDP), 404)
    assert network.transceiver.session_count == 2


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9"],
)
async def test_without_the_token_nothing_is_done(network: Network, http: Http, authorization: str | None) -> None:
    headers = {"Content-Type": "application/sdp"}
    if authorization is not None:
        headers["Authorization"] = authorization
    for response in (
        await http.post("/whip", data=OFFER, headers=headers),
        await http.delete("/whip/x.y", headers=headers),
        await http.patch("/whip/x.y", data="", headers=headers),
    ):
        assert "Bearer token" in await problem(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert network.transceiver.session_count == 0


async def test_without_a_token_file_anybody_may_call(network: Network) -> None:
    http = await serving(network, token=None)
    response = await http.post("/whip", data=OFFER, headers={"Content-Type": "application/sdp"})
    assert response.status == 201
    await http.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/sdpx"])
async def test_another_content_type_is_415(http: Http, kind: str) -> None:
    response = await http.post("/whip", data=OFFER, headers={**SDP, "Content-Type": kind})
    assert "application/sdp" in await problem(response, 415)
    assert response.headers["Accept-Post"] == "application/sdp"


async def test_a_long_body_is_413_with_and_without_its_length(http: Http) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BYTES // 1000 + 2):
            yield b"x" * 1000

    assert "65536 bytes" in await problem(await http.post("/whip", data="x" * (MAX_BYTES + 1), headers=SDP), 413)
    assert "65536 bytes" in await problem(await http.post("/whip", data=pieces(), headers=SDP), 413)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "starts with ''"),
        (b"hello", "starts with 'hello'"),
        (b"\xff\xfe", "not UTF-8"),
        (OFFER.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n").encode(), "one side must be a full ICE agent"),
        (OFFER.replace("opus", "speex").replace("webrtc-datachannel", "x").encode(), "neither an Opus"),
    ],
)
async def test_an_offer_that_cannot_be_accepted_is_422_and_says_why(
    network: Network, http: Http, body: bytes, detail: str
) -> None:
    assert detail in await problem(await http.post("/whip", data=body, headers=SDP), 422)
    assert network.transceiver.session_count == 0
    assert network.count(Count.OFFERS_REFUSED) == 1


async def test_a_full_transceiver_says_when_to_come_again(tmp_path: Path) -> None:
    network = Network.make(tmp_path, max_sessions=1)
    http = await serving(network)
    assert (await http.post("/whip", data=OFFER, headers=SDP)).status == 201
    response = await http.post("/whip", data=OFFER, headers=SDP)
    await problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
    await http.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/whip", 405),
        ("PUT", "/whip", 405),
        ("PATCH", "/whip/x.y", 415),
        ("PATCH", "/whip", 405),
        ("POST", "/whip/x.y", 405),
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("DELETE", "/whip/a/b", 404),
    ],
)
async def test_other_requests_are_refused_in_the_same_form(http: Http, method: str, path: str, status: int) -> None:
    response = await http.request(method, path, headers=SDP)
    await problem(response, status)
    assert ("Allow" in response.headers) is (status == 405)


async def test_options_says_what_may_be_posted(http: Http) -> None:
    response = await http.options("/whip")
    assert (response.status, response.headers["Accept-Post"]) == (204, "application/sdp")
    assert response.headers["Allow"] == "POST, OPTIONS"
    session = await http.options("/whip/x.y")
    assert session.headers["Allow"] == "PATCH, DELETE, OPTIONS"
    assert session.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("origins", [("https://app.example",), ("*",)])
async def test_a_page_of_an_allowed_origin_may_call(network: Network, origins: tuple[str, ...]) -> None:
    http = await serving(network, origins=origins)
    origin = {"Origin": "https://app.example"}
    preflight = await http.options("/whip", headers={**origin, "Access-Control-Request-Method": "POST"})
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST, PATCH, DELETE, OPTIONS"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    for response in (
        await http.post("/whip", data=OFFER, headers={**SDP, **origin}),
        await http.post("/whip", data="x", headers={**SDP, **origin}),
        await http.post("/whip", data="x", headers=origin),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert response.headers["Vary"] == "Origin"
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "ETag", "Link", "Retry-After", "X-Rtcrelay-Node"} <= set(exposed)
    await http.close()


async def test_a_page_of_another_origin_may_not(network: Network) -> None:
    http = await serving(network, origins=("https://app.example",))
    response = await http.options("/whip", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in response.headers
    await http.close()


async def test_a_defect_is_a_500_that_says_nothing_about_itself(
    network: Network, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(offer: str) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(network.transceiver, "create_session", broken)
    detail = await problem(await http.post("/whip", data=OFFER, headers=SDP), 500)
    assert "secret" not in detail


async def test_the_page_is_served(http: Http) -> None:
    response = await http.get("/")
    assert response.status == 200
    assert response.content_type == "text/html"
    assert "<main" in await response.text()
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_files_of_the_page_are_a_closed_list(http: Http) -> None:
    script = await http.get("/web/call.js")
    assert (script.status, script.content_type) == (200, "text/javascript")
    assert (await http.get("/web/page.css")).content_type == "text/css"
    for name in ("index.html", "nothing.js", "..%2Fkeys.py", "%2Fetc%2Fpasswd"):
        await problem(await http.get(f"/web/{name}"), 404)


async def test_by_default_no_other_origin_is_told_anything(network: Network, http: Http) -> None:
    response = await http.post("/whip", data=OFFER, headers={**SDP, "Origin": "https://app.example"})
    assert response.status == 201
    assert not [name for name in response.headers if name.startswith("Access-Control-")]


async def test_a_draining_transceiver_takes_no_call_but_lets_those_it_has_go_on(network: Network, http: Http) -> None:
    call = Caller(network)
    call.connect()
    network.transceiver.is_draining = True
    response = await http.post("/whip", data=OFFER, headers=SDP)
    assert "drains" in await problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
    assert network.count(Count.OFFERS_UNPLACED) == 1
    call.speak()
    assert call.session.end is None
    assert (await http.delete(f"/whip/{call.accepted.resource}", headers=SDP)).status == 200
