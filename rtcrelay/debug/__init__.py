"""What operators look at packets with: captures, STUN and SPP readers, SDP inspection, the relay's verdicts explained.

Nothing here touches a terminal or a socket: bytes go in, values come out, `rtcrelay.cli` shows them.
"""
