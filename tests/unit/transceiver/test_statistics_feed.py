"""A session's statistics on a data channel."""

from __future__ import annotations

import json

from rtcrelay.transceiver.statistics_feed import INTERVAL_SECONDS, StatisticsFeed


class Client:
    """Channels that take what is sent until they are closed."""

    def __init__(self) -> None:
        self.got: list[tuple[int, str]] = []
        self.closed: set[int] = set()
        self.feed = StatisticsFeed(self.send, lambda now: {"type": "stats", "at": now})

    def send(self, channel: int, message: str) -> bool:
        if channel in self.closed:
            return False
        self.got.append((channel, message))
        return True


def test_nothing_is_due_until_a_channel_has_the_label() -> None:
    client = Client()
    client.feed.handle_open(1, "chat", 10.0)
    assert client.feed.poll_timeout() is None
    client.feed.handle_timeout(20.0)
    assert client.got == []
    assert not client.feed.has(1)


def test_a_channel_gets_one_message_at_once_and_then_one_a_second() -> None:
    client = Client()
    client.feed.handle_open(1, "stats", 10.0)
    assert client.feed.has(1)
    for _ in range(4):
        at = client.feed.poll_timeout()
        assert at is not None
        client.feed.handle_timeout(at - 0.001)
        client.feed.handle_timeout(at)
    assert [json.loads(message) for _, message in client.got] == [{"type": "stats", "at": 10.0 + n} for n in range(4)]


def test_a_process_that_was_stopped_sends_one_message_and_not_many() -> None:
    client = Client()
    client.feed.handle_open(1, "stats", 10.0)
    client.feed.handle_timeout(10.0)
    client.feed.handle_timeout(100.0)
    assert len(client.got) == 2
    assert client.feed.poll_timeout() == 100.0


def test_a_closed_channel_is_forgotten() -> None:
    client = Client()
    client.feed.handle_open(1, "stats", 10.0)
    client.feed.handle_open(3, "stats", 10.0)
    client.feed.handle_timeout(10.0)
    client.closed.add(1)
    client.feed.handle_timeout(10.0 + INTERVAL_SECONDS)
    assert [channel for channel, _ in client.got] == [1, 3, 3]
    client.closed.add(3)
    client.feed.handle_timeout(10.0 + 2 * INTERVAL_SECONDS)
    assert client.feed.poll_timeout() is None
