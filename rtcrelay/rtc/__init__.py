"""WebRTC wire code that both ends share: bytes and ``now`` in, bytes and deadlines out; no sockets.

- `stun`: `write_binding_request`, `write_binding_success`, `verified_attributes` (MESSAGE-INTEGRITY),
  `fingerprint_is_wrong`, `split_username`, `mapped_address`; the reader is `rtcrelay._dataplane.read_stun`.
- `certificate`: `Certificate.generate()`, `Fingerprint`; `dtls`: `DtlsIdentity` (one per process) and `Dtls`,
  either role: `handle_start`, `handle_datagram`, `handle_timeout`, then drain `poll_transmit` and `poll_data`
  and arm a timer at `poll_timeout`. ``state`` is `KEYED` or `CONNECTED` once ``srtp`` is there.
- `srtp`: `Srtp.protect`, `unprotect`, `protect_rtcp`, `unprotect_rtcp`: None instead of an exception.
- `rtp`: `RtpPacket`, `read_rtp`, `write_rtp`, `is_rtcp`, `opus_duration`, `SequenceExtender`.
- `rtcp`: `read_rtcp`, `write_report`, `write_goodbye`; `reception`: loss and jitter of one source; `reports`:
  `Reporter`, one end's RTCP: note packets with `handle_packet` and `handle_sent`, pass decrypted RTCP to
  `handle_rtcp`, send what `poll_report` gives at `poll_timeout`; then ``lost``, ``current.jitter``, ``remote`` and
  ``round_trip`` are known.
- `sdp`: any text to a `Description` or `SdpError`; `offer_answer`: `read_offer` and `write_answer` for the
  server, `write_offer` and `read_answer` for the client.
- `sctp`: `DataChannels` over a connected `Dtls`; needs a running asyncio loop. The only importer of aiortc, behind
  `sctp_guard`, which reads every packet first.
- `ogg`: `read_opus_packets` of a file.

Importing this package imports none of them.
"""
