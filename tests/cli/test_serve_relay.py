"""``rtcrelay serve relay`` as a process: it forwards, can be asked and told, and every bad input is one clear line."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import SPP_HEADER, Route, mint_ufrag, unpack_spp

from .conftest import Cli
from .relay_process import RelayProcess, binding_request


@pytest.fixture
def transceiver() -> Iterator[socket.socket]:
    """A UDP socket where a transceiver would be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(10)
        yield bound


def ufrag_to(place: socket.socket, key_file: str, cluster: int = 0) -> str:
    """A ufrag that leads to a socket."""
    ring = keys.load_key_file(Path(key_file))
    ip, port = place.getsockname()
    key_id = ring.active_id
    assert key_id is not None
    return mint_ufrag(ring.ring, Route("endpoint", cluster, ip=ip, port=port, nonce=1, key_id=key_id))


def test_a_request_is_forwarded_to_the_transceiver_that_its_ufrag_names(
    tmp_path: Path, key_file: str, transceiver: socket.socket
) -> None:
    port = transceiver.getsockname()[1]
    with RelayProcess(tmp_path, key_file, "--transceivers", f"127.0.0.1/32:{port}") as relay:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            request = binding_request(f"{ufrag_to(transceiver, key_file)}:abcd")
            client.sendto(request, relay.public())
            datagram = transceiver.recv(2048)
            here = client.getsockname()[1]
        header = unpack_spp(datagram)
        assert header is not None
        assert header.client == ("127.0.0.1", here)
        assert datagram[SPP_HEADER:] == request
        status, page = relay.ask("/v1/flows")
        assert status == 200
        (flow,) = page["flows"]
        assert (flow["kind"], flow["client"], flow["packets_in"]) == ("flow", f"127.0.0.1:{here}", 1)
        assert flow["claims"][0]["next_hop"] == f"127.0.0.1:{port}"
        assert flow["claims"][0]["state"] == "pending"
        assert page["next_cursor"] == 0
        stats = relay.ask("/v1/stats")[1]
        assert stats["gauges"]["flows"] == 1
        assert stats["counters"]["routed_by_ufrag"] == 1
        assert sum(stats["drops"].values()) == 0


def test_the_admin_socket_answers_health_stats_and_wrong_questions(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file, "--cluster", "7") as relay:
        assert relay.admin.stat().st_mode & 0o777 == 0o660
        assert relay.ask("/healthz") == (200, "ok\n")
        assert relay.ask("/readyz") == (200, "ready\n")
        stats = relay.ask("/v1/stats")[1]
        assert (stats["kind"], stats["v"], stats["cluster"], stats["pid"]) == ("relay_stats", 1, 7, relay.process.pid)
        fingerprints = keys.load_key_file(Path(key_file)).fingerprints()
        assert [(key["id"], key["fingerprint"]) for key in stats["keys"]] == fingerprints
        for question in ("limit=0", "limit=10001", "limit=x", "cursor=-1", "cursor=%D9%A4", "limit=" + "9" * 5000):
            status, body = relay.ask(f"/v1/flows?{question}")
            assert status == 400
            assert "is not a whole number from" in body["error"]
        assert relay.ask("/v1/nothing")[0] == 404
        assert relay.ask("/v1/reload")[0] == 405


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_0(tmp_path: Path, key_file: str, signum: int) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        status, log = relay.end(signum)
        assert status == 0
        assert log[-1]["message"] == "stopping"
        assert "STOPPING=1" in relay.wait_for("STATUS=stopping")
        assert not relay.admin.exists()
        assert {record["level"] for record in log} <= {"info", "warning"}


def test_a_signal_while_it_starts_ends_it_cleanly_too(tmp_path: Path, key_file: str) -> None:
    relay = RelayProcess(tmp_path, key_file)
    relay.wait_for("STATUS=forwarding")  # before the control plane is there
    status, _ = relay.end()
    assert status == 0
    relay.__exit__(None, None, None)


def test_it_reports_forwarding_first_and_readiness_when_it_can_be_asked(tmp_path: Path, key_file: str) -> None:
    relay = RelayProcess(tmp_path, key_file)
    assert relay.wait_for("READY=1")[0] == "STATUS=forwarding"
    assert relay.ask("/healthz")[0] == 200
    relay.__exit__(None, None, None)


def test_reload_takes_a_new_key_and_new_networks_at_once(
    tmp_path: Path, key_file: str, transceiver: socket.socket
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('[relay]\ntransceivers = ["10.0.0.0/8"]\n')
    with RelayProcess(tmp_path, key_file, "--config", str(file)) as relay:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(binding_request(f"{ufrag_to(transceiver, key_file)}:a"), relay.public())
            while relay.ask("/v1/stats")[1]["drops"]["endpoint_forbidden"] == 0:
                pass  # the reload must not overtake it
            keys.write_key_file(Path(key_file), keys.generate(5), force=True)
            file.write_text('[relay]\ntransceivers = ["127.0.0.0/8"]\nworkers = 2\n')
            status, answer = relay.ask("/v1/reload", "POST")
            assert (status, [key["id"] for key in answer["keys"]]) == (200, [5])
            request = binding_request(f"{ufrag_to(transceiver, key_file)}:b")
            client.sendto(request, relay.public())
            assert transceiver.recv(2048)[SPP_HEADER:] == request
        drops = relay.ask("/v1/stats")[1]["drops"]
        assert drops["endpoint_forbidden"] == 1
        messages = [record["message"] for record in relay.end()[1]]
        assert "workers has changed, which takes effect at the next start" in messages


def test_hangup_reloads_and_tells_the_service_manager(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        keys.write_key_file(Path(key_file), keys.generate(5), force=True)
        relay.process.send_signal(signal.SIGHUP)
        assert "RELOADING=1" in relay.wait_for("READY=1")
        assert [key["id"] for key in relay.ask("/v1/stats")[1]["keys"]] == [5]


def test_a_reload_of_bad_keys_changes_nothing_and_says_why(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        before = relay.ask("/v1/stats")[1]["keys"]
        Path(key_file).chmod(0o644)
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_for("READY=1")
        status, answer = relay.ask("/v1/reload", "POST")
        assert status == 422
        assert "has mode 0644: others may read or change it" in answer["error"]
        assert relay.ask("/v1/stats")[1]["keys"] == before
        assert relay.ask("/readyz")[0] == 200
        _, log = relay.end()
        errors = [record["message"] for record in log if record["level"] == "error"]
        assert len(errors) == 2
        assert all(error.startswith("not reloaded, everything stays as it was: key file ") for error in errors)


def test_quiet_says_nothing_when_all_is_well(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file, "-q") as relay:
        assert [record for record in relay.end()[1] if record["level"] != "warning"] == []


def test_ipv6_and_several_listeners_are_served(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(
        tmp_path,
        key_file,
        *("-l", "[::1]:0", "-l", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--internal", "[::1]:0"),
        *("--log-format", "json", "-w", "2"),
    ) as relay:
        first, second = relay.ask("/v1/stats")[1]["listeners"]
        assert first["public"].startswith("[::1]:")
        assert second["internal"].startswith("[::1]:")
        assert second["ingress"] == int(second["internal"].rpartition(":")[2])


def test_a_port_in_use_is_71_with_the_command_that_shows_by_whom(tmp_path: Path, key_file: str, process: Cli) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        _, port = relay.public()
        done = process(
            *("serve", "relay", "--key-file", key_file, "-l", f"127.0.0.1:{port}", "--internal", "127.0.0.1:0"),
            *("--admin", str(tmp_path / "other.sock")),
        )
        assert (done.status, done.out) == (71, "")
        assert done.err == (
            f"rtcrelay: error: cannot bind 127.0.0.1:{port}: address already in use\nhint: ss -ulpn sport = :{port}\n"
        )
        assert not (tmp_path / "other.sock").exists()


def test_a_port_that_a_stranger_uses_is_71_too(tmp_path: Path, key_file: str, process: Cli) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        done = process(
            *("serve", "relay", "--key-file", key_file, "-l", "127.0.0.1:0", "--internal", f"127.0.0.1:{port}"),
            *("--admin", "none"),
        )
    assert done.status == 71
    assert done.err.startswith(f"rtcrelay: error: cannot bind 127.0.0.1:{port}: address already in use\n")


def test_an_address_of_another_machine_is_71(key_file: str, process: Cli) -> None:
    done = process("serve", "relay", "--key-file", key_file, "-l", "192.0.2.1:3478", "--admin", "none")
    assert done.status == 71
    assert done.err == (
        "rtcrelay: error: cannot bind 192.0.2.1:3478: cannot assign requested address\n"
        "hint: 'ip address' lists the addresses of this machine\n"
    )


def test_a_low_port_without_the_capability_is_77(key_file: str, process: Cli, requires: object) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("every user may bind low ports here: sysctl net.ipv4.ip_unprivileged_port_start=1024")
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        assert callable(requires)
        requires(command="setpriv", install="apt-get install util-linux")
        before = ("setpriv", "--bounding-set=-net_bind_service")
    done = process(
        *("serve", "relay", "--key-file", key_file, "-l", "127.0.0.1:80", "--admin", "none"),
        before=before,
    )
    assert (done.status, done.out) == (77, "")
    assert done.err == (
        "rtcrelay: error: cannot bind 127.0.0.1:80: permission denied\n"
        "hint: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)\n"
    )


def test_a_second_relay_does_not_take_the_first_ones_admin_socket(tmp_path: Path, key_file: str, process: Cli) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        done = process(
            *("serve", "relay", "--key-file", key_file, "-l", "127.0.0.1:0", "--internal", "127.0.0.1:0"),
            *("--admin", str(relay.admin)),
        )
        assert done.status == 71
        assert f"cannot make admin socket {relay.admin}: another process listens there" in done.err
        assert relay.ask("/healthz")[0] == 200


def test_a_killed_relay_leaves_a_socket_that_the_next_one_replaces(tmp_path: Path, key_file: str) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        relay.process.kill()
        relay.process.wait()
        assert relay.admin.is_socket()
    (tmp_path / "notify").unlink()
    with RelayProcess(tmp_path, key_file) as relay:
        assert relay.ask("/healthz")[0] == 200


WRONG = [
    ("--transceivers 10.0.0.0/33", "--transceivers: '10.0.0.0/33' is not a network, expected CIDR, for example"),
    ("--transceivers 10.0.0.1/8", "--transceivers: '10.0.0.1/8' has bits set behind its prefix, expected 10.0.0.0/8"),
    ("--peers 10.0.0.0/8:5", "--peers: '10.0.0.0/8:5' is not a network, expected CIDR, for example 10.0.0.0/8"),
    (
        "--transceivers 10.0.0.0/16 --peers 10.0.7.0/24",
        "--peers: '10.0.7.0/24' overlaps '10.0.0.0/16' in --transceivers, expected every network in one of the lists",
    ),
    ("--transceivers 8.8.8.0/24", "--transceivers: '8.8.8.0/24' is outside the private, loopback, link-local and"),
    ("--internal 0.0.0.0:3479", "--internal: '0.0.0.0:3479' is a wildcard, expected the one address to use"),
    ("-w 0", "--workers: '0' is not a whole number from 1 to 64"),
    ("--idle-timeout 60", "--idle-timeout: '60' is not a duration, expected for example 250ms, 60s or 1h30m"),
    ("--config /nonexistent.toml", "cannot read configuration file /nonexistent.toml: no such file or directory"),
    ("--key-file /nonexistent.toml", "cannot read key file /nonexistent.toml: no such file or directory"),
]  # fmt: skip


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
@pytest.mark.parametrize(("args", "message"), WRONG)
def test_wrong_settings_are_78_in_one_line(
    cli: Cli, key_file: str, args: str, message: str, check: tuple[str, ...]
) -> None:
    done = cli("serve", "relay", "--key-file", key_file, *args.split(), *check)
    assert (done.status, done.out) == (78, "")
    assert done.err.startswith(f"rtcrelay: error: {message}")
    assert len(done.err.splitlines()) <= 2


@pytest.mark.parametrize("service", ["relay", "transceiver"])
@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
def test_a_key_file_that_others_can_read_or_that_is_missing_is_78(
    cli: Cli, key_file: str, service: str, check: tuple[str, ...]
) -> None:
    Path(key_file).chmod(0o604)
    done = cli("serve", service, "--key-file", key_file, *check)
    assert done.status == 78
    assert done.err == (
        f"rtcrelay: error: key file {key_file} has mode 0604: others may read or change it, expected 0600, 0400 or"
        f" 0440\nhint: chmod 600 {key_file}\n"
    )
    done = cli("serve", service, *check)
    assert done.status == 78
    assert done.err.startswith("rtcrelay: error: no key file is configured\nhint: make one with 'rtcrelay keys gen")


@pytest.mark.parametrize("service", ["relay", "transceiver"])
def test_a_check_prints_one_line_and_0(cli: Cli, key_file: str, service: str) -> None:
    done = cli("serve", service, "--key-file", key_file, "--check")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("configuration is sound: ")
    assert done.out.count("\n") == 1


@pytest.mark.parametrize("service", ["relay", "transceiver"])
def test_the_demo_key_is_78_outside_loopback(cli: Cli, tmp_path: Path, service: str) -> None:
    path = tmp_path / "demo.toml"
    keys.write_key_file(path, keys.format_key(0, keys.DEMO_SECRET, datetime.now(UTC)))
    loopback = ("-l", "127.0.0.1") if service == "relay" else ()
    assert cli("serve", service, "--key-file", str(path), "--check", *loopback).status == 0
    public = ("-l", "0.0.0.0") if service == "relay" else ("--direct", "192.0.2.1:1")
    done = cli("serve", service, "--key-file", str(path), "--check", *public)
    assert done.status == 78
    assert "holds the published demo key, which is accepted only where every address is a loopback address" in done.err


def test_the_settings_in_effect_are_printed_without_the_secret(cli: Cli, key_file: str) -> None:
    done = cli("serve", "relay", "--key-file", key_file, "-w", "3", "--print-config")
    assert (done.status, done.err) == (0, "")
    assert "workers = 3  # --workers" in done.out
    assert f'key_file = "{key_file}"  # --key-file' in done.out
    assert keys.load_key_file(Path(key_file)).keys[0].secret.hex() not in done.out
