"""``docs/logs.md``: every event that services log, made of `rtcrelay.log_events`."""

from __future__ import annotations

from rtcrelay.log_events import EVENTS

_HEAD = """\
# Logs

Services log to stderr, one event a line: text on a terminal, one JSON object a line elsewhere (`--log-format`). What
happens again and again is said at most once a minute, with a count. `-q` leaves only warnings, `-v` says more.

```text
{"time": "2026-11-24T00:02:52.479Z", "level": "warning", "logger": "rtcrelay.signaling",
 "message": "ingress fra does not answer and is told to nobody", "event": "ingress_down", "ingress": "fra"}
```

- Every line has `time` (RFC 3339, UTC), `level` (`debug`, `info`, `warning`, `error`), `logger` and `message`. A
  traceback is the string `exception` of its line. Lines of libraries have no `event`.
- Programs go by `event` and the keys below; the words of `message` may change. Keys may be added.
- No line names a client's address unless `--log-addresses` or `-v` asks for it. Addresses of services are named.
- No line has a secret: no key, token, ICE password or password of Redis. A ufrag is none: it opens nothing.
- Why a service did not start is text on stderr in either format: `rtcrelay: error: …`, and its exit status.

Made by `python -m rtcrelay.cli.docs`.

| event | keys | message |
|---|---|---|
"""


def logs_page() -> str:
    """The whole page."""
    rows = []
    for words, event in EVENTS.items():
        keys = [f"`{key}`" for key in event.keys] + ([event.more] if event.more else [])
        shown = words
        for key in event.keys:
            shown = shown.replace("%s", f"‹{key}›", 1) if _next(shown) == "%s" else shown.replace("%d", f"‹{key}›", 1)
        rows.append(f"| `{event.name}` | {', '.join(keys)} | {shown} |")
    return _HEAD + "\n".join(rows) + "\n"


def _next(words: str) -> str:
    """The first placeholder."""
    return words[words.index("%") :][:2]
