"""When the certificate of signaling ends, of a service that speaks TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rtcrelay.metrics.families import Metric, gauge


class CertificateMetrics:
    """``rtcrelay_tls_certificate_expiry_timestamp_seconds``; nothing without TLS."""

    def __init__(self, ends_at: Callable[[], float | None]) -> None:
        """``ends_at`` gives seconds since 1970 for the certificate in use, None without one."""
        self._ends_at = ends_at

    def collect(self) -> Iterator[Metric]:
        """See `pages.MetricsSource`."""
        ends_at = self._ends_at()
        if ends_at is not None:
            help = "When the certificate that signaling uses ends, in seconds since 1970."
            yield gauge("rtcrelay_tls_certificate_expiry_timestamp_seconds", help, ends_at)
