"""The table of STUN attributes is the IANA registry's."""

from __future__ import annotations

import pytest
from aioice import stun as judge

from rtcrelay.debug.stun_registry import (
    NAMES,
    RESERVED,
    UPDATED,
    attribute_name,
    is_required,
    message_name,
    split_kind,
)
from rtcrelay.rtc.stun import Attribute


def test_the_table_has_as_many_entries_as_the_registry() -> None:
    assert (len(NAMES), len(RESERVED)) == (61, 17)
    assert len({name for name, _ in NAMES.values()}) == len(NAMES)
    assert not set(NAMES) & set(RESERVED)
    assert list(NAMES) == sorted(NAMES)


def test_the_table_is_the_registrys_of_a_day_and_its_last_additions_are_in_it() -> None:
    assert UPDATED == "2024-12-20"
    assert [NAMES[number][1] for number in (0xC070, 0xC071)] == ["draft-hancke-webrtc-sped"] * 2


def test_strangers_call_the_attributes_the_same() -> None:
    known = {number: name for number, (name, _) in NAMES.items()} | RESERVED
    for number, name, *_ in judge.ATTRIBUTES:
        assert known[number] == name


def test_each_range_of_the_registry_has_its_entries() -> None:
    ranges = {(0x0000, 0x3FFF): 28, (0x4000, 0x7FFF): 0, (0x8000, 0xBFFF): 17, (0xC000, 0xFFFF): 16}
    for (first, last), count in ranges.items():
        assert sum(first <= number <= last for number in NAMES) == count


@pytest.mark.parametrize(
    ("number", "name", "required"),
    [
        (0x0001, "MAPPED-ADDRESS", True),
        (0x0006, "USERNAME", True),
        (0x001C, "MESSAGE-INTEGRITY-SHA256", True),
        (0x0020, "XOR-MAPPED-ADDRESS", True),
        (0x0025, "USE-CANDIDATE", True),
        (0x0010, "reserved (was BANDWIDTH)", True),
        (0x0030, "reserved", True),
        (0x7FFF, "unassigned", True),
        (0x8000, "ADDITIONAL-ADDRESS-FAMILY", False),
        (0x8028, "FINGERPRINT", False),
        (0x802A, "ICE-CONTROLLING", False),
        (0xC057, "GOOG-NETWORK-INFO", False),
        (0xC070, "META-DTLS-IN-STUN", False),
        (0xC071, "META-DTLS-IN-STUN-ACKNOWLEDGEMENT", False),
        (0xFFFF, "unassigned", False),
    ],
)
def test_an_attribute_has_its_registered_name_and_rule(number: int, name: str, required: bool) -> None:
    assert (attribute_name(number), is_required(number)) == (name, required)


def test_the_names_agree_with_those_that_are_written() -> None:
    for attribute in Attribute:
        assert attribute_name(attribute).removeprefix("META-").startswith(attribute.name.replace("_", "-")[:12])


@pytest.mark.parametrize(
    ("kind", "method", "name"),
    [
        (0x0001, 1, "binding request"),
        (0x0011, 1, "binding indication"),
        (0x0101, 1, "binding success"),
        (0x0111, 1, "binding error"),
        (0x0003, 3, "allocate request"),
        (0x0113, 3, "allocate error"),
        (0x0016, 6, "send indication"),
        (0x0200, 0x80, "goog-ping request"),
        (0x0300, 0x80, "goog-ping success"),
        (0x3EEF, 0xFFF, "method 0xfff request"),
    ],
)
def test_method_and_class_are_taken_apart(kind: int, method: int, name: str) -> None:
    assert split_kind(kind)[0] == method
    assert message_name(kind) == name
