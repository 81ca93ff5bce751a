"""What operators and probes can ask, and the life of the process: reload, drain, the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay.config import TransceiverSettings
from rtcrelay.errors import ConfigError, StateError
from rtcrelay.http.access import Access
from rtcrelay.http.times import SignalingTimes
from rtcrelay.keys import generate, load_key_file, write_key_file
from rtcrelay.metrics.pages import Pages
from rtcrelay.metrics.process import ProcessMetrics
from rtcrelay.rtc.dtls import DtlsEnd
from rtcrelay.transceiver.admin import make_admin_app
from rtcrelay.transceiver.control import Control
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.metrics import TransceiverMetrics

from .network import Caller, Network

Http = TestClient[Any, Any]


class Loop:
    """An event loop of which only the timers count; they are called when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> Loop:
        self.timers.append((delay, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()


@pytest.fixture
async def control(network: Network) -> Control:
    control = Control(network.transceiver, Access(), None, lambda: network.transceiver.settings)
    control._loop = Loop()  # type: ignore[assignment]  # its timers are all that is used here
    return control


@pytest.fixture
async def admin(network: Network, control: Control) -> AsyncIterator[Http]:
    times = SignalingTimes()
    times.seconds["POST"].observe(0.003)
    times.requests["POST", "201"] += 1
    numbers = TransceiverMetrics(network.transceiver, times, lambda: 17)
    pages = Pages(control, [ProcessMetrics("transceiver", lambda: network.transceiver.keys), numbers])
    client = TestClient(TestServer(make_admin_app(control, pages)))
    await client.start_server()
    yield client
    await client.close()


async def test_stats_name_every_counter_and_drop(network: Network, admin: Http) -> None:
    Caller(network).connect()
    body = await (await admin.get("/v1/stats")).json()
    assert body["gauges"] == {"sessions": 1, "sessions_connected": 1, "paths": 1}
    assert body["counters"]["dtls_connected"] == 1
    assert body["drops"]["wrong_integrity"] == 0
    assert body["ends"]["silent"] == 0
    assert (body["node"], body["cluster"]) == ("test", 7)
    (key,) = body["keys"]
    assert (key["id"], key["state"], len(key["fingerprint"])) == (0, "active", 8)


async def test_sessions_are_listed_with_their_path_and_progress(network: Network, admin: Http) -> None:
    new = Caller(network)
    (row,) = (await (await admin.get("/v1/sessions")).json())["sessions"]
    assert (row["state"], row["dtls"], row["client"], row["first_check_ms"]) == ("new", "new", None, None)
    new.connect()
    network.now += 0.5
    new.speak()
    (row,) = (await (await admin.get("/v1/sessions")).json())["sessions"]
    assert (row["state"], row["dtls"], row["client"]) == ("connected", "connected", "198.51.100.7:51234")
    assert (row["ufrag"], row["ingress"]) == (new.answer.ice.ufrag, 3479)
    assert (row["rtp_packets_in"], row["rtp_packets_out"]) == (1, 1)
    assert (row["first_check_ms"], row["first_rtp_in_ms"]) == (0.0, 500.0)
    secrets = (new.answer.ice.password, new.accepted.resource.partition(".")[2])
    assert not any(secret in str(row) for secret in secrets)
    response = await admin.get(f"/v1/sessions/{row['id']}")
    one = await response.json()
    assert {name: one[name] for name in row} == row
    (path,) = one["all_paths"]
    assert (path["client"], path["ingress"], path["selected"], path["validated"]) == (row["client"], 3479, True, True)
    (source,) = one["sources"]
    assert (source["ssrc"], source["current"], source["packets"], source["lost_packets"]) == (42, True, 1, 0)
    assert (one["backend"], one["ends_in_s"], one["channel_labels"]) == ("echo", 7199.5, [])
    text = await response.text()
    assert not any(secret in text for secret in secrets)


async def test_an_operator_closes_a_session_and_the_client_is_told(network: Network, admin: Http) -> None:
    call = Caller(network)
    call.connect()
    response = await admin.delete(f"/v1/sessions/{call.session.id}")
    assert (response.status, (await response.json())["id"]) == (200, call.session.id)
    call.pump()
    assert call.dtls.end is DtlsEnd.CLOSE_NOTIFY
    assert network.transceiver.counters.ends[End.OPERATOR] == 1
    for method in ("GET", "DELETE"):
        again = await admin.request(method, f"/v1/sessions/{call.session.id}")
        assert (again.status, "no session" in (await again.json())["error"]) == (404, True)


async def test_draining_ends_readiness_and_can_be_taken_back(network: Network, admin: Http) -> None:
    assert (await admin.get("/healthz")).status == (await admin.get("/readyz")).status == 200
    assert await (await admin.post("/v1/drain")).json() == {"kind": "drain", "v": 1, "draining": True, "sessions": 0}
    assert (await admin.get("/healthz")).status == 200
    unready = await admin.get("/readyz")
    assert (unready.status, await unready.text()) == (503, "draining\n")
    assert (await (await admin.get("/v1/stats")).json())["is_draining"]
    await admin.delete("/v1/drain")
    assert (await admin.get("/readyz")).status == 200


async def test_metrics_are_the_published_ones(network: Network, admin: Http) -> None:
    Caller(network).connect()
    Caller(network)
    network.transceiver.counters.drops[Drop.NOT_AUTHENTIC] = 5
    network.transceiver.counters.dtls_failures["fingerprint"] = 2
    text = await (await admin.get("/metrics")).text()
    for line in (
        'rtcrelay_transceiver_sessions{state="connected"} 1.0',
        'rtcrelay_transceiver_sessions{state="new"} 1.0',
        'rtcrelay_transceiver_sessions{state="checked"} 0.0',
        'rtcrelay_transceiver_signaling_duration_seconds_bucket{le="0.005",method="POST"} 1.0',
        'rtcrelay_transceiver_signaling_requests_total{method="POST",status="201"} 1.0',
        'rtcrelay_transceiver_dropped_packets_total{reason="not_authentic"} 5.0',
        'rtcrelay_transceiver_dtls_failures_total{reason="fingerprint"} 2.0',
        'rtcrelay_transceiver_sessions_ended_total{reason="silent"} 0.0',
        "rtcrelay_transceiver_receive_overflows_total 17.0",
        "rtcrelay_transceiver_frame_lateness_seconds_count 0.0",
    ):
        assert line in text.splitlines(), line
    assert network.transceiver.counters.dtls_failures.keys() >= {"alert", "version", "timeout"}


async def test_every_counter_is_shown(network: Network, admin: Http) -> None:
    counts = network.transceiver.counters.counts
    for count in Count:
        counts[count] = 7000 + count
    shown = await (await admin.get("/metrics")).text()
    assert [count.name for count in Count if f" {7000 + count}.0" not in shown] == []


# -- the end


async def test_the_first_signal_drains_and_the_last_session_ends_the_process(
    network: Network, control: Control
) -> None:
    call = Caller(network)
    call.connect()
    control.end()
    assert network.transceiver.is_draining
    assert control.unready() == "draining"
    assert not control._ended.is_set()
    assert [delay for delay, _ in control._loop.timers] == [25.0]  # type: ignore[attr-defined]  # see Loop
    network.transceiver.close_all(End.DELETED)
    assert control._ended.is_set()


async def test_the_end_of_the_drain_time_ends_the_process(network: Network, control: Control) -> None:
    Caller(network)
    control.end()
    ((_, callback),) = control._loop.timers  # type: ignore[attr-defined]  # see Loop
    callback()
    assert control._ended.is_set()


async def test_a_second_signal_ends_at_once(network: Network, control: Control) -> None:
    Caller(network)
    control.end()
    control.end()
    assert control._ended.is_set()


async def test_without_sessions_the_first_signal_ends_at_once(control: Control) -> None:
    control.end()
    assert control._ended.is_set()


async def test_a_process_that_ends_takes_no_calls_again(network: Network, control: Control) -> None:
    Caller(network)
    control.end()
    with pytest.raises(StateError):
        control.drain(False)
    assert network.transceiver.is_draining


# -- reload


def with_settings(control: Control, settings: TransceiverSettings) -> None:
    control._reread = lambda: settings


async def test_a_reload_mints_with_the_new_key_and_keeps_the_sessions(network: Network, control: Control) -> None:
    old = Caller(network)
    path = network.transceiver.settings.key_file
    write_key_file(path, generate(3), force=True)
    control.reload()
    assert network.transceiver.keys.active_id == 3
    new = Caller(network)
    assert (old.answer.ice.ufrag[0], new.answer.ice.ufrag[0]) == ("a", "d")
    old.connect()
    assert network.transceiver.find(old.accepted.resource) is not None


async def test_a_reload_that_fails_changes_nothing(network: Network, control: Control, tmp_path: Path) -> None:
    before = network.transceiver.settings
    bad = replace(before, auth_token_file=tmp_path / "nothing", max_sessions=1)
    with_settings(control, bad)
    write_key_file(before.key_file, generate(3), force=True)
    with pytest.raises(ConfigError, match="cannot read token file"):
        control.reload()
    assert network.transceiver.settings is before
    assert network.transceiver.keys.active_id == 0
    for changes in ({"ingresses": ()}, {"key_file": tmp_path / "nothing"}):
        with_settings(control, replace(before, **changes))
        with pytest.raises(ConfigError):
            control.reload()
    assert load_key_file(before.key_file).active_id == 3


async def test_a_reload_takes_ingresses_limits_and_token(network: Network, control: Control, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("another-token-of-length")
    changed = replace(
        network.transceiver.settings, ingresses=(("127.0.0.1", 9999),), max_sessions=1, auth_token_file=token
    )
    with_settings(control, changed)
    control.reload()
    assert ("127.0.0.1", 9999) in [(c.ip, c.port) for c in Caller(network).answer.candidates]
    assert control._access._token == b"another-token-of-length"
    assert network.transceiver.settings.max_sessions == 1


async def test_what_cannot_be_reloaded_says_so(
    network: Network, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    with_settings(control, replace(network.transceiver.settings, media=("127.0.0.1", 1), node="other"))
    control.reload()
    assert "media has changed, which takes effect at the next start" in caplog.text
    assert network.transceiver.settings.node == "test"


async def test_a_reload_over_the_admin_socket_says_what_was_wrong(
    network: Network, control: Control, admin: Http
) -> None:
    response = await admin.post("/v1/reload")
    assert (response.status, (await response.json())["keys"][0]["id"]) == (200, 0)
    with_settings(control, replace(network.transceiver.settings, key_file=Path("/nowhere")))
    response = await admin.post("/v1/reload")
    assert (response.status, "cannot read key file" in (await response.json())["error"]) == (422, True)
