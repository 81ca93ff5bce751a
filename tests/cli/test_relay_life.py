"""A relay's health as its surroundings see it: metrics, watchdog, drain, lost workers, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rtcrelay import keys
from rtcrelay._dataplane import DROP_REASONS, Route, mint_ufrag
from rtcrelay.client.demo.processes import free_ports

from .relay_process import RelayProcess, binding_request

LOSES_A_WORKER = """
import sys
from pathlib import Path
from rtcrelay.relay import service

class Losing:
    '''A real relay that says, once a file is there, that it has lost a worker.'''

    def __init__(self, config):
        self._relay = RealRelay(config)

    def gauges(self):
        real = self._relay.gauges()
        return real | {"workers": real["workers"] - Path(sys.argv[1]).exists()}

    def __getattr__(self, name):
        return getattr(self._relay, name)

RealRelay, service.Relay = service.Relay, Losing
from rtcrelay.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def get(port: int, page: str, method: str = "GET") -> tuple[int, str]:
    """(status, text) from the metrics address."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{page}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) and value of each sample."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_metrics_health_and_readiness_are_read_only_on_tcp(tmp_path: Path, key_file: str) -> None:
    (port,) = free_ports(1)
    with RelayProcess(tmp_path, key_file, "--metrics", f"127.0.0.1:{port}", "-w", "2") as relay:
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/readyz") == (200, "ready\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"\x05 is no protocol", relay.public())
            deadline = time.monotonic() + 10
            name = "rtcrelay_relay_dropped_packets_total"
            while time.monotonic() < deadline:
                shown = metrics(get(port, "/metrics")[1])
                if shown[(name, frozenset({("reason", "first_byte")}))] == 1:
                    break
            else:
                pytest.fail("the drop was never counted")
        assert {dict(labels)["reason"] for shown_name, labels in shown if shown_name == name} == set(DROP_REASONS)
        assert shown[("rtcrelay_relay_workers", frozenset())] == 2
        assert metrics(relay.ask("/metrics")[1]).keys() == shown.keys(), "the same on the admin socket"
        for path in ("/v1/stats", "/v1/flows", "/v1/reload", "/v1/drain", "/"):
            assert get(port, path)[0] == 404
            assert get(port, path, "POST")[0] == 404
        assert get(port, "/metrics", "POST")[0] == 405
        assert relay.end()[0] == 0


def test_metrics_are_served_without_an_admin_socket_too(tmp_path: Path, key_file: str) -> None:
    (port,) = free_ports(1)
    with RelayProcess(tmp_path, key_file, "--metrics", f"127.0.0.1:{port}", "--admin", "none") as relay:
        assert get(port, "/readyz") == (200, "ready\n")
        assert not relay.admin.exists()


def test_a_metrics_port_in_use_is_71_before_anything_is_forwarded(tmp_path: Path, key_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        relay = RelayProcess(tmp_path, key_file, "--metrics", f"127.0.0.1:{port}")
        _, err = relay.process.communicate(timeout=20)
        assert relay.process.returncode == 71
        assert err == (
            f"rtcrelay: error: cannot serve metrics on 127.0.0.1:{port}: address already in use\n"
            f"hint: ss -tlpn sport = :{port}\n"
        )
        assert not relay.admin.exists()
        relay.__exit__(None, None, None)


def test_a_draining_relay_is_not_ready_and_goes_on_forwarding(tmp_path: Path, key_file: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as user:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(10)
        port = transceiver.getsockname()[1]
        ring = keys.load_key_file(Path(key_file)).ring
        ufrag = mint_ufrag(ring, Route("endpoint", 0, ip="127.0.0.1", port=port, nonce=1, key_id=3))
        with RelayProcess(tmp_path, key_file, "--transceivers", f"127.0.0.1/32:{port}") as relay:
            assert relay.ask("/v1/drain", "POST") == (200, {"kind": "drain", "v": 1, "draining": True, "flows": 0})
            assert "STATUS=draining" in relay.wait_for("STATUS=draining")
            assert relay.ask("/readyz") == (503, "draining\n")
            assert relay.ask("/healthz")[0] == 200
            user.sendto(binding_request(f"{ufrag}:abcd"), relay.public())
            assert transceiver.recv(2048), "a new call is forwarded like any other"
            (flow,) = relay.ask("/v1/flows")[1]["flows"]
            assert flow["claims"][0]["key_id"] == 3
            assert relay.ask("/v1/drain", "DELETE")[1]["draining"] is False
            assert relay.ask("/readyz") == (200, "ready\n")
            status, log = relay.end()
    assert status == 0
    said = [record["message"] for record in log]
    assert "draining: not ready for more, still forwarding" in said
    assert "no longer draining" in said


def test_a_relay_that_loses_a_worker_says_so_and_ends_with_70(tmp_path: Path, key_file: str) -> None:
    (port,), notify = free_ports(1), tmp_path / "notify"
    lost = tmp_path / "lost"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.settimeout(30)
        command = [sys.executable, "-c", LOSES_A_WORKER, str(lost), "serve", "relay", "--key-file", key_file]
        args = ["-l", "127.0.0.1:0", "--internal", "127.0.0.1:0", "-w", "2", "--metrics", f"127.0.0.1:{port}"]
        with subprocess.Popen(
            [*command, *args, "--admin", str(tmp_path / "relay.sock"), "--log-format", "text"],
            stderr=subprocess.PIPE,
            text=True,
            # 20 s: looks every 2 s, so that the pages can be asked in between
            env=os.environ | {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "20000000"},
        ) as relay:
            while b"READY=1" not in manager.recv(4096):
                pass
            assert get(port, "/healthz")[0] == 200
            lost.touch()
            _, err = relay.communicate(timeout=20)
    assert relay.returncode == 70
    assert "ERROR rtcrelay.relay: 1 of 2 workers live, so this relay must be restarted: ending with 70" in err
    assert not (tmp_path / "relay.sock").exists()


def test_the_watchdog_hears_of_a_working_relay_in_time(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file, WATCHDOG_USEC="400000") as relay:
        begun = time.monotonic()
        for _ in range(5):
            assert relay.wait_for("WATCHDOG=1") == ["WATCHDOG=1"]
        assert time.monotonic() - begun < 5 * 0.4 + 1.0
        assert relay.end()[0] == 0


def test_the_watchdog_of_another_process_hears_nothing(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file, WATCHDOG_USEC="1000", WATCHDOG_PID="1") as relay:
        assert relay.ask("/v1/drain", "POST")[0] == 200
        assert relay.wait_for("STATUS=draining") == ["STATUS=draining"]


def test_a_second_signal_ends_a_relay_that_waits_for_a_slow_client(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(relay.admin))
            slow.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
            relay.process.send_signal(signal.SIGTERM)
            relay.wait_for("STOPPING=1")
            relay.process.send_signal(signal.SIGTERM)
            status = relay.process.wait(timeout=20)
        assert status == -signal.SIGTERM, "one alone would have waited a second for the request's body"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after_ms", [0, 20, 40, 60, 100])
def test_a_signal_at_any_moment_of_the_start_ends_with_0(
    tmp_path: Path, key_file: str, after_ms: int, signum: signal.Signals
) -> None:
    relay = RelayProcess(tmp_path, key_file)
    wait_until_handled(relay.process.pid, signal.SIGTERM)  # SIGINT is handled just before
    time.sleep(after_ms / 1000)  # somewhere in the imports; no event tells where
    status, _ = relay.end(signum)
    assert status == 0
    assert not relay.admin.exists()
    relay.__exit__(None, None, None)


def wait_until_handled(pid: int, signum: signal.Signals) -> None:
    """Waits until a process catches a signal. Before, while Python itself starts, the kernel's default holds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signum - 1) & 1:
            return
        os.sched_yield()
    pytest.fail("the signal is never handled")


def test_one_who_drops_packets_hears_of_it_once(tmp_path: Path, key_file: str) -> None:
    """A ufrag of a key that is valid, to an address that is not a transceiver's: somebody forgot to configure it."""
    ring = keys.load_key_file(Path(key_file)).ring
    ufrag = mint_ufrag(ring, Route("endpoint", 0, ip="10.9.9.9", port=7000, nonce=1, key_id=3))
    with RelayProcess(tmp_path, key_file, WATCHDOG_USEC="100000") as relay:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for _ in range(3):
                client.sendto(binding_request(f"{ufrag}:abcd"), relay.public())
                relay.wait_for("WATCHDOG=1")
                relay.wait_for("WATCHDOG=1")
        _, log = relay.end()
    warnings = [record["message"] for record in log if "endpoint_forbidden" in record["message"]]
    assert len(warnings) == 1
    assert warnings[0] == (
        "1 packet was dropped within 1 s (endpoint_forbidden): the ufrag names an address outside the configured"
        " transceivers; --transceivers does not hold an address that a valid ufrag names"
    )
