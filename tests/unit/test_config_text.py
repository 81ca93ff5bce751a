"""How an operator's words are read: what is accepted, and what is said about the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.config import text
from rtcrelay.config.options import RELAY, TRANSCEIVER, Setting


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("60s", 60), ("1h30m", 5400), ("2h", 7200), ("1.5s", 1.5), ("1d", 86400), ("0s", 0)],
)
def test_a_duration_is_read_with_its_unit(written: str, seconds: float) -> None:
    assert text.parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "60", "s", "-1s", "1 h", "1x", "1h30", "²s"])
def test_a_duration_without_a_unit_or_number_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a duration, expected for example 250ms, 60s or 1h30m"):
        text.parse_duration(written)


@pytest.mark.parametrize(
    ("written", "numbers"), [("2", (2,)), ("2,3", (2, 3)), ("4-7", (4, 5, 6, 7)), ("5,0-1", (5, 0, 1))]
)
def test_processors_are_a_list_in_its_order(written: str, numbers: tuple[int, ...]) -> None:
    assert text.parse_cpus(written) == numbers


@pytest.mark.parametrize("written", ["", "a", "1,", "3-2", "-1", "1024", "1-", "²", "1 2"])
def test_a_list_of_processors_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no list of processors such as 2,3 or 4-7"):
        text.parse_cpus(written)


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.25, "250ms"), (60, "1m"), (5400, "1h30m"), (0, "0s"), (61.5, "1m1s500ms")]
)
def test_a_duration_is_written_as_it_is_read(seconds: float, written: str) -> None:
    assert text.format_duration(seconds) == written
    assert text.parse_duration(written) == seconds


def test_a_duration_out_of_range_is_refused_with_the_range() -> None:
    with pytest.raises(ValueError, match="is out of range, expected 1s to 1h"):
        text.duration_between(1, 3600)("2h")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.1:3478", ("192.0.2.1", 3478)),
        ("192.0.2.1", ("192.0.2.1", 9)),
        ("[2001:db8::1]:3478", ("2001:db8::1", 3478)),
        ("[2001:DB8:0::1]", ("2001:db8::1", 9)),
        ("[::ffff:192.0.2.1]:1", ("192.0.2.1", 1)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_an_address_is_read_in_canonical_form(written: str, address: text.Address) -> None:
    assert text.address(9)(written) == address


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("::1:3478", r"is ambiguous, expected IP:PORT or \[IP6\]:PORT"),
        ("example.org:3478", "'example.org' is not an IP address"),
        ("192.0.2.1:70000", "'70000' is not 0 to 65535"),
        ("192.0.2.1:", "'' is not 0 to 65535"),
        ("192.0.2.1:+1", "is not 0 to 65535"),
        ("192.0.2.256:1", "is not an IP address"),
        ("010.0.0.1:1", "is not an IP address"),
        ("[fe80::1%eth0]:1", "has a zone"),
        ("[::1", "is not an IP address|is ambiguous"),
        ("", "is not an IP address"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_is_wrong(written: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        text.address(9)(written)


def test_an_address_needs_a_port_if_there_is_no_default() -> None:
    with pytest.raises(ValueError, match=r"has no port, expected IP:PORT or \[IP6\]:PORT"):
        text.address()("192.0.2.1")


@pytest.mark.parametrize("wildcard", ["0.0.0.0:1", "[::]:1"])
def test_a_concrete_address_is_no_wildcard(wildcard: str) -> None:
    with pytest.raises(ValueError, match="is a wildcard, expected the one address to use"):
        text.address(concrete=True)(wildcard)


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.3.7", "10.0.3.7/32"),
        ("10.0.0.0/8:7000", "10.0.0.0/8:7000"),
        ("10.0.0.0/8:7000-7009", "10.0.0.0/8:7000-7009"),
        ("10.0.0.0/8:7000-7000", "10.0.0.0/8:7000"),
        ("fd00::/8", "fd00::/8"),
        ("[FD00::/8]:7000", "[fd00::/8]:7000"),
        ("[fd00::/8]", "fd00::/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_a_network_with_ports_is_read_in_canonical_form(written: str, network: str) -> None:
    assert text.parse_network_ports(written) == network


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("10.0.0.0/33", "is not a network, expected CIDR, for example 10.0.0.0/8"),
        ("10.0.0.1/8", "has bits set behind its prefix, expected 10.0.0.0/8"),
        ("here", "is not a network"),
        ("host bits", "is not a network"),
        ("fe80::1%eth0", "is not a network"),
        ("10.0.0.0/255.0.0.0", "is not a network"),
        ("10.0.0.0/8:0", "'0' is not PORT or FIRST-LAST from 1 to 65535"),
        ("10.0.0.0/8:9-7", "'9-7' is not PORT or FIRST-LAST"),
        ("10.0.0.0/8:7000-", "is not PORT or FIRST-LAST"),
    ],
)
def test_a_network_that_is_none_is_refused_with_what_is_wrong(written: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        text.parse_network_ports(written)


@pytest.mark.parametrize(
    "network", ["10.1.0.0/16", "192.168.0.0/24:7000", "127.0.0.1/32", "fd00::/8", "fe80::/64", "::1/128"]
)
def test_private_networks_are_internal(network: str) -> None:
    assert text.is_internal(network)


@pytest.mark.parametrize(
    "network", ["8.8.8.0/24", "0.0.0.0/0", "172.0.0.0/8", "2001:db8::/32", "::/0", "100.64.0.0/10"]
)
def test_public_networks_and_those_that_hold_public_ones_are_not_internal(network: str) -> None:
    assert not text.is_internal(network)


def test_networks_overlap_whatever_their_ports() -> None:
    assert text.first_overlap(["10.0.0.0/8:7000"], ["192.168.0.0/16", "10.2.0.0/16"]) == (
        "10.0.0.0/8:7000",
        "10.2.0.0/16",
    )
    assert text.first_overlap(["10.0.0.0/9"], ["10.128.0.0/9", "fd00::/8"]) is None


@pytest.mark.parametrize(
    ("parse", "written", "complaint"),
    [
        (text.whole_number(1, 64), "65", "is not a whole number from 1 to 64"),
        (text.whole_number(1, 64), "four", "is not a whole number from 1 to 64"),
        (text.whole_number(1, 64), "٤", "is not a whole number from 1 to 64"),
        (text.one_of("a", "b"), "c", "is not one of a, b"),
        (text.parse_switch, "maybe", "is neither true nor false"),
        (text.parse_path, "", "is not a file path"),
        (text.parse_name, "a/b", "is not a name"),
        (text.parse_origin, "https://a.org/path", "is not a web origin"),
        (text.parse_node, "7", "is not a node, expected ID=IP:PORT"),
        (text.parse_node, "x=10.0.0.1:1", "the id 'x' is not a whole number"),
        (text.parse_node, "1=10.0.0.1", "has no port"),
    ],
)
def test_other_words_are_refused_with_what_was_expected(
    parse: Callable[[str], object], written: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(written)


def test_large_numbers_may_be_grouped() -> None:
    assert text.whole_number(1, 2**24)("262_144") == 262144


ALPHABET = st.sampled_from("0123456789abcdef.:/-[]%_,=msh*~ é²٤\0\n")


@pytest.mark.parametrize("setting", [*RELAY, *TRANSCEIVER], ids=lambda setting: setting.option)
@given(written=st.text() | st.text(ALPHABET))
def test_any_text_gives_a_value_or_a_sentence(setting: Setting, written: str) -> None:
    sentence = "is fine"
    try:
        setting.parse(written)
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith(("is ", "has "))
    assert "\n" not in sentence


@given(st.text(ALPHABET))
def test_an_address_that_is_read_is_written_and_read_again_as_the_same(written: str) -> None:
    try:
        address = text.address(9)(written)
    except ValueError:
        return
    assert text.address()(text.format_address(address)) == address


@given(st.text(ALPHABET))
def test_a_network_that_is_read_is_canonical(written: str) -> None:
    try:
        network = text.parse_network_ports(written)
    except ValueError:
        return
    assert text.parse_network_ports(network) == network
    assert str(text.network_of(network)) in network
