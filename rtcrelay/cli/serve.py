"""``rtcrelay serve``: run a relay, a transceiver, signaling in front of many, or a parrot behind one."""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from typing import Annotated

import typer

from rtcrelay import config
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Common, Flags, leaf
from rtcrelay.config.options import PARROT, RELAY, SIGNALING, TRANSCEIVER
from rtcrelay.daemon import follow_parent, in_background, log_stray_failures, set_up_logging
from rtcrelay.errors import ExitStatus, UsageError

app = new_group()

_CHECK = typer.Option("--check", help="Check settings and keys, print one line, and exit with 0 or 78.")
_TAKEOVER = typer.Option(
    "--takeover",
    help="Take over from the relay that runs at the same admin socket, with the same --listen and --internal, without"
    " losing a packet; it ends then. If that fails, it goes on. systemd needs NotifyAccess=all.",
)
_DETACH = typer.Option(
    "--detach",
    help="With --takeover: return when the new relay, which goes on by itself, is ready or has failed, as systemd's"
    " ExecReload wants it.",
)
_PRINT = typer.Option("--print-config", help="Print the settings in effect as TOML, without secrets, and exit.")


@leaf(
    app,
    "relay",
    settings=RELAY,
    examples="""
    rtcrelay serve relay --key-file keys.toml
    rtcrelay serve relay -l 203.0.113.10:3478 --internal 10.0.0.5:3479 --transceivers 10.0.3.0/24:7000 -w 4
    rtcrelay serve relay --config relay.toml --check
    rtcrelay serve relay --config relay.toml --takeover""",
)
def relay(
    common: Common,
    flags: Flags,
    check: Annotated[bool, _CHECK] = False,
    print_config: Annotated[bool, _PRINT] = False,
    takeover: Annotated[bool, _TAKEOVER] = False,
    detach: Annotated[bool, _DETACH] = False,
) -> ExitStatus:
    """Run a relay: one public UDP address in front of any number of transceivers.

    The defaults make a relay for transceivers on this machine. SIGHUP reads keys, networks and nodes again; SIGTERM
    ends with 0, and a second one at once. A relay that loses a packet thread ends with 70, to be restarted.
    """
    if detach and not takeover:
        raise UsageError("--detach needs --takeover", hint="a service manager starts services that stay in front")
    serve = partial(_serve, "relay", common, flags, check=check, print_config=print_config, takeover=takeover)
    if detach and not (check or print_config):
        return in_background(lambda on_ready: serve(on_ready=on_ready))
    return serve()


@leaf(
    app,
    "transceiver",
    settings=TRANSCEIVER,
    examples="""
    rtcrelay serve transceiver --key-file keys.toml
    rtcrelay serve transceiver --http 10.0.3.7:8080 --auth-token-file token --media 10.0.3.7:7000 \\
        --ingress 203.0.113.10:3478 --relays 10.0.0.0/24 --key-file keys.toml""",
)
def transceiver(
    common: Common,
    flags: Flags,
    check: Annotated[bool, _CHECK] = False,
    print_config: Annotated[bool, _PRINT] = False,
) -> ExitStatus:
    """Run a transceiver: it answers calls, and has all their media on one UDP socket.

    The defaults make a transceiver behind a relay on this machine. SIGHUP reads keys, networks, token and certificate
    again. SIGTERM drains: no new calls, and the sessions go on until they end or --drain-timeout is over; a second
    one ends them now. Every session is told.
    """
    return _serve("transceiver", common, flags, check=check, print_config=print_config)


@leaf(
    app,
    "signaling",
    settings=SIGNALING,
    examples="""
    rtcrelay serve signaling --sites sites.toml --key-file keys.toml
    rtcrelay serve signaling --sites sites.toml --http 0.0.0.0:8090 --auth-token-file token \\
        --trust-proxy 10.0.0.0/8 --signaling-peers 10.0.0.0/8:8080""",
)
def signaling(
    common: Common,
    flags: Flags,
    check: Annotated[bool, _CHECK] = False,
    print_config: Annotated[bool, _PRINT] = False,
) -> ExitStatus:
    """Run signaling in front of many clusters: each call goes to the nearest one that takes it.

    It takes WHIP and realtime calls, and tells each client the ingresses near it. It keeps nothing of a call, so any
    number of them may stand behind a load balancer. SIGHUP reads sites, keys, token and certificates again.
    """
    return _serve("signaling", common, flags, check=check, print_config=print_config)


@leaf(
    app,
    "parrot",
    settings=PARROT,
    examples="""
    rtcrelay serve parrot
    rtcrelay serve transceiver --key-file keys.toml --backend ws://127.0.0.1:8091/v1/realtime
    rtcrelay serve transceiver --key-file keys.toml --backend ws+pcm://127.0.0.1:8091/pcm""",
)
def parrot(
    common: Common,
    flags: Flags,
    check: Annotated[bool, _CHECK] = False,
    print_config: Annotated[bool, _PRINT] = False,
) -> ExitStatus:
    """Run a voice agent without a model: it waits for the end of what is said, and says it back.

    A stand-in for a service behind a transceiver, with OpenAI's Realtime events at /v1/realtime and plain PCM at /pcm.
    """
    return _serve("parrot", common, flags, check=check, print_config=print_config)


def _serve(program: str, common: Common, flags: Flags, *, check: bool, print_config: bool, **how: object) -> ExitStatus:
    """Runs a service, or does what --check and --print-config ask for instead. ``how`` is for its ``run``."""
    if print_config:
        print(config.show(program, flags, common.config))
        return ExitStatus.OK
    read = partial(config.READERS[program], flags, common.config)
    settings = read()
    service = import_module(f"rtcrelay.{program}.service")
    if check:
        print(service.check(settings))
        return ExitStatus.OK
    follow_parent(os.environ)
    set_up_logging(settings.log_format, verbosity=common.verbosity, addresses=settings.log_addresses)
    log_stray_failures()
    return ExitStatus(service.run(settings, read, **how))
