"""The settings of both services: where they come from, their defaults, and the rules between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtcrelay import config
from rtcrelay.config import sources
from rtcrelay.errors import ConfigError, ExitStatus

KEYS: dict[str, object] = {"key_file": "keys.toml"}


@pytest.fixture(autouse=True)
def _no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "etc" / "config.toml")


def relay(environ: dict[str, str] | None = None, file: Path | None = None, **flags: Any) -> config.RelaySettings:
    return config.relay_settings(KEYS | flags, file, environ or {})


def transceiver(environ: dict[str, str] | None = None, **flags: Any) -> config.TransceiverSettings:
    return config.transceiver_settings(KEYS | flags, None, environ or {})


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_the_defaults_make_a_relay_for_transceivers_on_the_same_machine() -> None:
    settings = relay()
    assert settings.listeners == ((("0.0.0.0", 3478), ("127.0.0.1", 3479)),)
    assert settings.transceivers == ("127.0.0.0/8:7000-7063",)
    assert settings.peers == ()
    assert (settings.workers, settings.cluster, settings.idle_timeout_seconds) == (1, 0, 60.0)
    assert settings.admin_socket is not None
    assert settings.admin_socket.name == "relay.sock"


def test_the_defaults_make_a_transceiver_behind_that_relay() -> None:
    settings = transceiver(node="a")
    assert settings.media == ("127.0.0.1", 7000)
    assert settings.http == ("127.0.0.1", 8080)
    assert settings.ingresses == (("127.0.0.1", 3478),)
    assert settings.relays == ("127.0.0.0/8",)
    assert (settings.backend, settings.max_sessions, settings.max_session_seconds) == ("echo", 500, 7200.0)
    assert settings.admin_socket is not None
    assert settings.admin_socket.name == "transceiver-a.sock"


def test_an_option_comes_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[relay]\nworkers = 2\n")
    assert relay().workers == 1
    assert relay(file=file).workers == 2
    assert relay({"RTCRELAY_WORKERS": "3"}, file).workers == 3
    assert relay({"RTCRELAY_WORKERS": "3"}, file, workers="4").workers == 4


def test_the_users_file_comes_before_the_systems_and_a_named_file_is_read_alone(tmp_path: Path) -> None:
    write(tmp_path / "etc" / "config.toml", "cluster = 5\n[relay]\nworkers = 5\nmax_flows = 5\n")
    write(tmp_path / "xdg" / "rtcrelay" / "config.toml", "[relay]\nworkers = 6\n")
    named = write(tmp_path / "named.toml", "cluster = 7\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    settings = relay(environ)
    assert (settings.cluster, settings.workers, settings.max_flows) == (5, 6, 5)
    settings = relay(environ, named)
    assert (settings.cluster, settings.workers, settings.max_flows) == (7, 1, 262144)
    assert relay(environ | {"RTCRELAY_CONFIG": str(named)}).cluster == 7


def test_lists_come_from_repeated_options_from_separated_variables_and_from_toml_arrays(tmp_path: Path) -> None:
    expected = ("10.0.0.0/8:7000", "192.168.0.0/16")
    assert relay(transceivers=list(expected)).transceivers == expected
    assert relay({"RTCRELAY_TRANSCEIVERS": "10.0.0.0/8:7000, 192.168.0.0/16"}).transceivers == expected
    file = write(tmp_path / "c.toml", '[relay]\ntransceivers = ["10.0.0.0/8:7000", "192.168.0.0/16"]\n')
    assert relay(file=file).transceivers == expected


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.toml",
        """
        cluster = 7
        key_file = "/etc/rtcrelay/keys.toml"
        log_format = "json"
        [nodes]
        17 = "[fd00::7]:7000"
        [relay]
        listen = ["198.51.100.1:3478", "[2001:db8::1]:3478"]
        internal = ["10.0.0.5:3479", "10.0.0.5:3480"]
        idle_timeout = "1h"
        spp_insecure_public = true
        peers = ["198.51.100.0/24"]
        [transceiver]
        http = "127.0.0.1:80"
        """,
    )
    settings = config.relay_settings({}, file, {})
    assert settings.listeners == (
        (("198.51.100.1", 3478), ("10.0.0.5", 3479)),
        (("2001:db8::1", 3478), ("10.0.0.5", 3480)),
    )
    assert settings.nodes == {17: ("fd00::7", 7000)}
    assert settings.key_file == Path("/etc/rtcrelay/keys.toml")
    assert (settings.cluster, settings.log_format, settings.idle_timeout_seconds) == (7, "json", 3600.0)
    assert config.transceiver_settings({}, file, {}).http == ("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        ("[relay]\nlisen = 1\n", "unknown key relay.lisen", "did you mean relay.listen?"),
        ("[rely]\n", "unknown key rely", "did you mean relay?"),
        ("[relay]\ncluster = 1\n", "unknown key relay.cluster", "cluster is shared by all services: write it above"),
        ("[relay]\nzzz = 1\n", "unknown key relay.zzz", "known here: admin, "),
        ("relay = 1\n", "relay must be a table", None),
        ("nodes = 1\n", "nodes must be a table", None),
        ("[cluster]\nx = 1\n", "cluster must not be a table", None),
        ("[relay]\nlisten = { a = 1 }\n", "relay.listen must not be a table", None),
        ("[relay]\nworkers = [1]\n", "relay.workers takes one value, not a list", None),
        ("[relay]\nworkers = 1979-05-27\n", "relay.workers is a date, expected a string, a number or true", None),
        ("[relay]\nlisten = [1, []]\n", "relay.listen[1] is a list, expected a string", None),
        ("[relay]\nidle_timeout = 60\n", "relay.idle_timeout: '60' is not a duration, expected for", None),
        ("[relay]\nworkers = 65\n", "relay.workers: '65' is not a whole number from 1 to 64", None),
        ("[relay]\ntransceivers = ['10.0.0.0/40']\n", "relay.transceivers: '10.0.0.0/40' is not a network", None),
        ("[relay\n", "is not valid TOML: ", None),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_file_the_key_and_what_was_expected(
    tmp_path: Path, content: str, message: str, hint: str | None
) -> None:
    file = write(tmp_path / "c.toml", content)
    with pytest.raises(ConfigError) as caught:
        relay(file=file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
    assert hint is None or (caught.value.hint or "").startswith(hint)
    assert caught.value.status == ExitStatus.CONFIG


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration file .*: no such file or directory"):
        relay(file=tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        relay(file=tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"listen": ["1.2.3.4:99999"]}, "--listen: '1.2.3.4:99999' has no valid port: '99999' is not 0 to 65535"),
        ({"internal": ["0.0.0.0:3479"]}, "--internal: '0.0.0.0:3479' is a wildcard, expected the one address to use"),
        (
            {"listen": ["1.2.3.4", "1.2.3.5"]},
            "2 public addresses (--listen) and 1 internal ones (default), expected one --internal for each --listen,"
            " in the same order",
        ),
        (
            {"listen": ["1.2.3.4", "1.2.3.5"], "internal": ["10.0.0.1:3479", "10.0.0.2:3479"]},
            "--internal: '10.0.0.2:3479' has the same port as '10.0.0.1:3479', expected another one: the internal port"
            " is the ingress id",
        ),
        (
            {"listen": ["1.2.3.4", "1.2.3.4"], "internal": ["10.0.0.1:1", "10.0.0.1:2"]},
            "--listen: '1.2.3.4' is given twice",
        ),
        ({"listen": ["127.0.0.1:3479"]}, "default: '127.0.0.1:3479' is given twice"),
        ({"listen": ["0.0.0.0:3479"]}, "--listen: '0.0.0.0:3479' covers the internal address '127.0.0.1:3479'"),
        (
            {"transceivers": ["10.0.0.0/8:7000"], "peers": ["10.1.0.0/16"]},
            "--peers: '10.1.0.0/16' overlaps '10.0.0.0/8:7000' in --transceivers, expected every network in one of the"
            " lists only",
        ),
        (
            {"transceivers": ["198.51.100.0/24"]},
            "--transceivers: '198.51.100.0/24' is outside the private, loopback, link-local and unique local ranges,"
            " and SPP is neither encrypted nor authenticated",
        ),
        ({"peers": ["0.0.0.0/0"]}, "--peers: '0.0.0.0/0' is outside the private"),
        ({"nodes": ["1=10.0.0.1:1", "1=10.0.0.2:1"]}, "--nodes: node 1 is given twice"),
        ({"log_format": "xml"}, "--log-format: 'xml' is not one of auto, text, json"),
    ],
)  # fmt: skip
def test_wrong_relay_settings_are_refused_in_one_sentence(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        relay(**flags)
    assert str(caught.value).startswith(message)


def test_public_networks_are_accepted_on_demand() -> None:
    settings = relay(transceivers=["198.51.100.0/24"], peers=["0.0.0.0/1"], spp_insecure_public=True)
    assert settings.transceivers == ("198.51.100.0/24",)
    assert settings.spp_insecure_public


def test_port_0_may_be_given_several_times_because_the_kernel_chooses() -> None:
    settings = relay(listen=["127.0.0.1:0", "127.0.0.1:0"], internal=["127.0.0.1:0", "127.0.0.1:0"])
    assert len(settings.listeners) == 2


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="RTCRELAY_WORKERS: '0' is not a whole number from 1 to 64"):
        relay({"RTCRELAY_WORKERS": "0"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"http": "0.0.0.0:8080"},
            "--http: '0.0.0.0:8080' is not a loopback address, so signaling needs a token",
        ),
        ({"media": "0.0.0.0:7000"}, "--media: '0.0.0.0:7000' is a wildcard"),
        ({"media": "[fd00::1]:7000"}, "--media: '[fd00::1]:7000' is IPv6, which does not fit into a ufrag"),
        ({"relays": ["198.51.100.1"]}, "--relays: '198.51.100.1/32' is outside the private"),
        ({"ingress": ["vip.example.org:3478"]}, "--ingress: 'vip.example.org:3478' is not an address"),
        ({"node": "a b"}, "--node: 'a b' is not a name"),
        ({"cors_origin": ["example.org"]}, "--cors-origin: 'example.org' is not a web origin"),
    ],
)
def test_wrong_transceiver_settings_are_refused_in_one_sentence(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transceiver(**flags)
    assert str(caught.value).startswith(message)


def test_a_transceiver_with_a_token_may_serve_any_address_and_with_a_node_id_have_ipv6_media() -> None:
    settings = transceiver(http="0.0.0.0:8080", auth_token_file="token", media="[fd00::1]", node_id="7")
    assert settings.http == ("0.0.0.0", 8080)
    assert settings.media == ("fd00::1", 7000)


def test_without_a_key_file_nothing_starts_unless_systemd_gives_one() -> None:
    with pytest.raises(ConfigError, match="no key file is configured") as caught:
        config.relay_settings({}, None, {})
    assert "rtcrelay keys generate" in (caught.value.hint or "")
    given = {"CREDENTIALS_DIRECTORY": "/run/credentials/x"}
    assert config.relay_settings({}, None, given).key_file == Path("/run/credentials/x/keys.toml")
    assert config.find_key_file({}, None, given | {"RTCRELAY_KEY_FILE": "/other"}) == Path("/other")


def test_the_admin_socket_goes_where_systemd_says_and_none_means_none() -> None:
    assert relay({"RUNTIME_DIRECTORY": "/run/a:/run/b"}).admin_socket == Path("/run/a/relay.sock")
    assert relay(admin="none").admin_socket is None
    assert relay(admin="/tmp/x.sock").admin_socket == Path("/tmp/x.sock")


@pytest.mark.parametrize("program", ["relay", "transceiver"])
def test_the_printed_settings_say_where_they_come_from_and_read_back_the_same(tmp_path: Path, program: str) -> None:
    read = config.relay_settings if program == "relay" else config.transceiver_settings
    flags: dict[str, object] = {"cluster": "9", "key_file": 'odd " name\n', "nodes": ["3=10.0.0.3:7000"], "node": "a"}
    environ = {"RTCRELAY_MAX_FLOWS": "77", "RTCRELAY_MAX_SESSIONS": "77"}
    printed = config.show(program, flags, None, environ)
    assert "cluster = 9  # --cluster" in printed
    assert f"max_{'flows' if program == 'relay' else 'sessions'} = 77  # RTCRELAY_MAX_" in printed
    assert "= false  # default" in printed
    file = write(tmp_path / "printed.toml", printed)
    assert read({}, file, {}) == read(flags, None, environ)


def test_every_address_of_a_service_is_known_to_the_demo_keys_check() -> None:
    settings = relay(peers=["10.1.0.0/16"], transceivers=["10.2.0.0/16"], nodes=["1=10.3.0.1:1"])
    assert settings.addresses == ("0.0.0.0", "127.0.0.1", "10.2.0.0/16", "10.1.0.0/16", "10.3.0.1")
    assert transceiver(direct="127.0.0.2:1").addresses == (
        *("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"),
        *("127.0.0.0/8", "127.0.0.0/8"),
    )
    wide = transceiver(signaling_peers=["10.4.0.0/16"], signaling_address="10.4.0.1:1", nodes=["1=10.5.0.1:1"])
    assert {"10.4.0.0/16", "10.4.0.1", "10.5.0.1"} <= set(wide.addresses)


def test_a_certificate_and_its_key_come_together() -> None:
    with pytest.raises(ConfigError, match="--tls-cert is given without --tls-key"):
        transceiver(tls_cert="cert.pem")
    with pytest.raises(ConfigError, match="--tls-key is given without --tls-cert"):
        transceiver(tls_key="key.pem")
    assert transceiver(tls_cert="cert.pem", tls_key="key.pem").tls_cert == Path("cert.pem")


def test_metrics_are_off_until_an_address_is_named() -> None:
    assert relay().metrics is None
    assert transceiver().metrics is None
    assert relay(metrics="0.0.0.0:9478").metrics == ("0.0.0.0", 9478)
    assert transceiver(metrics="[::]:9478").metrics == ("::", 9478)
    assert relay({"RTCRELAY_METRICS": "127.0.0.1:1"}, metrics="none").metrics is None
    with pytest.raises(ConfigError, match=r"^--metrics: '127\.0\.0\.1' has no port, expected IP:PORT or"):
        relay(metrics="127.0.0.1")


def test_admin_sockets_are_those_that_were_named_else_configured_else_there(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("transceiver-a.sock", "relay.sock", "notes.txt"):
        (run / name).touch()
    environ = {"RUNTIME_DIRECTORY": str(run)}
    assert config.find_admin_sockets((), None, environ) == [run / "relay.sock", run / "transceiver-a.sock"]
    file = write(tmp_path / "c.toml", '[relay]\nadmin = "/a.sock"\n[transceiver]\nadmin = "/b.sock"\n')
    assert config.find_admin_sockets((), file, environ) == [Path("/a.sock"), Path("/b.sock")]
    assert config.find_admin_sockets((), file, environ | {"RTCRELAY_ADMIN": "/c.sock"}) == [Path("/c.sock")]
    assert config.find_admin_sockets(("/d.sock", "/e.sock", "/d.sock"), file, environ) == [
        Path("/d.sock"),
        Path("/e.sock"),
    ]
    assert config.find_admin_sockets((), None, {"RUNTIME_DIRECTORY": str(tmp_path / "none")}) == []


def test_the_route_cache_is_off_until_a_url_is_named() -> None:
    assert relay().redis is None
    assert relay(redis="none").redis is None
    assert relay(redis="redis://10.0.0.9:6379/1").redis == "redis://10.0.0.9:6379/1"
    assert relay({"RTCRELAY_REDIS": "rediss://:word@10.0.0.9"}).redis == "rediss://:word@10.0.0.9"


def test_a_redis_password_is_never_on_the_command_line_in_messages_or_twice() -> None:
    with pytest.raises(ConfigError, match=r"^--redis: 'redis://10\.0\.0\.9' came with a password"):
        relay(redis="redis://:hush@10.0.0.9")
    with pytest.raises(ConfigError, match="RTCRELAY_REDIS and --redis-password-file both give a password"):
        relay({"RTCRELAY_REDIS": "redis://:hush@10.0.0.9"}, redis_password_file="f")
    settings = relay({"RTCRELAY_REDIS": "redis://:hush@10.0.0.9"})
    assert "hush" not in repr(settings)
    assert "hush" not in config.show("relay", KEYS, None, {"RTCRELAY_REDIS": "redis://:hush@10.0.0.9"})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("10.0.0.9", "is no URL of redis://, rediss://, unix://"),
        ("redis://", "has no host and port"),
        ("redis://a:x", "has no host and port"),
        ("unix://", "has no socket"),
        ("redis+sentinel://a:26379,b:26379", "has no group"),
    ],
)
def test_a_wrong_redis_url_says_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        relay(redis=url)
