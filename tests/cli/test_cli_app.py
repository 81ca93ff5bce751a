"""What holds for every command line: help, errors, statuses, pipes, terminals, and what is imported."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rtcrelay
from rtcrelay.cli.app import COMMANDS, root_command
from rtcrelay.config.options import RELAY, TRANSCEIVER, Setting

from .conftest import Cli

HEAVY = ("scapy", "aiortc", "redis", "aiohttp", "pydantic", "rich", "asyncio", "msgspec", "av", "uvloop")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the tree with its words."""
    yield path, command
    if hasattr(command, "list_commands"):
        with command.make_context("rtcrelay", [], resilient_parsing=True) as context:
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name), (*path, name))


def imported_by(*args: str) -> set[str]:
    """The heavy modules that a command line imports, in a process of its own."""
    code = (
        "import sys; from rtcrelay.__main__ import main; status = main(sys.argv[1:]);"
        f"print(status, *sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    status, *modules = done.stderr.splitlines()[-1].split()
    assert status == "0", done.stderr
    return set(modules)


@pytest.mark.parametrize(
    "args",
    [
        "--help",
        "--version",
        "version",
        "serve --help",
        "serve relay --help",
        "serve relay --print-config",
        "serve transceiver --help",
        "ufrag decode --help",
        "probe stun --help",
        "probe route --help",
        "probe session --help",
        "probe replay --help",
        "keys generate",
        "completion bash",
    ],
)
def test_help_and_small_commands_import_nothing_slow(args: str) -> None:
    assert imported_by(*args.split()) == set()


def test_help_names_every_command_without_importing_one(process: Cli) -> None:
    code = (
        "import sys; from rtcrelay.__main__ import main; main(['--help']);"
        "print(sorted(m for m in sys.modules if m.startswith('rtcrelay.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, (_, summary) in COMMANDS.items():
        assert f"\n  {name} " in done.stdout
        assert summary.split()[0] in done.stdout
    assert done.stderr.strip() == "['rtcrelay.__main__', 'rtcrelay.cli', 'rtcrelay.cli.app', 'rtcrelay.errors']"


def test_every_command_has_help_and_the_common_options() -> None:
    for path, command in commands(root_command()):
        assert command.help, path
        assert command.get_short_help_str(200), path
        if hasattr(command, "list_commands"):
            continue
        options = {option for param in command.params for option in param.opts}
        assert {"--config", "-q", "-v", "--color"} <= options, path
        assert command.epilog, f"{path} has no examples"
        for param in command.params:
            assert getattr(param, "help", None), f"{path} {param.name}"


@pytest.mark.parametrize("program", ["relay", "transceiver"])
def test_every_option_of_a_service_shows_its_default_and_its_variable(cli: Cli, program: str) -> None:
    shown = "".join(cli("serve", program, "--help").out.split())  # lines break at any space and hyphen
    settings: tuple[Setting, ...] = RELAY if program == "relay" else TRANSCEIVER
    for setting in settings:
        assert setting.option in shown
        assert f"[env:{setting.variable}]" in shown
        default = setting.default_help or setting.default
        if default and not setting.switch:
            assert f"[default:{default}][env:{setting.variable}]".replace(" ", "") in shown


def test_variables_are_unambiguous() -> None:
    for settings in (RELAY, TRANSCEIVER):
        names = [setting.name for setting in settings]
        assert len(names) == len(set(names))
    both = {s.name: s for s in RELAY}
    for setting in TRANSCEIVER:
        if setting.name == "workers":  # of either how many processors it may use: threads here, processes there
            assert (setting.parse, setting.default) == (both["workers"].parse, both["workers"].default)
        elif setting.name in both and setting.name != "admin":
            assert setting is both[setting.name]


def test_no_arguments_print_help_on_stderr(cli: Cli) -> None:
    for args in ((), ("ufrag",), ("keys",), ("serve",)):
        done = cli(*args)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith(f"Usage: {' '.join(('rtcrelay', *args))} [OPTIONS] COMMAND")


def test_the_version_is_told_in_three_ways(cli: Cli) -> None:
    for args in (("--version",), ("-V",), ("version",)):
        assert cli(*args).out == f"rtcrelay {rtcrelay.__version__}\n"
    facts = json.loads(cli("version", "--json").out)
    assert (facts["kind"], facts["v"], facts["version"]) == ("version", 1, rtcrelay.__version__)


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        ("serv", "no such command 'serv'", "did you mean 'rtcrelay serve'?"),
        ("serve rely", "no such command 'rely'", "did you mean 'rtcrelay serve relay'?"),
        ("qqq", "no such command 'qqq'", "'rtcrelay --help' lists all"),
        ("ufrag encode --endpint x", "no such option --endpint", "did you mean --endpoint?"),
        ("ufrag encode --qqq", "no such option --qqq", "'rtcrelay ufrag encode --help' lists all options"),
        ("--qqq", "no such option --qqq", "'rtcrelay --help' lists all options"),
        ("ufrag encode --count", "option '--count' requires an argument", None),
        ("version now", "got unexpected extra argument(s) (now)", None),
        ("ufrag decode --color red x", "--color: 'red' is not one of auto, always, never", None),
        ("completion bsh", "no completion for 'bsh', expected bash, zsh, fish", "did you mean bash?"),
        (
            "flows list --state storng",
            "--state: 'storng' is not one of strong, weak, pending, none, did you mean",
            None,
        ),
        ("keys list -o jsno", "-o: 'jsno' is not one of table, plain, json, jsonl, did you mean json?", None),
        ("completion tcsh", "no completion for 'tcsh', expected bash, zsh, fish", None),
        ("completion", "missing argument 'SHELL'", None),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line_with_what_was_meant(
    cli: Cli, args: str, message: str, hint: str | None
) -> None:
    done = cli(*args.split())
    assert (done.status, done.out) == (2, "")
    lines = done.err.splitlines()
    assert lines[0].startswith(f"rtcrelay: error: {message}")
    assert hint is None or lines[1] == f"hint: {hint}"


def test_a_traceback_comes_only_on_demand(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in cli("ufrag", "decode", "x").err
    assert "Traceback" in cli("ufrag", "decode", "x", "-vv").err
    monkeypatch.setenv("RTCRELAY_DEBUG", "1")
    assert "Traceback" in cli("ufrag", "decode", "x").err


def test_a_defect_has_a_status_and_a_sentence_of_its_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.keys.generate", lambda key_id: 1 // 0)
    done = cli("keys", "generate")
    assert done.status == 70
    assert done.err == (
        "rtcrelay: error: ZeroDivisionError: integer division or modulo by zero\n"
        "hint: this is a defect of rtcrelay; RTCRELAY_DEBUG=1 shows where\n"
    )


def test_control_c_is_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(key_id: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("rtcrelay.keys.generate", interrupt)
    assert cli("keys", "generate").status == 130


@pytest.mark.parametrize("form", ["plain", "table", "json", "jsonl"])
def test_a_closed_pipe_is_success_and_silent(key_file: str, form: str) -> None:
    line = f"{sys.executable} -m rtcrelay ufrag encode --node 1 --count 3000 --key-file {key_file} -o {form}"
    script = f"set -o pipefail; {line} | head -n 3"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_stdout_that_is_full_is_an_io_error(key_file: str) -> None:
    line = f"{sys.executable} -m rtcrelay ufrag encode --node 1 --key-file {key_file} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 74
    assert done.stderr == "rtcrelay: error: no space left on device\n"


def test_a_locale_without_a_character_still_gets_its_output(process: Cli, key_file: str) -> None:
    done = process("ufrag", "decode", "é", "-o", "plain", "--key-file", key_file, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.status == 65
    assert "\\xe9" in done.out


def on_terminal(args: list[str], columns: int, **environ: str) -> str:
    """What a command writes to a terminal."""
    leader, follower = pty.openpty()
    env = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environ
    command = [sys.executable, "-m", "rtcrelay", *args]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        written = b""
        try:
            while chunk := os.read(leader, 65536):
                written += chunk
        except OSError:  # EIO: the last writer has closed the terminal
            pass
        process.wait()
    os.close(leader)
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_table_and_colour_only_if_wanted(key_file: str) -> None:
    args = ["keys", "list", "--key-file", key_file]
    shown = on_terminal(args, 80)
    assert "\x1b[" in shown
    assert "─" in shown
    assert "\x1b[" not in on_terminal(args, 80, TERM="dumb")
    assert "\x1b[3" not in on_terminal(args, 80, NO_COLOR="1")
    assert "─" not in on_terminal([*args, "-o", "plain"], 80)


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_fits_its_terminal_and_cuts_nothing(key_file: str, columns: int) -> None:
    shown = on_terminal(
        ["ufrag", "encode", "--node", "17", "--count", "2", "--key-file", key_file, "-o", "table"],
        columns,
        NO_COLOR="1",
        TERM="dumb",
    )
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert "…" not in shown
    assert sum(any(len(word) == 27 for word in line.split()) for line in shown.splitlines()) == 2


def test_decode_without_arguments_on_a_terminal_does_not_wait_for_lines(key_file: str) -> None:
    shown = on_terminal(["ufrag", "decode", "--key-file", key_file], 80)
    assert shown == "rtcrelay: error: expected ufrags as arguments, or lines on stdin\n"


def test_a_manual_page_is_found_by_its_command_and_printed_as_source_in_a_pipe(cli: Cli) -> None:
    assert cli("man").out.startswith('.TH RTCRELAY 1 "" "rtcrelay ')
    assert cli("man", "ufrag").out.startswith(".TH RTCRELAY\\-UFRAG 1")
    assert cli("man", "rtcrelay-ufrag").out == cli("man", "ufrag").out
    done = cli("man", "qqq")
    assert done.status == 2
    assert done.err.startswith("rtcrelay: error: no manual page 'qqq', expected one of bench, capture, config, ")


def test_completion_knows_commands_options_and_choices(process: Cli) -> None:
    def complete(words: str, at: int) -> list[str]:
        done = process(_RTCRELAY_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(at))
        assert (done.status, done.err) == (0, "")
        return done.out.split()

    assert complete("rtcrelay ser", 1) == ["serve"]
    assert complete("rtcrelay serve re", 2) == ["relay"]
    assert complete("rtcrelay serve relay --idle", 3) == ["--idle-timeout"]
    assert complete("rtcrelay keys list -o j", 4) == ["json", "jsonl"]


def test_completion_knows_sockets_transceivers_keys_and_clusters_without_asking_anybody(
    process: Cli, key_file: str, tmp_path: Path
) -> None:
    for name in ("relay.sock", "transceiver-a.sock", "transceiver-b1.sock"):
        (tmp_path / name).touch()
    environ = {"RUNTIME_DIRECTORY": str(tmp_path), "RTCRELAY_KEY_FILE": key_file, "RTCRELAY_CLUSTER": "17"}

    def complete(words: str) -> list[str]:
        at = str(words.count(" "))
        done = process(_RTCRELAY_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at, **environ)
        assert (done.status, done.err) == (0, "")
        return done.out.split()

    assert complete("rtcrelay sessions list --node ") == ["a", "b1"]
    assert complete("rtcrelay sessions list --node b") == ["b1"]
    assert complete("rtcrelay keys revoke ") == ["3"]
    assert complete("rtcrelay ufrag encode --key-id ") == ["3"]
    assert complete("rtcrelay ufrag encode --cluster 1") == ["17"]
    assert complete(f"rtcrelay status -A {tmp_path}/tr") == [
        f"{tmp_path}/transceiver-a.sock",
        f"{tmp_path}/transceiver-b1.sock",
    ]
    environ["RTCRELAY_KEY_FILE"] = "/nonexistent"
    assert complete("rtcrelay keys revoke ") == []


def test_bash_completes_words_with_a_colon(requires: Any) -> None:
    requires(file="/usr/share/bash-completion/bash_completion", install="apt-get install bash-completion")
    script = Path(__file__).parents[2] / "completions" / "rtcrelay.bash"
    code = f"""
    source /usr/share/bash-completion/bash_completion; source {script}
    env() {{ printf '%s\\n' 10.0.0.1:3478 10.0.0.1:3479; }}
    COMP_WORDS=(rtcrelay x 10.0.0.1 : 34); COMP_CWORD=4; COMP_LINE='rtcrelay x 10.0.0.1:34'; COMP_POINT=${{#COMP_LINE}}
    _rtcrelay_completion rtcrelay; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3478\n3479\n", "")
