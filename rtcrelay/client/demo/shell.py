"""What a person in another terminal needs to ask the demo's processes: settings as an operator would have them."""

from __future__ import annotations

import shlex
from pathlib import Path

from rtcrelay.client.demo.site import Site
from rtcrelay.config.text import format_address


def write_shell(site: Site) -> Path:
    """Writes ``env`` (for a shell's ``.``), ``keys.toml`` and ``relay.toml`` into the site's directory; returns
    the first.

    In that directory, with that environment, the examples of every command's help work as they stand.
    """
    directory = site.directory
    (directory / "keys.toml").unlink(missing_ok=True)
    (directory / "keys.toml").symlink_to("relay.keys.toml")
    relay = site.relay
    media = ", ".join(f'"{ip}:{port}"' for ip, port in (node.media for node in site.transceivers))
    (directory / "relay.toml").write_text(
        f'key_file = "{directory / "keys.toml"}"\n'
        f"cluster = {site.options.cluster}\n"
        "\n[relay]\n"
        f'listen = ["{format_address(relay.vip)}"]\n'
        f'internal = ["{format_address(relay.internal)}"]\n'
        f"transceivers = [{media}]\n"
        "\n[transceiver]\n"
        f'media = "{format_address(site.transceivers[0].media)}"\n'
        f'ingress = ["{format_address(relay.vip)}"]\n'
    )
    variables = {"RUNTIME_DIRECTORY": directory, "RTCRELAY_CONFIG": directory / "relay.toml"}
    env = directory / "env"
    env.write_text("".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items()))
    return env
