"""Does a route work, hop by hop? A relay is asked for itself, then through it a transceiver, of which nothing stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtcrelay.config.text import format_address
from rtcrelay.debug.pinging import Pinger, PingPlan, PingTally, Reply
from rtcrelay.debug.probing import Watch, run_pings
from rtcrelay.debug.stun_probe import Probe

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.debug.probe_socket import Endpoint


@dataclass(slots=True)
class Hop:
    """One of the two that should answer."""

    name: Literal["relay", "transceiver"]
    where: str
    """Its address, or ``node N``."""
    tally: PingTally
    mapped: Address | None = None
    """How it sees us."""
    trouble: str | None = None
    """What ICMP said, or why its last answer was refused."""

    @property
    def answers(self) -> bool:
        """Whether a good answer came."""
        return self.tally.received > 0

    def row(self) -> dict[str, Any]:
        """The hop as JSON has it."""
        tally, known = self.tally, self.answers
        return {
            "hop": self.name,
            "where": self.where,
            "answers": self.answers,
            "sent": tally.sent,
            "received": tally.received,
            "refused": tally.refused,
            "rtt_min_ms": round(1000 * tally.min_seconds, 3) if known else None,
            "rtt_avg_ms": round(1000 * tally.avg_seconds, 3) if known else None,
            "rtt_max_ms": round(1000 * tally.max_seconds, 3) if known else None,
            "mapped": None if self.mapped is None else format_address(self.mapped),
            "trouble": self.trouble,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the two hops amount to."""

    works: bool
    sentence: str
    hints: tuple[str, ...] = ()


def probe_hop(hop: Hop, plan: PingPlan, target: Address, endpoint: Endpoint) -> bool:
    """Asks a hop until the plan is over. False if Ctrl-C ended it."""

    def on_reply(reply: Reply) -> None:
        if reply.is_good and reply.answer is not None:
            hop.mapped = reply.answer.mapped
        elif reply.answer is not None and reply.answer.refused is not None:
            hop.trouble = reply.answer.refused

    def on_trouble(words: str) -> None:
        hop.trouble = words

    pinger = Pinger(plan, target, tally=hop.tally)
    return run_pings(pinger, endpoint, Watch(on_reply, on_trouble))


def plain(probe: Probe) -> Probe:
    """The request that the relay answers itself: without any name."""
    return Probe(tie_breaker=probe.tie_breaker)


def judge(relay: Hop, transceiver: Hop, key_id: int) -> Verdict:
    """What the operator should think, and where to look next."""
    if transceiver.answers and relay.answers:
        return Verdict(True, f"the route works: the relay passes it on, and the transceiver has key {key_id}")
    if transceiver.answers:
        return Verdict(
            True,
            "the route works, but the relay does not answer for itself",
            ("it drains, or it answers others: at most 10 plain requests a second for each network",),
        )
    if relay.answers:
        return Verdict(
            False,
            f"the relay answers, and no transceiver at {transceiver.where} behind it does",
            (
                f"the relay: does it have key {key_id}, this cluster, and {transceiver.where} among its --transceivers"
                " or nodes? 'rtcrelay flows stats' counts what it drops, and why",
                "the transceiver: does it run there, with this key, cluster, and the relay among its --relays?"
                " 'rtcrelay status' says so",
            ),
        )
    trouble = f" ({relay.trouble})" if relay.trouble else ""
    return Verdict(
        False,
        f"no relay answers at {relay.where}{trouble}",
        (
            "is it running and not draining? does a firewall let UDP to this port pass, both ways?",
            "'rtcrelay probe stun' with -w FILE keeps what is sent and what comes",
        ),
    )


def inner_seconds(relay: Hop, transceiver: Hop) -> float | None:
    """About how long from the relay to the transceiver and back: the difference of the best; None if unknown."""
    if not (relay.answers and transceiver.answers):
        return None
    return max(0.0, transceiver.tally.min_seconds - relay.tally.min_seconds)
