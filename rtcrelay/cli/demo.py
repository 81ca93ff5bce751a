"""``rtcrelay demo``: the proof of the whole path, told to a person or to a program."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Common, leaf, parsed
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.client.demo.scene import Scene
    from rtcrelay.client.demo.site import Site, SiteOptions
    from rtcrelay.client.demo.steps import Step

app = new_group()

_SECONDS = typer.Option(
    "--seconds", metavar="N", help="Seconds of speech, half of them after the relay's crash, 2 to 3600. [default: 10]"
)
_SERVE = typer.Option("--serve", help="Start the processes, say how to call them from a browser, and keep them.")
_LAN = typer.Option(
    "--lan",
    metavar="ADDRESS",
    help="With --serve: let phones and other machines call, at this IPv4 address of this machine, by HTTPS and with"
    " a token. Keys, token and certificate are made for this run.",
)
_BACKEND = typer.Option(
    "--backend",
    metavar="URI",
    help="With --serve: who answers, as in 'serve transceiver', for example echo. [default: parrot]",
)
_JSON = typer.Option("--json", help="One JSON object instead of the table.")

_ANSWERS = {
    "echo": "An echo answers: everything comes back at once.",
    "parrot": "A parrot answers: say something, and it says it back when you have finished;\n"
    "interrupt it, and it is silent.",
}
_WIDTHS = (24, 15, 15, 20)
"""Columns of the table: together 80 with the gaps."""


@leaf(
    app,
    "demo",
    examples="""
    rtcrelay demo
    rtcrelay demo --serve
    rtcrelay demo --serve --backend ws://127.0.0.1:8091/v1/realtime
    rtcrelay demo --serve --lan 192.168.1.20""",
)
def demo(
    common: Common,
    seconds: Annotated[str, _SECONDS] = "10",
    serve: Annotated[bool, _SERVE] = False,
    lan: Annotated[str | None, _LAN] = None,
    backend: Annotated[str | None, _BACKEND] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> ExitStatus:
    """Prove the whole path on this machine: two calls through a relay, and its recovery.

    Starts a relay and two transceivers on loopback, calls each of them through the relay's one address, kills the
    relay in mid-call and starts it again. Each step is checked against the counters of the process concerned: if one
    is wrong, the demo ends with 1 and says what was expected and what was seen. With --serve a parrot answers: it says
    back what it heard when you have finished, and is silent when you interrupt it.
    """
    length = parsed("--seconds", seconds, _seconds)
    from rtcrelay.client.demo.run import run_demo, serve_demo

    if lan is not None and not serve:
        raise UsageError("--lan is for callers from outside, expected --serve with it")
    if backend is not None and not serve:
        raise UsageError("--backend is for callers from outside, expected --serve with it")
    if serve:
        options = _serve_options(lan, backend or "parrot")
        serve_demo(_Program(length) if as_json else _Person(common.verbosity), options)
        return ExitStatus.OK
    if as_json:
        program = _Program(length)
        passed = run_demo(program, seconds=length)
        program.finish(passed)
    else:
        person = _person(common)
        try:
            passed = run_demo(person, seconds=length)
        finally:
            person.close()
        person.finish(passed)
    return ExitStatus.OK if passed else ExitStatus.PROBLEM


def _serve_options(lan: str | None, backend: str) -> SiteOptions:
    import secrets

    from rtcrelay.client.demo.lan import local_address
    from rtcrelay.client.demo.site import DEFAULT_PORTS, SiteOptions
    from rtcrelay.transceiver.backends import find_backend

    find_backend(backend)  # what is wrong with it is said here, and not by a process that does not start
    options = SiteOptions(backend=backend, ports=DEFAULT_PORTS)
    if lan is None:
        return options
    # The published key is for loopback alone.
    key = secrets.token_bytes(16)
    return replace(options, lan=parsed("--lan", lan, local_address), relay_secret=key, transceiver_secret=key)


def _seconds(text: str) -> float:
    from rtcrelay.config.text import whole_number

    return float(whole_number(2, 3600)(text))


def _person(common: Common) -> _Person:
    from rtcrelay.cli.live import can_redraw
    from rtcrelay.cli.picture import LEAST_HEIGHT, LEAST_WIDTH

    live = can_redraw(sys.stdout, os.environ, width=LEAST_WIDTH, height=LEAST_HEIGHT)
    return (
        _Watcher(common.verbosity)
        if live and not common.verbosity and common.color != "never"
        else _Person(common.verbosity)
    )


class _Program:
    """One JSON object at the end."""

    wants_scenes = False

    def __init__(self, seconds: float) -> None:
        self._result: dict[str, Any] = {"kind": "demo", "v": 1, "passed": False, "seconds": seconds}
        self._steps: list[dict[str, object]] = []
        self._began = time.monotonic()

    def on_site(self, site: Site) -> None:
        self._result |= _addresses(site)

    def on_begin(self, name: str, title: str) -> None:
        pass

    def on_scene(self, scene: Scene) -> None:
        pass

    def on_step(self, step: Step) -> None:
        self._steps.append(step.as_dict())

    def on_serving(self, site: Site) -> None:
        print(json.dumps({"kind": "demo_site", "v": 1, **_addresses(site)}), flush=True)

    def finish(self, passed: bool) -> None:
        self._result |= {"passed": passed, "elapsed_s": round(time.monotonic() - self._began, 3), "steps": self._steps}
        print(json.dumps(self._result, indent=2))


class _Person:
    """A table that grows line by line; on a terminal, the step under way stands below it."""

    wants_scenes = False

    def __init__(self, verbosity: int) -> None:
        self._quiet = verbosity < 0
        self._is_live = not self._quiet and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._failed: Step | None = None
        self._count = 0

    def on_site(self, site: Site) -> None:
        names = [node.name for node in site.transceivers]
        self._say(f"Two calls, one address: client -> relay {_text(site.relay.vip)} -> transceiver a or b\n")
        self._say(_line("STEP", *(f"CALL TO {name}" for name in names), "COUNTED BY"))

    def on_scene(self, scene: Scene) -> None:
        """Nobody draws here."""

    def close(self) -> None:
        """Gives the terminal back."""

    def on_begin(self, name: str, title: str) -> None:
        if self._is_live:
            print(f"... {title}", end="", flush=True)

    def on_step(self, step: Step) -> None:
        if self._is_live:
            print("\r\x1b[K", end="")
        self._count += 1
        if not step.passed:
            self._failed = step
            return
        for row in step.rows:
            self._say(_line(row.title, *row.values, *[""] * (2 - len(row.values)), row.proof))

    def on_serving(self, site: Site) -> None:
        self._say(f"A relay at {_text(site.relay.vip)} (UDP), and behind it:")
        for node in site.transceivers:
            where = "in this network" if site.access else "on this machine"
            self._say(f"  transceiver {node.name}: open {node.page} in a browser {where} and press Call")
        self._say(f"\n{_ANSWERS.get(site.options.backend, f'The backend {site.options.backend} answers.')}")
        if site.access:
            self._say("\nWhoever has such an address can call. The browser warns, because nobody has signed the")
            self._say("certificate; compare its SHA-256 fingerprint and go on:")
            self._say(f"  {site.access.fingerprint}")
        self._say("\nIn another terminal, the examples of every command's help work after")
        self._say(f"  cd {site.directory} && . ./env")
        self._say("Ctrl-C ends everything.")

    def finish(self, passed: bool) -> None:
        if passed:
            self._say(f"\nAll {self._count} steps passed in {time.monotonic() - self._began:.1f} s.")
        elif self._failed is not None:
            print(
                f"rtcrelay: error: the demo failed at step {self._failed.name} ({self._failed.title}): "
                f"{self._failed.problem}",
                file=sys.stderr,
            )

    def _say(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)


class _Watcher(_Person):
    """The same table, and below it a picture of the packets' path as long as something happens."""

    wants_scenes = True

    def __init__(self, verbosity: int) -> None:
        from rtcrelay.cli.live import Screen

        super().__init__(verbosity)
        self._is_live = False
        self._screen = Screen(sys.stdout)
        self._scene: Scene | None = None
        self._step = ""

    def on_begin(self, name: str, title: str) -> None:
        # What was killed a moment ago is what the next lines are about, until they are done.
        self._step = name
        self._draw()

    def on_step(self, step: Step) -> None:
        super().on_step(step)
        self._draw()

    def on_scene(self, scene: Scene) -> None:
        self._scene = scene
        self._draw()

    def close(self) -> None:
        self._screen.close()

    def _draw(self) -> None:
        from rtcrelay.cli.picture import draw

        if self._scene is not None:
            self._screen.show(draw(self._scene, self._step, self._screen.width))

    def _say(self, line: str) -> None:
        for each in line.split("\n"):
            self._screen.say(each)


def _line(*cells: str) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _text(address: tuple[str, int]) -> str:
    from rtcrelay.config.text import format_address

    return format_address(address)


def _addresses(site: Site) -> dict[str, object]:
    return {
        **({"certificate_sha256": site.access.fingerprint} if site.access else {}),
        "vip": _text(site.relay.vip),
        "directory": str(site.directory),
        "relay_admin": str(site.relay.admin.socket),
        "backend": site.options.backend,
        "transceivers": [
            {
                "node": node.name,
                "media": _text(node.media),
                "whip_url": node.url,
                "page_url": node.page,
                "admin": str(node.admin.socket),
            }
            for node in site.transceivers
        ],
    }
