"""Reading numbers, the key they are matched by, and the mask that hides them."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskline.domain.phone import (
    country_of,
    dial_form,
    identifier_key,
    is_caller,
    mask,
    mobile_form,
    parse_phone,
)

DIGITS = st.text("0123456789", max_size=20)
NUMBERS = st.builds(
    "{}{}".format, st.sampled_from(["+", " ", "", "+1", "+52", "+521", "+549", "+44"]), DIGITS
)
SCHEMES = st.sampled_from(["", "whatsapp:", "WhatsApp:", "messenger:", " sms:", "x:y:"])
ADDRESSES = st.text() | NUMBERS | st.builds("{}{}".format, SCHEMES, st.text() | NUMBERS)


@pytest.mark.parametrize(
    ("text", "country", "calling_code"),
    [
        ("+14155550100", "US", 1),
        ("+14165550100", "CA", 1),
        ("+12684641234", "AG", 1),
        ("+18005550199", "US", 1),
        ("+15005550006", "US", 1),
        ("+442071838750", "GB", 44),
        ("+441534123456", "JE", 44),
        ("+390612345678", "IT", 39),
        ("+77011234567", "KZ", 7),
        ("+431234567", "AT", 43),
        ("+80012345678", None, 800),
    ],
)
def test_a_valid_number_is_read_with_its_country(text: str, country: str | None, calling_code: int) -> None:
    """A valid number tells its country, which is None for the codes of no country."""
    phone = parse_phone(text)
    assert phone is not None
    assert (phone.e164, phone.country, phone.calling_code) == (text, country, calling_code)
    assert country_of(text) == country


@pytest.mark.parametrize(
    "text",
    [
        "+15551234567",  # no such area code: what Twilio refuses too
        "+12680000000",
        "+999123456",  # no such calling code
        "14155550100",
        "4155550100",
        "+1 415 555 0100",
        "+1-415-555-0100",
        "+14155550100 ",
        "\t+14155550100",
        "+14155550100\n",
        "  14155550100",
        " +14155550100",
        "++14155550100",
        "+14155550100;ext=5",
        "tel:+14155550100",
        "whatsapp:+14155550100",
        "+4402071838750",  # a trunk zero
        "+44(0)2071838750",
        "+5422315423456",  # Argentina's domestic 15
        "+1415555010\N{DEVANAGARI DIGIT ZERO}",
        "+١٤١٥٥٥٥٠١٠٠",
        "\N{FULLWIDTH PLUS SIGN}14155550100",
        "+1234567890123456",
        "+",
        "",
        "ACME",
        "12345",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is not E.164, or not valid in its country, is no phone number, and has no country."""
    assert parse_phone(text) is None
    assert country_of(text) is None


@pytest.mark.parametrize(
    ("text", "calling_code"),
    [("+15551234567", 1), ("+14155550100", 1), ("+442079990000000", None), ("+999123456", None)],
)
def test_a_possible_number_need_not_be_valid(text: str, calling_code: int | None) -> None:
    """It has the length and the calling code of a number; one that is not valid has no country."""
    phone = parse_phone(text, possible=True)
    assert (phone and phone.calling_code) == calling_code
    assert phone is None or phone.country == country_of(text)


def test_an_unencoded_plus_is_read() -> None:
    """A space followed by digits is the plus sign that a client did not encode."""
    assert parse_phone(" 14155550100") == parse_phone("+14155550100") is not None
    assert identifier_key(" 14155550100") == "+14155550100"


@pytest.mark.parametrize(
    ("text", "key", "country"),
    [
        ("+5215512345678", "+525512345678", "MX"),
        ("+525512345678", "+525512345678", "MX"),
        ("+5491123456789", "+541123456789", "AR"),
        ("+541123456789", "+541123456789", "AR"),
        (" 5215512345678", "+525512345678", "MX"),
    ],
)
def test_a_mobile_digit_is_left_out(text: str, key: str, country: str) -> None:
    """Mexican and Argentine numbers are one number with and without their mobile digit."""
    phone = parse_phone(text)
    assert phone is not None
    assert (phone.e164, phone.country) == (key, country)
    assert identifier_key(text) == key


def test_a_number_that_is_valid_only_with_its_mobile_digit_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our key leaves the digit out, so a numbering plan that asks for it must not make the number invalid."""

    def is_valid_mobile(number: phonenumbers.PhoneNumber) -> bool:
        return f"{number.national_number}".startswith("9")

    monkeypatch.setattr(phonenumbers, "is_valid_number", is_valid_mobile)
    phone = parse_phone("+542995707049")
    assert phone is not None
    assert (phone.e164, phone.country) == ("+542995707049", "AR")


@pytest.mark.parametrize("text", ["+52155512345", "+521555123456789", "+5491112345", "+1521551234567"])
def test_a_mobile_digit_is_looked_for_only_where_one_can_be(text: str) -> None:
    """The country rules leave numbers of other lengths and of other countries alone."""
    assert identifier_key(text) == text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("+14155550100", "+14155550100"),
        ("+15551234567", "+15551234567"),  # a sender need not be valid
        (" +14155550100 ", "+14155550100"),
        ("12345", "12345"),
        (" 12345", "12345"),
        ("ACME Shop ", "ACME Shop"),
        ("whatsapp:+14155550100", "whatsapp:+14155550100"),
        ("WhatsApp:+5215512345678", "whatsapp:+525512345678"),
        ("whatsapp: 14155550100", "whatsapp:+14155550100"),
        ("Messenger:AbC123", "messenger:AbC123"),
        ("messenger: AbC123 ", "messenger:AbC123"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_the_key(text: str, key: str) -> None:
    """Numbers are matched in E.164 form, channel addresses with a lower-case scheme, everything else as it is."""
    assert identifier_key(text) == key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+14155550134", "+1…34"),
        ("+447700900112", "+44…12"),
        ("+380671234567", "+380…67"),
        ("whatsapp:+14155550134", "whatsapp:+1…34"),
        ("messenger:987654532", "messenger:…32"),
        ("messenger:12", "messenger:…"),
        ("+999123456", "…56"),  # no such calling code
        ("+1234567890123456", "…56"),  # too long for a number
        ("14155550134", "…34"),
        ("12345", "…45"),
        ("1234", "…"),
        ("+12345", "+1…"),
        ("ACME Shop", "…op"),
        ("", "…"),
    ],
)
def test_the_mask(text: str, shown: str) -> None:
    """A mask shows the country code and the last two digits, and no digits of what is short."""
    assert mask(text) == shown


ALL = '{"mexico_prefix": "on", "argentina_prefix": "on"}'


@pytest.mark.parametrize(
    ("key", "stored", "called", "texted"),
    [
        ("+525512345678", "{}", "+525512345678", "+525512345678"),
        ("+525512345678", ALL, "+5215512345678", "+5215512345678"),
        ("+541123456789", "{}", "+5491123456789", "+541123456789"),
        ("+541123456789", ALL, "+5491123456789", "+5491123456789"),
        ("+541123456789", '{"argentina_prefix": "off"}', "+541123456789", "+541123456789"),
        ("+542231234567", "{}", "+5492231234567", "+542231234567"),  # in no numbering plan that we have
        ("+548001234567", ALL, "+548001234567", "+548001234567"),  # toll-free
        ("+528001234567", ALL, "+528001234567", "+528001234567"),
        ("+5255123", ALL, "+5255123", "+5255123"),
        ("+14155550100", ALL, "+14155550100", "+14155550100"),
        ("whatsapp:+541123456789", ALL, "whatsapp:+541123456789", "whatsapp:+541123456789"),
    ],
)
def test_a_mobile_digit_is_dialled_where_the_service_says_so(
    key: str, stored: str, called: str, texted: str
) -> None:
    assert (dial_form(key, "voice", stored), dial_form(key, "message", stored)) == (called, texted)


PREFIXED = st.builds(
    "{}{}".format, st.sampled_from(["+52", "+54"]), st.text("0123456789", min_size=9, max_size=11)
)


@given(PREFIXED | ADDRESSES, st.sampled_from(["message", "voice"]), st.sampled_from(["{}", ALL]))
@example("+52abcdefghij", "message", ALL)
@example("+521512345678", "message", ALL)
@example("+549112345678", "voice", ALL)
def test_matching_is_the_inverse_of_dialling(text: str, interaction_type: str, stored: str) -> None:
    """Whoever is reached at a number is found by it when they answer, however it was dialled."""
    key = identifier_key(text)
    assert identifier_key(dial_form(key, interaction_type, stored)) == key
    assert identifier_key(mobile_form(key)) == key


@given(ADDRESSES)
@example("+52155123456781")
@example(" 1:  5215512345678")
def test_the_key_of_a_key_is_itself(text: str) -> None:
    """A key can be looked up as it is: making it again changes nothing."""
    assert identifier_key(identifier_key(text)) == identifier_key(text)


@given(ADDRESSES)
def test_reading_never_raises(text: str) -> None:
    """Any text is a number or None; a number is matched by what it was read as, and read again the same."""
    phone = parse_phone(text)
    if phone:
        assert phone.e164 == identifier_key(text)
        assert parse_phone(phone.e164) == phone
        assert text[1:].isascii()
        assert text[1:].isdigit()


@given(st.sampled_from(["", "+", "whatsapp:", "whatsapp:+", "sms:"]), DIGITS)
def test_the_mask_reveals_no_more_than_the_country_code_and_two_digits(before: str, digits: str) -> None:
    """What a mask shows of a number is a calling code at its front and two digits at its end, never all of it."""
    scheme, plus = before.removesuffix("+"), before.endswith("+")
    shown = mask(before + digits)
    assert shown.startswith(scheme)
    front, hidden, back = shown.removeprefix(scheme).partition("…")
    assert hidden
    assert front == "" or (plus and int(front[1:]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    assert digits.startswith(front.removeprefix("+"))
    assert back == "" or (len(back) == 2 and digits.endswith(back) and len(digits) >= len(front) + 2)


@pytest.mark.parametrize("word", ["ANONYMOUS", "RESTRICTED", "BLOCKED", "UNKNOWN", "UNAVAILABLE"])
def test_who_hides_their_number_is_no_caller_who_can_be_known_again(word: str) -> None:
    keys = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999", strict=True))
    spelled = "+" + "".join(keys[letter] for letter in word)
    assert not any(is_caller(key) for key in (word, word.lower(), spelled, ""))
    assert all(is_caller(key) for key in ("+12125550110", "+15555555555", "+5215512345678"))


@given(st.text())
def test_the_mask_of_any_text_shows_two_characters(text: str) -> None:
    """Even of a text that is no address, at most the last two characters are shown, and a scheme."""
    _, hidden, back = mask(text).rpartition("…")
    assert hidden
    assert len(back) <= 2
