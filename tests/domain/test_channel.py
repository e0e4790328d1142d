"""Channel addresses: which are some, and the key that they are matched by."""

import pytest

from maskline.domain.channel import parse_channel, scheme_of


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("whatsapp:+14155550100", "whatsapp:+14155550100"),
        ("WhatsApp:+14155550100", "whatsapp:+14155550100"),
        ("whatsapp: 14155550100", "whatsapp:+14155550100"),
        ("whatsapp:+5215512345678", "whatsapp:+525512345678"),
        ("messenger:123456", "messenger:123456"),
        ("MESSENGER:My.Page_1-x", "messenger:My.Page_1-x"),
    ],
)
def test_a_channel_address_has_one_key_in_every_spelling(text: str, key: str) -> None:
    assert parse_channel(text) == key
    assert parse_channel(key) == key
    assert scheme_of(key) == key.split(":", maxsplit=1)[0]


@pytest.mark.parametrize(
    "text",
    [
        "+14155550100",
        "14155550100",
        "72345",
        "",
        ":",
        ":+14155550100",
        "whatsapp:",
        "whatsapp:14155550100",
        "whatsapp:+15551234567",
        "whatsapp:+1 415 555 0100",
        "whatsapp:+14155550100\n",
        "whatsapp:whatsapp:+14155550100",
        "whatsapp:somebody",
        "messenger:",
        "messenger: 123",
        "messenger:1 2",
        "messenger:a:b",
        "messenger:é",
        " messenger:123",
        "sms:+14155550100",
        "tel:+14155550100",
        "sip:ann@example.com",
        "telegram:ann",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_channel(text) is None


def test_a_number_is_of_no_channel() -> None:
    assert scheme_of("+14155550100") == scheme_of("72345") == ""
