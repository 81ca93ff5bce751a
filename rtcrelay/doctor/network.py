"""Do packets come and go as configured: addresses, MTU, source filters, the public address?"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import read_stun
from rtcrelay.config.text import address, format_address, is_internal, is_loopback, is_wildcard
from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.doctor.patient import Patient
from rtcrelay.errors import RtcrelayError

if TYPE_CHECKING:
    from rtcrelay.config import Address

LEAST_MTU: Final = 1566
"""1500 bytes of payload, 38 of SPP, 8 of UDP and 20 of IPv4."""
_BINDING_REQUEST: Final = struct.Struct(">HHI12s")
_COOKIE: Final = 0x2112A442
_BINDING_SUCCESS: Final = 0x0101
_TRIES: Final = 3


def addresses(patient: Patient) -> Iterator[Finding]:
    """What is to be bound must be an address of this machine; SPP's is never public."""
    for what, ip in _to_bind(patient):
        if is_wildcard(ip):
            continue
        if patient.interface_of(ip) is None:
            yield Finding(
                "network.addresses", Verdict.FAIL, f"no interface has {ip}, the {what}", "ip -brief address show"
            )
        else:
            yield Finding("network.addresses", Verdict.PASS, f"{ip}, the {what}, is here")
    for ip in patient.spp_addresses:
        if not is_internal(ip):
            yield Finding(
                "network.spp_bind",
                Verdict.WARN,
                f"SPP, which is not encrypted, is spoken at the public address {ip}",
                "wg genkey  # between sites, SPP belongs into WireGuard or IPsec",
            )
    if patient.spp_addresses and all(map(is_internal, patient.spp_addresses)):
        yield Finding("network.spp_bind", Verdict.PASS, f"SPP is spoken at {', '.join(patient.spp_addresses)}")


def mtu(patient: Patient) -> Iterator[Finding]:
    """SPP makes the largest packets longer; fragments get lost."""
    for ip in patient.spp_addresses:
        interface = patient.interface_of(ip)
        if interface is None:
            yield Finding("network.mtu", Verdict.SKIP, f"no interface has {ip}")
        elif interface.mtu < LEAST_MTU:
            message = f"{interface.name} has an MTU of {interface.mtu} bytes, SPP needs {LEAST_MTU}"
            remedy = f"ip link set dev {interface.name} mtu {LEAST_MTU}"
            yield Finding("network.mtu", Verdict.WARN, message, remedy)
        else:
            yield Finding("network.mtu", Verdict.PASS, f"{interface.name} has an MTU of {interface.mtu} bytes")


def source_filter(patient: Patient) -> Iterator[Finding]:
    """SPP trusts source addresses, so the kernel must drop those that come in where they cannot."""
    for ip in patient.spp_addresses:
        if is_loopback(ip):
            yield Finding("network.rp_filter", Verdict.PASS, f"{ip} is not reached from outside")
            continue
        interface = None if ":" in ip else patient.interface_of(ip)
        if interface is None:
            message = f"of {ip} it is not known: rp_filter is for IPv4 addresses of this machine"
            yield Finding("network.rp_filter", Verdict.SKIP, message)
            continue
        values = [patient.read_number(f"proc/sys/net/ipv4/conf/{name}/rp_filter") for name in ("all", interface.name)]
        known = [value for value in values if value is not None]
        if not known:
            yield Finding("network.rp_filter", Verdict.SKIP, "rp_filter is not shown here")
        elif max(known) == 0:
            message = f"{interface.name} takes packets whose source lies elsewhere, and SPP trusts sources"
            remedy = f"sysctl -w net.ipv4.conf.{interface.name}.rp_filter=1"
            yield Finding("network.rp_filter", Verdict.WARN, message, remedy)
        else:
            yield Finding("network.rp_filter", Verdict.PASS, f"{interface.name} drops packets with impossible sources")


def public_addresses(patient: Patient) -> Iterator[Finding]:
    """Each address that clients are told answers a STUN binding request, as a relay does by itself."""
    told = list(patient.transceiver.ingresses) if patient.transceiver else []
    told += _served(patient)
    for where in dict.fromkeys(told):
        shown = format_address(where)
        milliseconds = _ask(where, patient.seconds)
        if milliseconds is None:
            message = f"{shown} does not answer: no relay there, or a firewall in between"
            yield Finding("network.vip", Verdict.FAIL, message, f"rtcrelay probe stun {shown}")
        else:
            yield Finding("network.vip", Verdict.PASS, f"{shown} answers in {milliseconds:.1f} ms")
    if not told:
        yield Finding("network.vip", Verdict.SKIP, "no public address is configured or served here")


def _served(patient: Patient) -> Iterator[Address]:
    """The public addresses of the relays that run here."""
    for admin in patient.admins:
        try:
            for pair in admin.read("/v1/stats").get("listeners", ()):
                yield address()(pair["public"])
        except (RtcrelayError, KeyError, TypeError, ValueError):
            continue  # `running.services` tells of it


def _to_bind(patient: Patient) -> Iterator[tuple[str, str]]:
    if patient.relay:
        for public, internal in patient.relay.listeners:
            yield "relay's public address", public[0]
            yield "relay's internal address", internal[0]
    if patient.transceiver:
        yield "transceiver's media address", patient.transceiver.media[0]
        yield "transceiver's signaling address", patient.transceiver.http[0]
    if patient.signaling:
        yield "signaling's address", patient.signaling.http[0]


def _ask(where: Address, seconds: float) -> float | None:
    """Milliseconds until a relay or STUN server answered; None if none did."""
    ip, port = where
    if is_wildcard(ip):
        ip = "::1" if ":" in ip else "127.0.0.1"
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds / _TRIES)
        for _ in range(_TRIES):
            transaction = secrets.token_bytes(12)
            begun = time.perf_counter()
            try:
                client.connect((ip, port))
                client.send(_BINDING_REQUEST.pack(0x0001, 0, _COOKIE, transaction))
                answer = read_stun(client.recv(2048))
            except OSError:  # also an ICMP error: nobody listens
                continue
            if answer is not None and answer.kind == _BINDING_SUCCESS and answer.transaction == transaction:
                return (time.perf_counter() - begun) * 1000
    return None
