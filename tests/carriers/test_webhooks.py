"""What comes to an account's addresses, whatever its vendor: bodies that are JSON."""

import pytest

from maskline.carriers.webhooks import Unreadable, WebRequest, required_at, text_at


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
        b'{"a": "\xff"}',
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
