"""`rtcrelay demo`: a real relay, two real transceivers, two calls, one crash, each step proved."""
