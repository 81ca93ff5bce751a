"""One reader of the data plane's events, several listeners."""

from __future__ import annotations

import asyncio
from typing import cast

from rtcrelay._dataplane import Event
from rtcrelay.relay.event_feed import EventFeed
from rtcrelay.relay.flow_events import MAX_WAITING, _Reader

from .played import Address, PlayedEvent, PlayedRelay


def client(port: int) -> Address:
    return ("198.51.100.7", port)


async def test_every_listener_hears_every_event_and_only_news_of_losses() -> None:
    relay = PlayedRelay()
    feed, heard = EventFeed(relay), list[tuple[str, int, int]]()
    feed.subscribe(one := lambda events, lost: heard.append(("one", len(events), lost)))
    feed.subscribe(two := lambda events, lost: heard.append(("two", len(events), lost)))
    relay.lost = 5
    relay.tell(PlayedEvent("opened", client(1)))
    await asyncio.sleep(0.01)
    assert heard == [("one", 1, 5), ("two", 1, 5)]
    feed.unsubscribe(two)
    relay.tell(PlayedEvent("opened", client(2)), PlayedEvent("opened", client(3)))
    await asyncio.sleep(0.01)
    assert heard[2:] == [("one", 2, 0)]
    feed.unsubscribe(one)
    assert relay.listening[-1] == (False, False)
    relay.close()


async def test_a_tail_that_ends_does_not_end_the_route_cache() -> None:
    relay = PlayedRelay()
    feed = EventFeed(relay)
    feed.hold_packets(True)
    assert relay.listening == [], "events may wait for the first listener"
    feed.subscribe(cache := lambda events, lost: None)
    feed.subscribe(tail := lambda events, lost: None)
    feed.unsubscribe(tail)
    assert relay.listening[-1] == (True, True)
    feed.unsubscribe(cache)
    assert relay.listening[-1] == (False, False)
    relay.close()


async def test_a_reader_that_is_too_slow_is_told_how_much_it_missed() -> None:
    reader = _Reader("10.0.0.5:3479")
    events = [cast(Event, PlayedEvent("opened", client(port))) for port in range(1, 11)]
    for _ in range(MAX_WAITING // 10 + 1):
        reader.handle_events(events, 0)
    reader.handle_events([], 7)
    lines = (await reader.lines()).splitlines()
    assert len(lines) == MAX_WAITING + 2
    assert b'"kind":"lost"' in lines[0]
    assert b'"where":"relay","events":7' in lines[0]
    assert b'"where":"reader","events":2' in lines[-1]
