"""``rtcrelay probe``: ask relays and servers, and see what they answer. A command each in its own file."""

from __future__ import annotations

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import leaf
from rtcrelay.cli.probe_ingress import EXAMPLES as INGRESS_EXAMPLES
from rtcrelay.cli.probe_ingress import ingress
from rtcrelay.cli.probe_replay import EXAMPLES as REPLAY_EXAMPLES
from rtcrelay.cli.probe_replay import replay
from rtcrelay.cli.probe_route import EXAMPLES as ROUTE_EXAMPLES
from rtcrelay.cli.probe_route import route
from rtcrelay.cli.probe_session import EXAMPLES as SESSION_EXAMPLES
from rtcrelay.cli.probe_session import session
from rtcrelay.cli.probe_stun import EXAMPLES as STUN_EXAMPLES
from rtcrelay.cli.probe_stun import stun

app = new_group()
leaf(app, "stun", printing=True, examples=STUN_EXAMPLES)(stun)
leaf(app, "route", printing=True, examples=ROUTE_EXAMPLES)(route)
leaf(app, "ingress", listing=True, examples=INGRESS_EXAMPLES)(ingress)
leaf(app, "session", printing=True, examples=SESSION_EXAMPLES)(session)
leaf(app, "replay", printing=True, examples=REPLAY_EXAMPLES)(replay)
