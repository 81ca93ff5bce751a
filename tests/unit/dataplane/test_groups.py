"""Datagrams that the kernel puts together or cuts apart (UDP GRO and GSO), with real sockets on loopback."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, closing

from rtcrelay import _dataplane as dataplane

from .test_relay_sockets import RTP, Site, eventually, run_site, stun, udp

UDP_SEGMENT = 103
"""linux/udp.h"""
CLIENTS = 5


def open_paths(site: Site, clients: list[socket.socket]) -> list[bytes]:
    """Opens a path for each client; returns the SPP headers."""
    relay, transceiver, username = site
    headers = []
    for client in clients:
        client.connect(relay.listeners()[0][0])
        client.send(stun(username=username))
        datagram, source = transceiver.recvfrom(2048)
        headers.append(datagram[: dataplane.SPP_HEADER])
        transceiver.sendto(headers[-1] + stun(0x0101), source)
        assert client.recv(2048) == stun(0x0101)
    return headers


def with_clients(count: int, test: Callable[[Site, list[socket.socket]], None]) -> None:
    with run_site() as site, ExitStack() as stack:
        test(site, [stack.enter_context(closing(udp("127.0.0.1"))) for _ in range(count)])


def test_a_buffer_with_packets_of_several_clients_is_split_by_each_ones_own_header() -> None:
    def test(site: Site, clients: list[socket.socket]) -> None:
        relay, transceiver, _ = site
        headers = open_paths(site, clients)
        internal = relay.listeners()[0][1]
        rounds = 8
        packets = [header + RTP + bytes([at, turn]) for turn in range(rounds) for at, header in enumerate(headers)]
        packets.append(headers[0] + RTP)  # the last one is shorter
        size = struct.pack("H", len(packets[0]))
        # The kernel hands it over whole to a socket that takes datagrams together.
        transceiver.sendmsg([b"".join(packets)], [(socket.IPPROTO_UDP, UDP_SEGMENT, size)], 0, internal)
        for at, client in enumerate(clients):
            for turn in range(rounds):
                assert client.recv(2048) == RTP + bytes([at, turn])
        assert clients[0].recv(2048) == RTP
        assert eventually(lambda: relay.counters()["public_out_packets"] == len(clients) + len(packets))
        counts = relay.counters()
        assert (counts["gro_buffers"], counts["gro_packets"]) == (1, len(packets))
        assert counts["internal_in_packets"] == len(clients) + len(packets)

    with_clients(CLIENTS, test)


def test_packets_of_a_burst_arrive_one_by_one_and_in_order_of_their_flow() -> None:
    def test(site: Site, clients: list[socket.socket]) -> None:
        relay, transceiver, _ = site
        headers = open_paths(site, clients)
        transceiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        relay.pause()  # so that the burst waits, and is taken together
        sent: dict[bytes, list[bytes]] = {header: [] for header in headers}
        for turn in range(10):
            for at, (client, header) in enumerate(zip(clients, headers, strict=True)):
                packet = RTP + bytes(((turn * 7 + at) % 4) * 9) + bytes([turn])
                client.send(packet)
                sent[header].append(packet)
        relay.resume()
        arrived: dict[bytes, list[bytes]] = {header: [] for header in headers}
        for _ in range(10 * len(clients)):
            datagram = transceiver.recv(65536)
            arrived[datagram[: dataplane.SPP_HEADER]].append(datagram[dataplane.SPP_HEADER :])
        assert arrived == sent
        counts = relay.counters()
        assert counts["gso_packets"] > counts["gso_sends"] > 0
        assert counts["gso_refused"] == 0

    with_clients(CLIENTS, test)


def test_large_packets_go_through_beside_small_ones() -> None:
    def test(site: Site, clients: list[socket.socket]) -> None:
        relay, transceiver, _ = site
        open_paths(site, clients)
        relay.pause()
        sizes = [1500, 1500, 60, 1414, 1414, 60, 1500]
        for size in sizes:
            clients[0].send(RTP + bytes(size - len(RTP)))
        relay.resume()
        arrived = [len(transceiver.recv(65536)) - dataplane.SPP_HEADER for _ in sizes]
        assert arrived == sizes

    with_clients(1, test)


def test_processors_that_are_not_there_do_not_stop_a_relay() -> None:
    policy = dataplane.Policy(dataplane.KeyRing([(0, bytes(16), "active")]))
    allowed = sorted(os.sched_getaffinity(0))
    config = dataplane.RelayConfig(
        [(("127.0.0.1", 0), ("127.0.0.1", 0))], policy, workers=2, pin_cpus=[allowed[0], 1023], busy_poll=True
    )
    relay = dataplane.Relay(config)
    relay.start()
    try:
        assert relay.gauges()["workers"] == 2
        with closing(udp("127.0.0.1")) as client:
            client.sendto(stun(), relay.listeners()[0][0])
            assert client.recv(2048)[:2] == b"\x01\x01"
    finally:
        relay.stop()
