"""What does a session need of its process? The interface between the two, without either's inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rtcrelay.rtc.dtls import DtlsIdentity
from rtcrelay.transceiver.backends import BackendFactory
from rtcrelay.transceiver.counters import Counters
from rtcrelay.transceiver.frame_clock import FrameClock
from rtcrelay.transceiver.link import Sender
from rtcrelay.transceiver.paths import PathKey

if TYPE_CHECKING:
    from rtcrelay.transceiver.session import Session


class Host(Sender, Protocol):
    """The owner of a session: a transceiver."""

    @property
    def counters(self) -> Counters:
        """The process's counters."""

    @property
    def identity(self) -> DtlsIdentity:
        """The process's certificate."""

    @property
    def make_backend(self) -> BackendFactory:
        """Makes the other end of each session."""

    @property
    def frame_clock(self) -> FrameClock:
        """When the next 20 ms of sound are due, for all sessions."""

    @property
    def max_session_seconds(self) -> float:
        """A session ends after this time."""

    @property
    def max_idle_seconds(self) -> float:
        """A session ends after this time without voice and messages; 0: it does not."""

    @property
    def max_bit_rate(self) -> int:
        """Bits per second of voice that are taken from a client; 0: any."""

    def now(self) -> float:
        """Seconds on the clock that every ``now`` here is on."""

    def rearm(self, session: Session) -> None:
        """Looks at the session's `poll_timeout` again: it may be sooner than before."""

    def forget_path(self, session: Session, key: PathKey) -> None:
        """The session has this path no longer."""

    def forget_ufrag(self, session: Session, ufrag: str) -> None:
        """The session answers to this ufrag no longer."""

    def forget(self, session: Session) -> None:
        """The session is over."""
