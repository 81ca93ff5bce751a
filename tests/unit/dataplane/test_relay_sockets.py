"""The relay's worker threads with real sockets on loopback, driven through the Python face."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

import pytest

from rtcrelay import _dataplane as dataplane

RING = dataplane.KeyRing([(0, bytes(range(16)), "active")])
NODE = 42


def stun(kind: int = 0x0001, username: str | None = None) -> bytes:
    """A STUN message with at most a USERNAME."""
    value = (username or "").encode()
    attribute = b"\x00\x06" + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4) if username else b""
    return kind.to_bytes(2, "big") + len(attribute).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + attribute


RTP = b"\x80\x6f" + bytes(50)


def udp(ip: str) -> socket.socket:
    """A socket on a free port that gives up after two seconds."""
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(2)
    sock.bind((ip, 0))
    return sock


def eventually(happened: Callable[[], bool], seconds: float = 5) -> bool:
    """Looks every few milliseconds whether the workers, threads of their own, have got there."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.002)
    return True


Site = tuple[dataplane.Relay, socket.socket, str]


@contextmanager
def run_site(public: str = "127.0.0.1", internal: str = "127.0.0.1", workers: int = 1) -> Iterator[Site]:
    """A relay, a transceiver's socket, and a username that leads to it."""
    with closing(udp(internal)) as transceiver:
        ip, port = transceiver.getsockname()[:2]
        policy = dataplane.Policy(
            RING,
            cluster=1,
            transceivers=[f"[{ip}/128]:{port}" if ":" in ip else f"{ip}/32:{port}"],
            nodes={NODE: (ip, port)},
        )
        config = dataplane.RelayConfig([((public, 0), (internal, 0))], policy, workers=workers)
        relay = dataplane.Relay(config)
        relay.start()
        try:
            route = dataplane.Route("node", 1, node=NODE)
            yield relay, transceiver, dataplane.mint_ufrag(RING, route) + ":abcd"
        finally:
            relay.stop()


@pytest.fixture
def site() -> Callable[..., AbstractContextManager[Site]]:
    """Makes a site for one test."""
    return run_site


@pytest.mark.parametrize(
    ("public", "asked", "internal"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.77", "127.0.0.1"),
        ("::1", "::1", "127.0.0.1"),
        ("::", "::1", "::1"),
        ("127.0.0.1", "127.0.0.1", "::1"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_packet_goes_to_the_transceiver_and_its_answer_comes_from_the_address_asked(
    public: str, asked: str, internal: str, workers: int
) -> None:
    with run_site(public, internal, workers) as (relay, transceiver, username):
        ((_, port), (return_ip, return_port)) = relay.listeners()[0]
        with closing(udp(asked if ":" in asked else "127.0.0.1")) as client:
            client.connect((asked, port))  # a connected socket hears this address only
            client.send(stun(username=username))
            datagram, source = transceiver.recvfrom(2048)
            header = dataplane.unpack_spp(datagram)
            assert header is not None
            assert header.client == client.getsockname()[:2]
            assert header.proxy == (return_ip, return_port) == source[:2]
            assert datagram[dataplane.SPP_HEADER :] == stun(username=username)
            for returned in (stun(0x0101), RTP):
                transceiver.sendto(datagram[: dataplane.SPP_HEADER] + returned, source)
                assert client.recv(2048) == returned
            client.send(RTP)
            assert transceiver.recv(2048)[dataplane.SPP_HEADER :] == RTP


def test_a_vip_answers_a_request_without_username_itself(site: Callable[..., AbstractContextManager[Site]]) -> None:
    with site("0.0.0.0") as (relay, _, _), closing(udp("127.0.0.1")) as client:
        client.connect(("127.0.0.9", relay.listeners()[0][0][1]))
        client.send(stun())
        answer = dataplane.read_stun(client.recv(2048))
        assert answer is not None
        assert answer.kind == 0x0101
        assert [kind for kind, _, _ in answer.attributes] == [0x0020]
        assert relay.counters()["stun_answered"] == 1


def test_two_sessions_on_one_path_both_get_its_packets() -> None:
    with run_site() as (relay, transceiver, username), closing(udp("127.0.0.1")) as other:
        (vip, _) = relay.listeners()[0]
        networks = [f"127.0.0.1/32:{sock.getsockname()[1]}" for sock in (transceiver, other)]
        nodes = {NODE: transceiver.getsockname(), 43: other.getsockname()}
        relay.reload(dataplane.Policy(RING, cluster=1, transceivers=networks, nodes=nodes))
        second = dataplane.mint_ufrag(RING, dataplane.Route("node", 1, node=43)) + ":abcd"
        with closing(udp("127.0.0.1")) as client:
            for sock, name in ((transceiver, username), (other, second)):
                client.sendto(stun(username=name), vip)
                datagram, source = sock.recvfrom(2048)
                sock.sendto(datagram[: dataplane.SPP_HEADER] + stun(0x0101), source)
                client.recv(2048)
            client.sendto(RTP, vip)
            assert transceiver.recv(2048)[dataplane.SPP_HEADER :] == RTP
            assert other.recv(2048)[dataplane.SPP_HEADER :] == RTP
        (flows, _) = relay.flows()
        assert [{claim.state for claim in flow.claims} for flow in flows] == [{"weak"}]


def test_a_closed_transceiver_is_noticed_by_icmp_and_stops_nothing() -> None:
    with run_site() as (relay, transceiver, username), closing(udp("127.0.0.1")) as client:
        vip = relay.listeners()[0][0]
        client.sendto(stun(username=username), vip)
        datagram, source = transceiver.recvfrom(2048)
        transceiver.sendto(datagram[: dataplane.SPP_HEADER] + stun(0x0101), source)
        client.recv(2048)
        transceiver.close()
        for _ in range(10):
            client.sendto(RTP, vip)
        client.sendto(stun(), vip)
        assert dataplane.classify(client.recv(2048)) == "stun"
        assert relay.gauges()["workers"] == 1
        assert eventually(lambda: relay.counters()["icmp_errors"] > 0)


def test_a_storm_of_icmp_errors_loses_no_packet_of_another_transceiver() -> None:
    with run_site() as (relay, transceiver, username), closing(udp("127.0.0.1")) as client:
        vip = relay.listeners()[0][0]
        with closing(udp("127.0.0.1")) as gone:
            closed = gone.getsockname()
        networks = [f"127.0.0.1/32:{port}" for port in (transceiver.getsockname()[1], closed[1])]
        nodes = {NODE: transceiver.getsockname(), 43: closed}
        relay.reload(dataplane.Policy(RING, cluster=1, transceivers=networks, nodes=nodes))
        dead = stun(username=dataplane.mint_ufrag(RING, dataplane.Route("node", 1, node=43)) + ":abcd")
        with closing(udp("127.0.0.1")) as attacker:
            for _ in range(20):
                for _ in range(200):
                    attacker.sendto(dead, vip)
                client.sendto(stun(username=username), vip)
                datagram, source = transceiver.recvfrom(2048)
                transceiver.sendto(datagram[: dataplane.SPP_HEADER] + stun(0x0101), source)
                assert client.recv(2048) == stun(0x0101)
        assert eventually(lambda: relay.counters()["icmp_errors"] > 0)


def test_a_payload_that_comes_to_one_internal_socket_leaves_by_the_listener_it_is_for() -> None:
    with closing(udp("127.0.0.1")) as transceiver, closing(udp("127.0.0.1")) as client:
        ip, port = transceiver.getsockname()
        policy = dataplane.Policy(RING, cluster=1, transceivers=[f"{ip}/32:{port}"], nodes={NODE: (ip, port)})
        pairs = [(("127.0.0.1", 0), ("127.0.0.1", 0)), (("127.0.0.2", 0), ("127.0.0.2", 0))]
        relay = dataplane.Relay(dataplane.RelayConfig(pairs, policy))
        relay.start()
        try:
            (first, second) = relay.listeners()
            header = dataplane.pack_spp(dataplane.SppHeader(client.getsockname(), second[1]))
            client.connect(second[0])
            transceiver.sendto(header + RTP, first[1])
            assert client.recv(2048) == RTP
        finally:
            relay.stop()


def test_a_flow_nobody_uses_is_forgotten() -> None:
    policy = dataplane.Policy(RING, cluster=1, transceivers=["127.0.0.0/8"])
    pair = (("127.0.0.1", 0), ("127.0.0.1", 0))
    relay = dataplane.Relay(dataplane.RelayConfig([pair], policy, idle_timeout_seconds=1.0))
    relay.start()
    try:
        with closing(udp("127.0.0.1")) as transceiver:
            header = dataplane.pack_spp(dataplane.SppHeader(("127.0.0.1", 9), relay.listeners()[0][1]))
            transceiver.sendto(header + RTP, relay.listeners()[0][1])
            assert eventually(lambda: relay.gauges()["flows"] == 1)
            assert eventually(lambda: relay.gauges()["flows"] == 0)
    finally:
        relay.stop()


def test_a_second_relay_on_the_same_port_is_refused() -> None:
    with run_site() as (relay, _, _):
        policy = dataplane.Policy(RING, cluster=1)
        for listener in (
            (relay.listeners()[0][0], ("127.0.0.1", 0)),
            (("0.0.0.0", relay.listeners()[0][0][1]), ("127.0.0.1", 0)),
            (("127.0.0.1", 0), relay.listeners()[0][1]),
            (relay.listeners()[0][1], ("127.0.0.1", 0)),
        ):
            second = dataplane.Relay(dataplane.RelayConfig([listener], policy))
            with pytest.raises(OSError, match="Address already in use") as refused:
                second.start()
            assert refused.value.errno == errno.EADDRINUSE
            assert str(refused.value.filename).rpartition(":")[2] in {str(address[1]) for address in listener}


@pytest.mark.parametrize(
    "pairs",
    [
        [(("127.0.0.1", 47001), ("127.0.0.1", 47001))],
        [(("127.0.0.1", 47001), ("127.0.0.1", 47002)), (("127.0.0.1", 47001), ("127.0.0.1", 47003))],
        [(("127.0.0.1", 47001), ("127.0.0.1", 47002)), (("127.0.0.1", 47002), ("127.0.0.1", 47003))],
        [(("0.0.0.0", 47001), ("127.0.0.1", 47002)), (("127.0.0.1", 47001), ("127.0.0.1", 47003))],
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_one_address_for_two_purposes_is_refused(
    pairs: list[tuple[tuple[str, int], tuple[str, int]]], workers: int
) -> None:
    relay = dataplane.Relay(dataplane.RelayConfig(pairs, dataplane.Policy(RING), workers=workers))
    with pytest.raises(OSError, match="Address already in use"):
        relay.start()


def test_a_stopped_relay_frees_its_ports_and_stops_twice() -> None:
    with run_site() as (relay, _, _):
        listeners = relay.listeners()
        relay.stop()
        relay.stop()
        again = dataplane.Relay(dataplane.RelayConfig(listeners, dataplane.Policy(RING)))
        again.start()
        again.stop()


def test_a_held_packet_is_sent_when_the_route_cache_answers() -> None:
    with run_site() as (relay, transceiver, _), closing(udp("127.0.0.1")) as client:
        vip, internal = relay.listeners()[0]
        told = relay.listen(True, route_cache=True)
        client.sendto(RTP, vip)
        assert select.select([told], [], [], 2)[0]
        ((asked,), lost) = relay.events()
        assert (asked.what, asked.client, asked.ingress, asked.next_hop) == (
            "asked",
            client.getsockname(),
            internal[1],
            None,
        )
        assert lost == 0
        assert relay.restore([(asked.client, asked.ingress, transceiver.getsockname())]) == 1
        assert transceiver.recv(2048)[dataplane.SPP_HEADER :] == RTP
        assert relay.counters()["held"] == 1
        assert relay.counters()["claims_restored"] == 1
        assert not select.select([told], [], [], 0)[0]


def test_a_held_packet_without_an_answer_is_dropped() -> None:
    with run_site() as (relay, _, _), closing(udp("127.0.0.1")) as client:
        relay.listen(True, route_cache=True)
        client.sendto(RTP, relay.listeners()[0][0])
        assert eventually(lambda: relay.drops()["no_route"] == 1)
        assert relay.counters()["held"] == 1


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 1), (3, 2)])
def test_another_relay_takes_the_sockets_and_paths_over_and_nothing_is_lost(before: int, after: int) -> None:
    with run_site(workers=before) as (old, transceiver, username), ExitStack() as stack:
        vip, internal = old.listeners()[0]
        clients = [stack.enter_context(closing(udp("127.0.0.1"))) for _ in range(12)]  # a ufrag has at most 16 paths
        for client in clients:
            client.sendto(stun(username=username), vip)
            datagram, source = transceiver.recvfrom(2048)
            transceiver.sendto(datagram[: dataplane.SPP_HEADER] + stun(0x0101), source)
            client.recv(2048)
        networks = [f"127.0.0.1/32:{transceiver.getsockname()[1]}"]
        policy = dataplane.Policy(RING, cluster=1, transceivers=networks)
        new = dataplane.Relay(dataplane.RelayConfig([(vip, internal)], policy, workers=after))
        inherited = [(number, os.dup(public), os.dup(inner)) for number, public, inner in old.descriptors()]
        new.start(inherited=inherited, paused=True)
        stack.callback(new.stop)
        assert new.load(old.snapshot()) == 12
        old.pause()
        for client in clients:
            client.sendto(RTP, vip)
        assert new.load(old.snapshot(within_seconds=5)) == 12
        new.count_as_well(old.counters(), old.drops())
        old.stop()
        new.resume()
        assert {transceiver.recv(2048)[dataplane.SPP_HEADER :] for _ in clients} == {RTP}
        for client in clients:
            header = dataplane.SppHeader(client.getsockname(), internal)
            transceiver.sendto(dataplane.pack_spp(header) + RTP, internal)
            assert client.recv(2048) == RTP
        assert new.listeners() == [(vip, internal)]
        assert eventually(lambda: new.counters()["public_out_packets"] == 24)


def test_a_paused_relay_goes_on_where_it_stopped() -> None:
    with run_site() as (relay, transceiver, username), closing(udp("127.0.0.1")) as client:
        relay.pause()
        relay.pause()
        assert relay.gauges()["workers"] == 0
        client.sendto(stun(username=username), relay.listeners()[0][0])
        relay.resume()
        relay.resume()
        assert transceiver.recv(2048)[dataplane.SPP_HEADER :] == stun(username=username)
        assert relay.gauges()["workers"] == 1


def test_what_is_no_socket_is_not_taken_over() -> None:
    relay = dataplane.Relay(dataplane.RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], dataplane.Policy(RING)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        relay.start(inherited=[(0, 9999, 9998)])
    with udp("127.0.0.1") as first, udp("127.0.0.1") as second, pytest.raises(OSError, match="more listeners"):
        relay.start(inherited=[(1, os.dup(first.fileno()), os.dup(second.fileno()))])


def test_every_drop_reason_is_counted_and_explained() -> None:
    with run_site() as (relay, _, _):
        assert set(relay.drops()) == set(dataplane.DROP_REASONS)
        assert all(sentence.endswith(".") for sentence in dataplane.DROP_REASONS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transceivers": ["10.0.0.1/8"]}, "host bits"),
        ({"transceivers": ["10.0.0.0/8"], "peers": ["10.1.0.0/16"]}, "overlaps"),
        ({"cluster": 65536}, "between 0 and 65535"),
        ({"nodes": {1: ("nowhere", 7000)}}, "not an IPv4 or IPv6 address"),
    ],
)
def test_a_wrong_policy_says_what_is_wrong(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataplane.Policy(RING, **arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("listeners", "arguments", "message"),
    [
        ([], {}, "number of listeners is 0"),
        ([(("127.0.0.1", 0), ("0.0.0.0", 0))], {}, "wildcard"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 5)), (("127.0.0.2", 0), ("127.0.0.2", 5))], {}, "5 is given twice"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 0))], {"workers": 0}, "workers is 0"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 0))], {"max_flows": 0}, "max_flows is 0"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 0))], {"idle_timeout_seconds": -1.0}, "idle time-out is -1"),
        ([(("127.0.0.1", 70_000), ("127.0.0.1", 0))], {}, "70000, not between 0 and 65535"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 0))], {"workers": -1}, "workers is -1"),
        ([(("127.0.0.1", 0), ("127.0.0.1", 0))], {"claim_rate": 0}, "claim_rate is 0"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(
    listeners: list[tuple[tuple[str, int], tuple[str, int]]], arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataplane.RelayConfig(listeners, dataplane.Policy(RING), **arguments)  # type: ignore[arg-type]  # wrong on purpose
