"""What is left of a session that is over: nothing, at once, however it ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.counters import End

from .network import Caller, ChannelCaller, Network


def end_by_delete(network: Network, caller: Caller) -> None:
    caller.session.close(End.DELETED, network.now)


def end_by_silence(network: Network, caller: Caller) -> None:
    network.pass_time(31.0)


def end_by_dtls(network: Network, caller: Caller) -> None:
    caller.dtls.close()


def end_by_sctp(network: Network, caller: Caller) -> None:
    assert isinstance(caller, ChannelCaller)
    assert caller.channels is not None
    caller.channels.close()


@pytest.mark.parametrize("end", [end_by_delete, end_by_silence, end_by_dtls, end_by_sctp])
@pytest.mark.parametrize("backend", ["echo", "tone"])
async def test_a_session_that_is_over_leaves_nothing_behind_for_the_garbage_collector(
    network: Network, backend: str, end: Callable[[Network, Caller], None]
) -> None:
    """It holds memory of OpenSSL's, which Python does not count: the collector would come late."""
    network.transceiver.make_backend = find_backend(backend)
    gc.collect()
    gc.disable()
    try:
        references: list[weakref.ref[object]] = []
        for make in (ChannelCaller,) if end is end_by_sctp else (Caller, ChannelCaller):
            call = make(network)
            call.connect()
            if isinstance(call, ChannelCaller):
                await call.open_channel("stats")
            call.speak()
            network.pass_time(1.5)
            call.pump()
            end(network, call)
            call.pump()
            session = call.session
            assert session.end is not None
            kept = (session, session.dtls, session.link, session.media, session.messages, session.conversation)
            references += [weakref.ref(each) for each in kept]
            if isinstance(call, ChannelCaller) and call.channels is not None:
                call.channels.close()
                call.channels = None  # its callbacks know the caller, and so the session
            del call, session, kept
        network.take()
        await asyncio.sleep(0)  # aiortc's tasks end
        assert [reference() for reference in references] == [None] * len(references)
    finally:
        gc.enable()
