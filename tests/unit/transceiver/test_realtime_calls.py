"""Calls in the shape of OpenAI's WebRTC interface: what may be posted, what the backend is told, and hanging up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay.http.access import Access
from rtcrelay.rtc.offer_answer import IceCredentials, write_offer
from rtcrelay.transceiver.backends import BaseBackend, Call
from rtcrelay.transceiver.counters import End
from rtcrelay.transceiver.realtime_calls import CALLS
from rtcrelay.transceiver.whip import Front, make_app

from .network import CALLER, Network

OFFER = write_offer(IceCredentials("caller", "callerpassword0123456789"), CALLER.fingerprint, ssrc=42, data=False)
TOKEN = "a-token-of-the-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Page:
    def __init__(self, network: Network, http: TestClient) -> None:  # type: ignore[type-arg]
        self.network, self.http = network, http
        self.requests: list[str | None] = []

        class Noting(BaseBackend):
            def __init__(inner, call: Call) -> None:
                self.requests.append(call.request)

        network.transceiver.make_backend = Noting

    async def post(self, data: object, where: str = CALLS, **headers: str) -> aiohttp.ClientResponse:
        return await self.http.post(where, data=data, headers={**BEARER, **headers})


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    network = Network.make(tmp_path)
    app = make_app(Front(network.transceiver, Access(TOKEN, ())))
    async with TestClient(TestServer(app)) as http:
        yield Page(network, http)


def form(**fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value)
    return data


async def test_a_raw_offer_is_answered_with_sdp_and_the_calls_place(page: Page) -> None:
    answer = await page.post(OFFER, **{"Content-Type": "application/sdp"})
    assert answer.status == 201
    assert answer.content_type == "application/sdp"
    assert (await answer.text()).startswith("v=0")
    assert answer.headers["Location"].startswith("/v1/realtime/calls/")
    assert page.requests == [None]


async def test_a_form_has_an_offer_and_a_session_for_the_backend(page: Page) -> None:
    session = '{"type": "realtime", "model": "m", "instructions": "sé brève"}'
    answer = await page.post(form(sdp=OFFER, session=session))
    assert answer.status == 201, await answer.text()
    assert page.requests == [session]


async def test_a_form_may_have_no_session(page: Page) -> None:
    assert (await page.post(form(sdp=OFFER))).status == 201
    assert page.requests == [None]


async def test_earlier_clients_post_to_the_interface_itself_and_name_a_model(page: Page) -> None:
    answer = await page.post(OFFER, "/v1/realtime?model=m-1", **{"Content-Type": "application/sdp"})
    assert answer.status == 201
    assert page.requests == ['{"model": "m-1"}']


@pytest.mark.parametrize("how", ["hangup", "delete"])
async def test_a_call_is_hung_up_by_its_place_and_only_with_the_token(page: Page, how: str) -> None:
    place = (await page.post(OFFER, **{"Content-Type": "application/sdp"})).headers["Location"]
    session = page.network.session
    wrong = place[:-3] + "xyz"
    for where, headers, status in ((place, {}, 401), (wrong, BEARER, 404), (place, BEARER, 200), (place, BEARER, 404)):
        request = request_for(page, how, where)
        answer = await page.http.request(*request, headers=headers)
        assert answer.status == status
        assert (session.end is End.DELETED) is (where == place and headers != {})


def request_for(page: Page, how: str, where: str) -> tuple[str, str]:
    return ("POST", where + "/hangup") if how == "hangup" else ("DELETE", where)


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (OFFER, "text/plain", 415),
        (b"v=0", "application/sdp", 422),
        (b"\xff\xfe", "application/sdp", 422),
        (b"x" * 70_000, "application/sdp", 413),
        (b"no form", "multipart/form-data", 400),
        (b"no form", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\nhi\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
async def test_a_body_that_is_no_call_is_refused(page: Page, data: object, kind: str, status: int) -> None:
    answer = await page.post(data, **{"Content-Type": kind})
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/problem+json"
    assert page.network.transceiver.session_count == 0


@pytest.mark.parametrize("session", ["{", "[]", "5", '"text"', "[" * 20_000])
async def test_a_session_that_is_no_json_object_is_refused(page: Page, session: str) -> None:
    answer = await page.post(form(sdp=OFFER, session=session))
    assert answer.status == 422
    assert "session" in (await answer.json())["detail"]


async def test_a_call_needs_the_token(page: Page) -> None:
    answer = await page.http.post(CALLS, data=OFFER, headers={"Content-Type": "application/sdp"})
    assert answer.status == 401


async def test_a_preflight_tells_what_may_be_posted(page: Page) -> None:
    for where in (CALLS, CALLS + "/x.y", CALLS + "/x.y/hangup"):
        assert (await page.http.options(where)).status == 204
