"""What a value shows of itself, in a log or a traceback, holds no secret."""

from __future__ import annotations

from rtcrelay.client.demo.site import SiteOptions
from rtcrelay.client.whip import Answer
from rtcrelay.rtc.offer_answer import read_answer, read_offer
from rtcrelay.rtc.sdp import read_description
from rtcrelay.rtc.trickle import read_fragment

from .network import CALLER, Caller, Network


def test_no_value_shows_a_password_or_a_sessions_secret(network: Network) -> None:
    caller = Caller(network)
    accepted = caller.accepted
    placed = network.transceiver.find(accepted.resource)
    assert placed is not None
    offer = caller.offer(CALLER.fingerprint)
    fragment = f"a=ice-ufrag:{caller.ice.ufrag}\r\na=ice-pwd:{caller.ice.password}\r\n"
    secrets = (caller.ice.password, caller.answer.ice.password, placed.secret, "a-demo-secret---")
    values: tuple[object, ...] = (
        accepted,
        placed,
        caller.ice,
        read_description(offer),
        read_description(accepted.answer),
        read_offer(offer),
        read_answer(accepted.answer),
        read_fragment(fragment),
        Answer(accepted.answer, f"http://127.0.0.1/whip/{accepted.resource}", None),
        SiteOptions(relay_secret=b"a-demo-secret---", transceiver_secret=b"a-demo-secret---"),
    )
    for value in values:
        assert not [secret for secret in secrets if secret in repr(value)], type(value).__name__
