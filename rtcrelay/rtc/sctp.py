"""How do messages travel beside the media? Data channels (RFC 8831, 8832) over our DTLS.

The association is aiortc's, whose coroutines never wait for anything but `_Pipe._send_data`, so they are run
to their end here and now. Messages need no task; aiortc makes short ones of its own when it opens a channel, is
established, resets a stream, or a timer of it expires. Its timers need a running asyncio loop. Laws: whatever a
peer does, a packet costs a bounded time, the answer is a bounded number of packets that fit the path, and what is
kept is bounded; who goes beyond that loses the association. `_PRIVATE` names aiortc's members that are used.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Protocol, TypeAlias

from aiortc import RTCDataChannel
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    Chunk,
    DataChunk,
    HeartbeatChunk,
    InboundStream,
    RTCSctpCapabilities,
    RTCSctpTransport,
)

from rtcrelay.errors import StateError
from rtcrelay.rtc import sctp_guard
from rtcrelay.rtc.offer_answer import SCTP_PORT, DataOffer

Message: TypeAlias = str | bytes

MAX_STREAMS: Final = 32
"""Inbound streams, and channels that are open or closing, per session. Chosen: an application uses one to three."""
MAX_BUFFERED_BYTES: Final = 1_048_576
"""What may wait for the peer's acknowledgement in one session, overhead included; more is refused."""
MESSAGE_OVERHEAD_BYTES: Final = 256
"""What a message counts beyond its payload while it waits: about what Python keeps for it."""
_CHUNK_BYTES: Final = 1200
"""What a chunk counts once it is in flight, however short: each SACK walks over all of them."""
HEARTBEAT_SECONDS: Final = 10.0
"""Between our heartbeats (RFC 9260 section 8.3 has 30 s, which is as long as a silent session lives here)."""
_RECEIVE_WINDOW_BYTES: Final = 262_144
_MAX_FRAGMENTS: Final = 256
"""DATA chunks that wait for the rest of their message or for their turn: a receive window of full ones."""
_MAX_TSN_AHEAD: Final = 256
"""How far a DATA chunk may be ahead of the last one in order; at most half of that are gaps of a SACK."""
_MAX_MISORDERED: Final = 200
"""TSNs beyond a gap. aiortc sorts them at each DATA chunk (measured with 1000 of them: 0.12 ms per chunk)."""
_MAX_STREAM_NUMBERS: Final = 1024
"""Streams whose outgoing numbers are kept. A reset frees one, unless the peer refuses the reset."""
_INITIAL_RTO_SECONDS: Final = 0.5
"""aiortc starts with 3 s, which a lost INIT costs in full."""


class DataTransport(Protocol):
    """What carries the packets: a `Dtls`."""

    role: Literal["client", "server"]

    def send(self, data: bytes) -> bool:
        """Queues one packet. False if the connection is gone."""


class DataChannels:
    """One SCTP association and its data channels.

    ``on_transmit`` is called whenever the transport has something to send: drain it then. ``on_message`` gets
    each message with its channel's label and id. ``on_closed`` is called once, when the peer ends the
    association or breaks the protocol; not after `close`.
    """

    def __init__(
        self,
        transport: DataTransport,
        peer: DataOffer,
        *,
        on_transmit: Callable[[], None],
        on_message: Callable[[int, str, Message], None],
        on_open: Callable[[int, str], None] = lambda channel, label: None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipe = _Pipe(transport, on_transmit)
        self._association = _Association(self._pipe, SCTP_PORT)
        self._association.on("datachannel", self._on_channel)
        self._peer = peer
        self._on_message, self._on_open, self._on_closed = on_message, on_open, on_closed
        self._channels: dict[int, RTCDataChannel] = {}
        self._was_established = self._is_over = False
        self._heartbeat_at: float | None = None
        self.refused = 0
        """Packets that broke the protocol, and messages that found the buffer full."""

    @property
    def is_established(self) -> bool:
        """True while the association is up."""
        return self._association._association_state is RTCSctpTransport.State.ESTABLISHED

    def handle_start(self, now: float) -> None:
        """Starts the association; call it once, when DTLS is connected. Both ends do (RFC 8841 section 9.3)."""
        self._heartbeat_at = now + HEARTBEAT_SECONDS
        capabilities = RTCSctpCapabilities(maxMessageSize=self._peer.max_message_bytes)
        self._run(self._association.start(capabilities, self._peer.sctp_port))

    def handle_data(self, packet: bytes) -> None:
        """Takes one SCTP packet, decrypted."""
        if self._is_over:
            return
        if not sctp_guard.is_acceptable(packet):
            self.refused += 1
            return
        self._run(self._association._handle_data(packet))
        self._notice_end()

    def handle_timeout(self, now: float) -> None:
        """Sends a heartbeat if it is time: some stacks check nothing while a data channel is all there is."""
        if self._heartbeat_at is not None and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_SECONDS
            if self.is_established:
                heartbeat = HeartbeatChunk()
                heartbeat.params = [(1, b"rtcrelay")]
                self._run(self._association._send_chunk(heartbeat))

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None before the start and after the end."""
        return None if self._is_over else self._heartbeat_at

    def open_channel(self, label: str, *, ordered: bool = True) -> None:
        """Opens a channel; ``on_open`` says when the peer has it and which id it got."""
        channel = RTCDataChannel(self._association, RTCDataChannelParameters(label=label, ordered=ordered))
        channel.on("open", lambda: self._on_opened(channel))
        self._listen(channel)

    def send(self, channel_id: int, message: Message) -> bool:
        """Sends on an open channel. False if it is not open, its buffer is full or the message too long."""
        channel = self._channels.get(channel_id)
        if channel is None or channel.readyState != "open":
            return False
        if not self._association.enqueue(channel, message):
            self.refused += 1
            return False
        self._run(self._association._data_channel_flush())
        return True

    def open_channels(self) -> list[int]:
        """The ids of the channels that are open."""
        return [number for number, channel in self._channels.items() if channel.readyState == "open"]

    def labels(self) -> list[str]:
        """The labels of those, as their opener wrote them."""
        return [self._channels[number].label for number in self.open_channels()]

    def close(self) -> None:
        """Ends the association at once: the peer's channels close when the ABORT arrives."""
        self._is_over = True
        self._run(self._association.stop())
        self._channels.clear()

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._listen(channel)
        self._on_opened(channel)

    def _listen(self, channel: RTCDataChannel) -> None:
        channel.on("message", lambda message: self._on_message(channel.id or 0, channel.label, message))
        channel.on("close", lambda: self._channels.pop(channel.id or 0, None))

    def _on_opened(self, channel: RTCDataChannel) -> None:
        number = channel.id or 0
        self._channels[number] = channel
        self._on_open(number, channel.label)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            coroutine.send(None)
        except StopIteration:
            return
        except Exception:  # aiortc asserts and decodes what a peer sent; whatever it is, the peer broke the rules
            self.refused += 1
            self._association.abandon()
            return
        coroutine.close()
        raise StateError("aiortc's SCTP waited for something; it is expected not to")

    def _notice_end(self) -> None:
        state = self._association._association_state
        if state is RTCSctpTransport.State.ESTABLISHED:
            self._was_established = True
        elif not self._is_over and (self._association.is_abandoned or (self._was_established and state in _ENDING)):
            self._is_over = True
            self._on_closed()


_ENDING: Final = (
    RTCSctpTransport.State.CLOSED,
    RTCSctpTransport.State.SHUTDOWN_RECEIVED,
    RTCSctpTransport.State.SHUTDOWN_ACK_SENT,
)


class _Pipe:
    """What `RTCSctpTransport` sees of the DTLS transport below it."""

    def __init__(self, transport: DataTransport, on_transmit: Callable[[], None]) -> None:
        self._transport = transport
        self._on_transmit = on_transmit
        self._role = transport.role
        """Decides who uses even channel ids (RFC 8832 section 6)."""
        self.state = "connected"

    async def _send_data(self, data: bytes) -> None:
        if self._transport.send(data):
            self._on_transmit()

    def _register_data_receiver(self, receiver: object) -> None:
        """The owner passes the data itself."""

    def _unregister_data_receiver(self, receiver: object) -> None:
        """As above."""


class _Association(RTCSctpTransport):
    """aiortc's association with bounds on what a peer can make it keep and do."""

    def __init__(self, pipe: _Pipe, port: int) -> None:
        super().__init__(pipe, port)  # type: ignore[arg-type]  # duck-typed: see _Pipe
        self._advertised_rwnd = _RECEIVE_WINDOW_BYTES
        self._rto = _INITIAL_RTO_SECONDS
        self.is_abandoned = self._is_over = False

    def abandon(self) -> None:
        """Ends the association without a word; its state can no longer be trusted."""
        self.is_abandoned = True
        self._set_state(self.State.CLOSED)

    @property
    def waiting_bytes(self) -> int:
        """What waits for the peer, with what it costs to keep; at most one message is between the two queues."""
        messages = sum(channel.bufferedAmount for channel in self._data_channels.values())
        chunks = len(self._outbound_queue) + len(self._sent_queue)
        return messages + MESSAGE_OVERHEAD_BYTES * len(self._data_channel_queue) + _CHUNK_BYTES * chunks

    def enqueue(self, channel: RTCDataChannel, message: Message) -> bool:
        """As `RTCDataChannel.send` without its task. False if the message is too long or too much waits."""
        text = isinstance(message, str)
        data = message.encode() if isinstance(message, str) else message
        if 0 < self._remote_max_message_size < len(data):
            return False
        if self.waiting_bytes + len(data) + MESSAGE_OVERHEAD_BYTES > MAX_BUFFERED_BYTES:
            return False
        if data:
            protocol = WEBRTC_STRING if text else WEBRTC_BINARY
        else:
            protocol, data = WEBRTC_STRING_EMPTY if text else WEBRTC_BINARY_EMPTY, b"\0"
        channel._addBufferedAmount(len(data))
        self._data_channel_queue.append((channel, protocol, data))
        return True

    # -- the end is final: a task of an expired timer would arm it again, and so keep the whole session

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        if self._is_over:
            return
        self._is_over = state is self.State.CLOSED
        super()._set_state(state)

    def _t3_start(self) -> None:
        if not self._is_over:
            super()._t3_start()

    def _t3_restart(self) -> None:
        if not self._is_over:
            super()._t3_restart()

    async def _transmit(self) -> None:
        if not self._is_over:
            await super()._transmit()

    # -- what the peer sends

    async def _receive_chunk(self, chunk: Chunk) -> None:
        if not self._is_over:
            await super()._receive_chunk(chunk)

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        if stream_id not in self._inbound_streams and len(self._inbound_streams) >= MAX_STREAMS:
            raise ValueError("too many streams")
        return super()._get_inbound_stream(stream_id)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        if self._last_received_tsn is None:
            return  # before the association is there
        self._get_inbound_stream(chunk.stream_id)
        if sum(len(stream.reassembly) for stream in self._inbound_streams.values()) >= _MAX_FRAGMENTS:
            raise ValueError("too many fragments")
        ahead = (chunk.tsn - self._last_received_tsn) % 2**32
        if _MAX_TSN_AHEAD < ahead < 2**31 or len(chunk.user_data) > self._advertised_rwnd:
            return  # dropped unacknowledged: it comes again
        if 1 < ahead < 2**31 and len(self._sack_misordered) >= _MAX_MISORDERED:
            return
        await super()._receive_data_chunk(chunk)

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        if stream_id not in self._data_channels and pp_id == _DCEP and len(self._data_channels) >= MAX_STREAMS:
            raise ValueError("too many channels")
        if len(self._outbound_stream_seq) >= _MAX_STREAM_NUMBERS:
            raise ValueError("too many streams that were never reset")
        await super()._data_channel_receive(stream_id, pp_id, data)


_DCEP: Final = 50
"""The payload protocol of DATA_CHANNEL_OPEN and ACK (RFC 8832 section 8.1)."""
_PRIVATE: Final = (
    "_addBufferedAmount",
    "_advertised_rwnd",
    "_association_state",
    "_data_channel_flush",
    "_data_channel_queue",
    "_data_channel_receive",
    "_data_channels",
    "_get_inbound_stream",
    "_handle_data",
    "_inbound_streams",
    "_last_received_tsn",
    "_outbound_queue",
    "_outbound_stream_seq",
    "_receive_chunk",
    "_receive_data_chunk",
    "_remote_max_message_size",
    "_rto",
    "_sack_misordered",
    "_send_chunk",
    "_sent_queue",
    "_set_state",
    "_t3_restart",
    "_t3_start",
    "_transmit",
)
"""Of `RTCSctpTransport`, and the first of `RTCDataChannel`; a test checks them."""
