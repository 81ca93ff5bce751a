"""How is a session connected to the service that answers it? One WebSocket, with a bounded queue and rules for trouble.

- It is tried five times within 7 s to connect, and again after a connection that broke: at most three times a minute.
- A service that refuses (HTTP 400 to 499) or closes with code 1000 is not asked again.
- It is pinged after 10 s of silence; if nothing comes for 5 s more, or it takes nothing for 10 s, the connection is
  broken.
- What it sends is read no faster than the session can use it, and at most 500 messages a second.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp

log = logging.getLogger("rtcrelay.transceiver")

MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""To be sent to the service. Chosen: a minute of base64 audio."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of one message from the service."""
STALL_SECONDS: Final = 10.0
PING_SECONDS: Final = 10.0
"""Of silence, before the service is asked whether it lives."""
SILENCE_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 5.0
RETRY_SECONDS: Final = (0.25, 1.0, 2.0, 4.0)
"""Before the second try and those after it. Chosen: a process that is started again is there within seconds, and nobody
stays with a silent call for longer."""
MAX_CONNECTIONS: Final = 4
"""Within `_MINUTE`: the first and three more."""
MAX_RUBBISH: Final = 10
"""Messages that cannot be understood, of one connection."""
_MINUTE: Final = 60.0
_MESSAGES_PER_SECOND: Final = 500.0
_BURST: Final = 1000.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Service:
    """Where sessions are connected to."""

    url: str
    """``ws://`` or ``wss://``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with each handshake, perhaps with a token."""
    protocols: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None


class RubbishError(Exception):
    """A message that makes no sense."""


class LineUser(Protocol):
    """What a line tells its session."""

    def on_line(self, state: str, detail: str) -> None:
        """``connected``; ``broken``: it is tried again; ``lost``: it is not; ``ended``: the service is done."""

    def on_line_message(self, message: str | bytes) -> None:
        """A message of the service. Raises RubbishError if it makes no sense."""

    def has_room(self) -> bool:
        """Whether the next message can be taken; asked before each."""


class _Nobody:
    def on_line(self, state: str, detail: str) -> None:
        pass

    def on_line_message(self, message: str | bytes) -> None:
        pass

    def has_room(self) -> bool:
        return True


class Line:
    """One session's connection."""

    def __init__(self, service: Service, user: LineUser, name: str) -> None:
        """Connects at once. ``name`` is for the log. Needs a running loop."""
        self.dropped = 0
        """Messages that were not sent, because there was no connection or too much was waiting."""
        self._service, self._name = service, name
        self._user: LineUser = user
        self._waiting: deque[str | bytes] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._is_asked = False
        """Whether a ping is under way. Not told from times: uvloop's clock stands still for a millisecond, and a
        service on this machine answers sooner."""
        self._is_paused = False
        """Whether we do not read: what the service says then is not heard."""
        self._is_open = self._is_over = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"backend of {name}")

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._is_open

    def send(self, message: str | bytes) -> bool:
        """Sends a message soon. False if it is dropped."""
        if not self._is_open or self._waiting_bytes + len(message) > MAX_WAITING_BYTES:
            self.dropped += 1
            return False
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        self._wake.set()
        return True

    def close(self) -> None:
        """Ends the connection; nothing is told any more."""
        self._is_over, self._is_open = True, False
        self._user = _Nobody()  # no cycle: what a session had is free at once, not at the next full collection
        self._wake.set()
        if self._task is not asyncio.current_task():
            self._task.cancel()

    # -- inside

    async def _run(self) -> None:
        # A task that ends by an exception keeps its frames, and they it, until the next full garbage collection.
        with suppress(asyncio.CancelledError):
            await self._stay_connected()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        began: deque[float] = deque(maxlen=MAX_CONNECTIONS)
        failures = 0
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            while not self._is_over:
                if len(began) == MAX_CONNECTIONS and loop.time() - began[0] < _MINUTE:
                    return self._tell("lost", f"{MAX_CONNECTIONS} connections within a minute broke")
                try:
                    socket = await self._connect(http)
                except aiohttp.WSServerHandshakeError as error:
                    if 400 <= error.status < 500:
                        return self._tell("lost", f"the service refused with HTTP {error.status}")
                    detail = f"HTTP {error.status}"
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    detail = str(error) or type(error).__name__
                else:
                    began.append(loop.time())
                    failures = 0
                    over, detail = await self._use(socket)
                    if over or self._is_over:
                        return self._tell("ended", detail)
                    self._tell("broken", detail)
                    continue
                if failures == len(RETRY_SECONDS):
                    return self._tell("lost", f"the service cannot be reached: {detail}")
                await asyncio.sleep(RETRY_SECONDS[failures])
                failures += 1
        return None

    async def _connect(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await http.ws_connect(
                self._service.url,
                headers=self._service.headers,
                protocols=self._service.protocols,
                ssl=self._service.tls or True,
                autoping=False,  # a socket that is not read for lack of room would count as silent
                max_msg_size=MAX_MESSAGE_BYTES,
                compress=0,
            )

    async def _use(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[bool, str]:
        """Returns whether the service is done, and how the connection ended."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._is_open = True
        self._heard_at, self._is_asked = asyncio.get_running_loop().time(), False
        self._tell("connected", "")
        reader = asyncio.create_task(_until_cancelled(self._read(socket)))
        writer = asyncio.create_task(_until_cancelled(self._write(socket)))
        try:
            done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        except (aiohttp.ClientError, OSError) as error:
            return False, str(error) or type(error).__name__
        finally:
            self._is_open = False
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            await asyncio.wait((asyncio.ensure_future(socket.close()),), timeout=1.0)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[bool, str]:
        loop = asyncio.get_running_loop()
        tokens, at, rubbish = _BURST, loop.time(), 0
        while True:
            now = loop.time()
            tokens, at = min(_BURST, tokens + (now - at) * _MESSAGES_PER_SECOND), now
            self._is_paused = tokens < 1 or not self._user.has_room()
            if self._is_paused:
                await asyncio.sleep(_POLL_SECONDS)
                self._heard_at, self._is_asked = loop.time(), False
                continue
            tokens -= 1
            message = await socket.receive()
            self._heard_at, self._is_asked = loop.time(), False
            if message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
                continue
            if message.type is aiohttp.WSMsgType.PONG:
                continue
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                code = socket.close_code
                return code == aiohttp.WSCloseCode.OK, f"closed with code {code}"
            try:
                self._user.on_line_message(message.data)
            except RubbishError as error:
                rubbish += 1
                log.warning("session %s: the service sent what makes no sense: %s", self._name, error)
                if rubbish >= MAX_RUBBISH:
                    return False, f"{rubbish} messages made no sense"

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[bool, str]:
        clock = asyncio.get_running_loop().time
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                self._waiting_bytes -= len(message)
                try:
                    async with asyncio.timeout(STALL_SECONDS):
                        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
                except TimeoutError:
                    return False, f"the service took nothing for {STALL_SECONDS:g} s"
            self._wake.clear()
            silent = clock() - self._heard_at
            if silent >= SILENCE_SECONDS:
                return False, f"the service said nothing for {silent:.0f} s"
            if silent >= PING_SECONDS and not self._is_asked:
                self._is_asked = True
                await socket.ping()
            try:
                async with asyncio.timeout((SILENCE_SECONDS if self._is_asked else PING_SECONDS) - silent + 0.01):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _tell(self, state: str, detail: str) -> None:
        if self._is_over:
            return
        log.log(
            logging.INFO if state in ("connected", "ended") else logging.WARNING,
            "session %s: backend %s%s", self._name, state, detail and f" ({detail})",
        )  # fmt: skip
        self._user.on_line(state, detail)


async def _until_cancelled(work: Coroutine[Any, Any, tuple[bool, str]]) -> tuple[bool, str]:
    try:
        return await work
    except asyncio.CancelledError:
        return False, "closed"
