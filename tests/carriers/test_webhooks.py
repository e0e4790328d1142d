"""What comes to an account's addresses, whatever its vendor: bodies that are JSON or a form."""

import base64
import hmac
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers import plivo_signature
from maskline.carriers.vonage_signature import sign_fields
from maskline.carriers.webhooks import (
    FORM,
    KEPT,
    NotSigned,
    Unreadable,
    WebRequest,
    readable,
    required_at,
    text_at,
)
from maskline.domain import signature


def request(body: bytes) -> WebRequest:
    return WebRequest(("message",), "https://masked.test/carriers/north/message", {}, body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b"{",
        b'{"a": 1} x',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable, match="no JSON object"):
        request(body).json()


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1]", b"[{}, []]", b"[{}", b"[" * 100_000])
def test_a_body_that_is_no_list_of_objects_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable, match="no JSON list of objects"):
        request(body).json_list()


def test_a_list_of_objects_is_read() -> None:
    assert request(b'[{"a": 1}, {}]').json_list() == [{"a": 1}, {}]
    assert request(b'[{"a": "x\\u0000y"}]').json_list() == [{"a": "xy"}]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"na\xefve", "naïve"),
        ("5 €, na".encode() + b"\xefve", "5 €, na\ufffdve"),
        (b"\xf0\x9f\x98\x80 \xf0\x9f\x98", "😀 \ufffd"),
        (b"x\xed\xa0\xbdy\xc2\xa9", "x\ufffd\ufffd\ufffdy©"),
    ],
)
def test_json_that_is_no_utf_8_is_read_as_it_may_have_been_meant(said: bytes, read: str) -> None:
    assert request(b'{"a": "%s", "%s": [1]}' % (said, said)).json() == {"a": read, read: [1]}
    assert request(b'[{"a": "%s"}]' % said).json_list() == [{"a": read}]


def test_json_whose_fields_are_signed_is_read_as_it_came() -> None:
    signed = request(b'{"b": "na\xefve", "a": "x\\u0000y\\ud83d", "n": 5}').json_as_signed()
    assert signed == {"b": "na\udcefve", "a": "x\0y\ufffd", "n": 5}
    by_vonage = hmac.digest(b"key", b"&b=na\xefve", "sha256")
    assert sign_fields({"b": signed["b"]}, "key", "sha256") == by_vonage.hex()
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": %s}' % (b"9" * 5000)):
        with pytest.raises(NotSigned, match="no JSON object"):
            request(body).json_as_signed()


def test_a_null_is_left_out_wherever_it_stands() -> None:
    body = b'{"a": "x\\u0000y", "b": ["\\u0000"], "c": {"d": [{"e": "\\u0000"}]}, "f": 1}'
    assert request(body).json() == {"a": "xy", "b": [""], "c": {"d": [{"e": ""}]}, "f": 1}


def test_what_only_looks_like_a_null_is_text() -> None:
    assert request(b'{"a": "\\\\u0000", "b": [1, null, true]}').json()["a"] == "\\u0000"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (rb"x\ud800y", "x\ufffdy"),
        (rb"\uDBFF", "\ufffd"),
        (rb"\udc00\uD83D\uDE00\udfff", "\ufffd😀\ufffd"),
        (rb"\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
        (rb"\\ud83d\\\ude00 \ud7ff\ue000", "\\ud83d\\\ufffd \ud7ff\ue000"),
    ],
)
def test_half_a_character_is_kept_as_one_that_is_not_known(said: bytes, read: str) -> None:
    assert request(b'{"a": "%s", "%s": [1]}' % (said, said)).json() == {"a": read, read: [1]}
    assert request(b'[{"a": "%s"}]' % said).json_list() == [{"a": read}]


def form_of(body: bytes) -> list[tuple[str, str]]:
    return WebRequest(("message",), "https://masked.test/", {"content-type": FORM}, body).form()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"na%C3%AFve+%F0%9F%98%80", "naïve 😀"),
        (b"na\xc3\xafve", "naïve"),
        (b"na\xc3%AFve", "naïve"),
        (b"na%EFve", "naïve"),
        (b"na\xefve", "naïve"),
        (b"5+%80", "5 €"),
        (b"%F0%9F%98%80%20%F0%9F%98", "😀 \ufffd"),  # cut in the midst of a character
        (b"%81", "\ufffd"),
    ],
)
def test_a_form_that_is_no_utf_8_is_read_as_it_may_have_been_meant(said: bytes, read: str) -> None:
    assert readable(form_of(b"Text=" + said + b"&" + said + b"=1")) == {"Text": read, read: "1"}


PIECES = [
    *(b"%", b"=", b"+", b"\n", b"\r\n", b" ", b"\t", b"&", b"_", b"."),
    b"\xe2\x82\xac",
    b"\xff",
    b"a",
    b"4",
    b"%0a",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join))
def test_a_form_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    read = parse_qsl(body.decode("ascii", KEPT), keep_blank_values=True, errors=KEPT)
    bytewise = [tuple(text.encode("utf-8", KEPT) for text in field) for field in read]
    assert [tuple(text.encode("utf-8", KEPT) for text in field) for field in form_of(body)] == bytewise


def test_what_is_no_utf_8_is_signed_as_it_came() -> None:
    fields, url = form_of(b"To=1&Text=na%EFve"), "https://masked.test/"
    by_twilio = hmac.digest(b"key", b"https://masked.test/Textna\xefveTo1", "sha1")
    assert signature.check("key", url, fields, base64.b64encode(by_twilio).decode())
    by_plivo = hmac.digest(b"key", b"https://masked.test/?Textna\xefveTo1.7", "sha256")
    assert plivo_signature.sign("key", url, fields, "7") == base64.b64encode(by_plivo).decode()
    by_vonage = hmac.digest(b"key", b"&Text=na\xefve&To=1", "sha256")
    assert sign_fields(dict(fields), "key", "sha256") == by_vonage.hex()


def test_a_text_is_found_where_it_stands() -> None:
    said = request('{"to": [{"number": "é"}], "n": 1, "empty": "", "text": "xyz"}'.encode()).json()
    assert text_at(said, "to", 0, "number") == required_at(said, "to", 0, "number", most=1) == "é"
    for place in [("n",), ("to",), ("to", 1, "number"), ("text", "x"), ("n", "x"), ("nothing", 0)]:
        assert text_at(said, *place) == ""
    with pytest.raises(Unreadable, match=r"^to\.1\.number is required$"):
        required_at(said, "to", 1, "number", most=9)
    with pytest.raises(Unreadable, match=r"^empty is required$"):
        required_at(said, "empty", most=9)
    with pytest.raises(Unreadable, match=r"^text \(at most 2 characters\)$"):
        required_at(said, "text", most=2)
