"""The script that recorded the call of Chromium still does: a new recording is what the committed one is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from vectors.captures.make_chromium_call import CLUSTER, FRAMES, record

from rtcrelay._dataplane import KeyRing, Policy, RelayConfig
from rtcrelay.client.demo.processes import free_ports
from rtcrelay.debug.captures import CaptureTally, open_input, read_packets
from rtcrelay.debug.explanation import Explainer, Sides
from rtcrelay.debug.replay_source import Selection
from rtcrelay.keys import DEMO_SECRET

from .browser import requires_chromium

pytestmark = [*requires_chromium, pytest.mark.requires(command="tcpdump", install="apt-get install tcpdump")]


async def test_a_new_recording_holds_both_legs_of_a_call(tmp_path: Path) -> None:
    public, internal, media, http = free_ports(4)
    capture = tmp_path / "new.pcap"
    passwords = await record(capture, (public, internal, media, http))
    assert [len(line.split()) for line in passwords.splitlines()] == [2, 2]
    listeners = [(("127.0.0.1", public), ("127.0.0.1", internal))]
    policy = Policy(KeyRing([(0, DEMO_SECRET, "active")]), cluster=CLUSTER, transceivers=[f"127.0.0.1/32:{media}"])
    explainer = Explainer(RelayConfig(listeners, policy), Sides(listeners))
    with open_input(str(capture)) as stream:
        judged = list(explainer.explain(read_packets(stream, CaptureTally())))
    assert explainer.tally.dropped == 0
    assert len(judged) + explainer.tally.sent_by_relay == FRAMES
    classes = Counter((one.side, one.payload_class) for one in judged)
    assert {(side, name) for side in ("public", "internal") for name in ("stun", "dtls", "rtp")} <= set(classes)
    with open_input(str(capture)) as stream:
        replayed = list(Selection(server_port=public).select(read_packets(stream, CaptureTally())))
    assert len(replayed) == sum(count for (side, _), count in classes.items() if side == "public")
