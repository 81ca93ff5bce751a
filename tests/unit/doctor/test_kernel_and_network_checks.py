"""What the doctor says of machines that are played by a directory with proc below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from rtcrelay.config import RelaySettings, TransceiverSettings
from rtcrelay.doctor import kernel, network
from rtcrelay.doctor.examine import examine
from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Check, Interface, Patient

INTERFACES = (
    Interface("lo", 65_536, ("127.0.0.1", "::1")),
    Interface("eth0", 1500, ("203.0.113.10",)),
    Interface("eth1", 9000, ("10.0.0.5", "fd00::5")),
    Interface("eth2", 1500, ("10.0.9.5",)),
)


def relay(internal: str = "10.0.0.5", **changes: object) -> RelaySettings:
    listeners = ((("203.0.113.10", 3478), (internal, 3479)),)
    values: dict[str, object] = {"listeners": listeners, "key_file": Path("/none"), "transceivers": ("10.0.3.0/24",)}
    return RelaySettings(**{**values, **changes})  # type: ignore[arg-type]  # the fields of RelaySettings


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Patient]:
    """A machine with these files below proc."""

    def make(settings: RelaySettings | None = None, **files: str) -> Patient:
        for name, content in files.items():
            path = tmp_path / "proc" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return Patient(relay=settings or relay(), root=tmp_path, interfaces=lambda: INTERFACES)

    return make


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    return [(one.verdict.value, one.remedy) for one in findings]


def test_small_buffers_are_a_warning_with_the_size_that_services_ask_for(machine: Callable[..., Patient]) -> None:
    patient = machine(sys__net__core__rmem_max="212992", sys__net__core__wmem_max="8388608")
    assert told(kernel.buffers(patient)) == [("warn", "sysctl -w net.core.rmem_max=8388608"), ("pass", None)]


def test_a_transceiver_alone_asks_for_less(tmp_path: Path, machine: Callable[..., Patient]) -> None:
    machine(sys__net__core__rmem_max="4194304", sys__net__core__wmem_max="4194304")
    settings = TransceiverSettings(
        http=("127.0.0.1", 8080), media=("127.0.0.1", 7000), ingresses=(), node="a", relays=(), key_file=Path("/none")
    )
    patient = Patient(transceiver=settings, root=tmp_path)
    assert told(kernel.buffers(patient)) == [("pass", None), ("pass", None)]


def test_what_is_not_shown_is_not_guessed(machine: Callable[..., Patient]) -> None:
    assert told(kernel.buffers(machine())) == [("skip", None), ("skip", None)]
    assert told(network.source_filter(machine())) == [("skip", None)]


@pytest.mark.parametrize(
    ("most", "count", "verdict", "remedy"),
    [
        (None, None, "pass", None),
        ("1048576", "10", "pass", None),
        ("262144", "250000", "fail", "sysctl -w net.netfilter.nf_conntrack_max=524288"),
        ("1000000", "900000", "warn", "sysctl -w net.netfilter.nf_conntrack_max=2000000"),
        ("65536", "10", "warn", "sysctl -w net.netfilter.nf_conntrack_max=524288"),
    ],
)
def test_connection_tracking_needs_room_for_the_relays_paths(
    machine: Callable[..., Patient], most: str | None, count: str | None, verdict: str, remedy: str | None
) -> None:
    files = {} if most is None else {"sys__net__netfilter__nf_conntrack_max": most}
    files |= {} if count is None else {"sys__net__netfilter__nf_conntrack_count": count}
    assert told(kernel.conntrack(machine(**files))) == [(verdict, remedy)]


@pytest.mark.parametrize(("state", "verdict"), [(0, "pass"), (5, "warn"), (None, "skip")])
def test_the_clock_is_synchronized_or_not_or_nobody_knows(
    machine: Callable[..., Patient], monkeypatch: pytest.MonkeyPatch, state: int | None, verdict: str
) -> None:
    monkeypatch.setattr(kernel, "_clock_state", lambda: state)
    assert [one.verdict.value for one in kernel.clock(machine())] == [verdict]


def test_the_kernel_answers_about_its_clock() -> None:
    assert kernel._clock_state() in range(6)


def test_two_sockets_share_an_address_on_this_machine(machine: Callable[..., Patient]) -> None:
    assert told(kernel.reuse_port(machine())) == [("pass", None)]


@pytest.mark.parametrize(
    ("internal", "verdict", "remedy"),
    [
        ("10.0.0.5", "pass", None),
        ("127.0.0.1", "pass", None),
        ("10.0.9.5", "warn", "ip link set dev eth2 mtu 1566"),
        ("10.9.9.9", "skip", None),
    ],
)
def test_spp_needs_room_in_every_packet(
    machine: Callable[..., Patient], internal: str, verdict: str, remedy: str | None
) -> None:
    assert told(network.mtu(machine(relay(internal)))) == [(verdict, remedy)]


@pytest.mark.parametrize(
    ("internal", "everywhere", "there", "verdict", "remedy"),
    [
        ("10.0.0.5", "0", "0", "warn", "sysctl -w net.ipv4.conf.eth1.rp_filter=1"),
        ("10.0.0.5", "0", "1", "pass", None),
        ("10.0.0.5", "2", "0", "pass", None),
        ("127.0.0.1", "0", "0", "pass", None),
        ("fd00::5", "0", "0", "skip", None),
    ],
)
def test_the_kernel_must_drop_impossible_sources_where_spp_is_spoken(
    machine: Callable[..., Patient], internal: str, everywhere: str, there: str, verdict: str, remedy: str | None
) -> None:
    files = {"sys__net__ipv4__conf__all__rp_filter": everywhere, "sys__net__ipv4__conf__eth1__rp_filter": there}
    assert told(network.source_filter(machine(relay(internal), **files))) == [(verdict, remedy)]


def test_addresses_that_are_to_be_bound_must_be_here_and_spp_never_public(machine: Callable[..., Patient]) -> None:
    assert [one.verdict for one in network.addresses(machine())] == [Verdict.PASS] * 3
    missing = list(network.addresses(machine(relay("10.9.9.9"))))
    assert missing[1] == Finding(
        "network.addresses",
        Verdict.FAIL,
        "no interface has 10.9.9.9, the relay's internal address",
        "ip -brief address show",
    )
    public = list(network.addresses(machine(relay("203.0.113.10"))))
    assert public[-1].verdict is Verdict.WARN
    assert "SPP, which is not encrypted" in public[-1].message


def test_without_a_way_to_know_the_interfaces_the_other_checks_go_on(machine: Callable[..., Patient]) -> None:
    def missing() -> tuple[Interface, ...]:
        raise FileNotFoundError("ip")

    patient = Patient(relay=relay(), interfaces=missing, root=Path("/nowhere"))
    checks: list[tuple[str, Check]] = [("network.mtu", network.mtu), ("kernel.reuse_port", kernel.reuse_port)]
    first, second = examine(patient, checks)
    assert (first.verdict, first.message) == (Verdict.SKIP, "cannot tell: FileNotFoundError: ip")
    assert second.verdict is Verdict.PASS


def test_a_check_that_does_not_come_back_is_not_waited_for() -> None:
    import threading

    stop = threading.Event()

    def slow(patient: Patient) -> Iterable[Finding]:
        stop.wait(20)
        return ()

    patient = Patient(seconds=-0.9)
    try:
        (finding,) = examine(patient, [("slow.check", slow)])
    finally:
        stop.set()
    assert (finding.check, finding.verdict) == ("slow.check", Verdict.SKIP)
    assert finding.message == "cannot tell: no answer in time"
