"""What may stand in the directory, and what is told of anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.directory import Address, Unreadable, read_abilities, read_address
from maskline.domain.model import NumberKind

PHONE, SHORT_CODE, CHANNEL = NumberKind.PHONE, NumberKind.SHORT_CODE, NumberKind.CHANNEL


@pytest.mark.parametrize(
    ("text", "country", "address"),
    [
        ("+14155550100", None, Address(PHONE, "+14155550100", "US", 1)),
        (" +442079460000 ", "gb", Address(PHONE, "+442079460000", "GB", 44)),
        ("+5215555550100", None, Address(PHONE, "+525555550100", "MX", 52)),
        ("72345", "US", Address(SHORT_CODE, "72345", "US", 1)),
        (" 88222 ", "gb", Address(SHORT_CODE, "88222", "GB", 44)),
        ("123", "DE", Address(SHORT_CODE, "123", "DE", 49)),
        ("WhatsApp:+14155238886", None, Address(CHANNEL, "whatsapp:+14155238886", None, 0)),
        ("messenger:1234567890", None, Address(CHANNEL, "messenger:1234567890", None, 0)),
    ],
)
def test_each_kind_is_read(text: str, country: str | None, address: Address) -> None:
    assert read_address(text, country) == address


@pytest.mark.parametrize(
    ("text", "country", "said"),
    [
        ("", None, "E.164"),
        ("+1415", None, "E.164"),
        ("+15551234567", None, "E.164"),
        ("14155550100", None, "E.164"),
        ("12", "US", "E.164"),
        ("Shop", None, "E.164"),
        ("+14155550100", "GB", "not of country GB"),
        ("72345", None, "needs its country"),
        ("72345", "XX", "ISO 3166"),
        ("72345", "USA", "ISO 3166"),
        ("tel:+14155550100", None, "no address of a known channel"),
        ("sip:ann@example.com", None, "no address of a known channel"),
        ("whatsapp:", None, "no address of a known channel"),
        ("whatsapp:+1415", None, "no address of a known channel"),
        ("whatsapp:+14155238886", "US", "has no country"),
    ],
)
def test_what_can_stand_there_in_no_way_is_told_why(text: str, country: str | None, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_address(text, country)


@given(st.text(), st.none() | st.text(max_size=3))
def test_no_text_is_our_fault(text: str, country: str | None) -> None:
    try:
        address = read_address(text, country)
    except Unreadable:
        return
    # What is stored is read as itself.
    assert read_address(address.value, address.country) == address


@given(st.text(alphabet="+0123456789:aZ ", max_size=16))
def test_a_kind_can_be_told_by_its_value(text: str) -> None:
    try:
        address = read_address(text, "US" if text.strip().isdigit() else None)
    except Unreadable:
        return
    assert (address.value[0] == "+") == (address.kind is PHONE)
    assert (":" in address.value) == (address.kind is CHANNEL)


def test_a_kind_can_what_it_can_unless_told_otherwise() -> None:
    said = {"voice": None, "sms": None, "mms": None}
    assert read_abilities(PHONE, said) == {"voice": True, "sms": True, "mms": True}
    assert read_abilities(SHORT_CODE, said) == {"voice": False, "sms": True, "mms": False}
    assert read_abilities(CHANNEL, said) == {"voice": False, "sms": True, "mms": True}
    assert read_abilities(PHONE, {**said, "voice": False}) == {"voice": False, "sms": True, "mms": True}
    assert read_abilities(SHORT_CODE, {**said, "mms": True})["mms"] is True


@pytest.mark.parametrize("kind", [SHORT_CODE, CHANNEL])
def test_only_a_phone_number_takes_calls(kind: NumberKind) -> None:
    assert read_abilities(kind, {"voice": False})["voice"] is False
    with pytest.raises(Unreadable, match="calls"):
        read_abilities(kind, {"voice": True})
