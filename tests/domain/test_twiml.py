"""TwiML from anybody: what is read, what is refused and how fast, and that the writer is the reader's inverse."""

import contextlib
import time
import typing
from collections.abc import Callable
from dataclasses import fields
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.messaging_response import MessagingResponse
from twilio.twiml.voice_response import VoiceResponse

from maskline.domain.twiml import (
    Dial,
    Gather,
    Hangup,
    Message,
    Number,
    Pause,
    Play,
    Redirect,
    Reject,
    Say,
    TwimlError,
    Verb,
    parse_twiml,
    render_twiml,
    reroute,
    resolve,
)

XML = "application/xml"
BASE = "https://customer.example/hooks/answer?call=1"


def response(inner: str) -> bytes:
    return f"<Response>{inner}</Response>".encode()


def refused(body: bytes, content_type: str = XML) -> tuple[int, str]:
    with pytest.raises(TwimlError) as caught:
        parse_twiml(body, content_type)
    return caught.value.code.number, caught.value.detail


@pytest.mark.parametrize(
    ("inner", "verbs"),
    [
        ("", []),
        ("<Message>Hello</Message>", [Message("Hello")]),
        ("<Sms>Hello</Sms>", [Message("Hello")]),
        (
            (
                '<Message to="+14155550100" from="12345" action="/done" method="get" statusCallback="/told">'
                "\n  <Body> Hello &amp; <![CDATA[<you>]]></Body>\n  <Media>/a</Media><Media>/b</Media></Message>"
            ),
            [
                Message(
                    "Hello & <you>",
                    ("/a", "/b"),
                    to="+14155550100",
                    from_="12345",
                    action="/done",
                    method="GET",
                    status_callback="/told",
                )
            ],
        ),
        ("<Message><Media>/a.png</Media></Message>", [Message(media=("/a.png",))]),
        (
            '<Say voice="alice" language="fr-FR" loop="0">Bonjour</Say>',
            [Say("Bonjour", voice="alice", language="fr-FR", loop=0)],
        ),
        (
            '<Say>One <emphasis level="strong">two</emphasis><break/> three</Say>',
            [Say("One two three")],
        ),
        ('<Play loop="2">/a.mp3</Play><Play digits="ww12#"/>', [Play("/a.mp3", 2), Play(digits="ww12#")]),
        ('<Pause/><Pause length="30"/>', [Pause(), Pause(30)]),
        (
            (
                '<Gather input="speech dtmf" timeout="3" numDigits="4" finishOnKey="" action="/keys" method="GET">'
                "<Say>Code</Say><Play>/a.mp3</Play><Pause/></Gather>"
            ),
            [
                Gather(
                    (Say("Code"), Play("/a.mp3"), Pause()),
                    input=("dtmf", "speech"),
                    timeout_s=3,
                    num_digits=4,
                    finish_on_key="",
                    action="/keys",
                    method="GET",
                )
            ],
        ),
        ("<Gather/>", [Gather()]),
        ('<Redirect method="GET">../again</Redirect><Redirect/>', [Redirect("../again", "GET"), Redirect()]),
        ("<Dial>+14155550100</Dial>", [Dial((Number("+14155550100"),))]),
        (
            (
                '<Dial callerId="+14155550101" timeout="10" timeLimit="3600" action="/over" method="GET"'
                ' hangupOnStar="TRUE" record="do-not-record">'
                '<Number url="/whisper" method="GET" sendDigits="w1" statusCallback="/told"'
                ' statusCallbackEvent="answered initiated">+14155550100</Number><Number>+14155550102</Number></Dial>'
            ),
            [
                Dial(
                    (
                        Number(
                            "+14155550100",
                            url="/whisper",
                            method="GET",
                            send_digits="w1",
                            status_callback="/told",
                            status_callback_event=("initiated", "answered"),
                        ),
                        Number("+14155550102"),
                    ),
                    caller_id="+14155550101",
                    timeout_s=10,
                    time_limit_s=3600,
                    action="/over",
                    method="GET",
                    hangup_on_star=True,
                )
            ],
        ),
        (
            '<Dial sequential="true"><Number>1</Number><Number>2</Number></Dial>',
            [Dial((Number("1"), Number("2")), sequential=True)],
        ),
        ('<Reject/><Reject reason="busy"/><Hangup/>', [Reject(), Reject("busy"), Hangup()]),
        ('<Say bargeIn="x" xmlns:a="b">Unknown attributes are passed over</Say>', None),
        ('<Say loop="">An empty one says nothing</Say>', [Say("An empty one says nothing")]),
        ("<!-- nothing --><?nothing at all?>", []),
    ],
)
def test_the_whole_grammar_is_read(inner: str, verbs: list[Verb] | None) -> None:
    read = parse_twiml(response(inner), XML)
    assert read == (verbs if verbs is not None else [Say("Unknown attributes are passed over")])


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<Record/>", "<Record> is not served: there are no recordings"),
        ('<Dial record="record-from-answer">+14155550100</Dial>', "<Dial record> is not served"),
        ("<Enqueue>queue</Enqueue>", "<Enqueue> is not served"),
        ("<say>Hello</say>", "<say> is not served"),
        (f"<{'a' * 500}/>", f"<{'a' * 30}…> is not served"),
        ("<Dial><Client>joe</Client></Dial>", "<Client> in <Dial> is not served"),
        ("<Dial><Number>1<Say/></Number></Dial>", "<Say> in <Number> is not served"),
        ("<Gather><Dial>1</Dial></Gather>", "<Dial> in <Gather> is not served"),
        ("<Say><Record/></Say>", "<Record> in <Say> is not served: there are no recordings"),
        ("<Pause><Say/></Pause>", "<Say> in <Pause> is not served"),
        ("<Dial/>", "<Dial> has no number"),
        ("<Dial><Number/></Dial>", "<Dial> has no number"),
        ("<Dial>1<Number>2</Number></Dial>", "<Dial> has both text and elements"),
        ("<Message/>", "<Message> has neither a text nor media"),
        ("<Message>a<Body>b</Body></Message>", "<Message> has more than one text"),
        ("<Message><Body>a</Body><Body>b</Body></Message>", "<Message> has more than one text"),
        ("<Message><Body><Media/></Body></Message>", "<Media> in <Body> is not served"),
        ("<Play/>", "<Play> has neither an address nor digits"),
        ("Hello", "there is text outside of every verb"),
        ('<Dial timeout="soon">1</Dial>', "timeout of <Dial> must be a whole number from 1 to 600"),
        ('<Dial timeout="0">1</Dial>', "timeout of <Dial> must be a whole number from 1 to 600"),
        ('<Dial timeout="\u0663">1</Dial>', "timeout of <Dial> must be a whole number from 1 to 600"),
        ('<Dial hangupOnStar="yes">1</Dial>', "hangupOnStar of <Dial> must be true or false"),
        ('<Redirect method="PUT">/</Redirect>', "method of <Redirect> must be one of POST, GET"),
        ('<Reject reason="rude"/>', "reason of <Reject> must be one of rejected, busy"),
        ('<Gather input="nods"/>', "input of <Gather> must be some of dtmf, speech"),
        ('<Gather finishOnKey="x"/>', "finishOnKey of <Gather> must be keys of a telephone"),
        ('<Play digits="12x"/>', "digits of <Play> must be keys of a telephone"),
    ],
)
def test_what_cannot_be_carried_out_is_named(inner: str, said: str) -> None:
    code, detail = refused(response(inner))
    assert code == 12200
    assert detail.startswith(said)


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", XML, "it is empty"),
        (b" \n", XML, "it is empty"),
        (b"\xef\xbb\xbf", XML, "it is empty"),
        (b'"<Response><Say>Hello</Say></Response>"', "application/json", "it is a JSON string"),
        (b"Hello", XML, "line 1: "),
        (b"<Response>", XML, "line 1: "),
        (b"<Response/><Response/>", XML, "line 1: "),
        (b"<Response>\n<Say>&nbsp;</Say></Response>", XML, "line 2: undefined entity"),
        (b'<Response><Say loop="1" loop="2"/></Response>', XML, "line 1: duplicate attribute"),
        (b"<Response>\x00</Response>", XML, "line 1: "),
        (b"<Response>\xff</Response>", XML, "it is not in utf-8"),
        (b"<Response>\xc3\xa9</Response>", "text/xml; charset=us-ascii", "it is not in us-ascii"),
        (b"<Response/>", "text/xml; charset=utf-7", "its charset is none that is read"),
        (b'<?xml version="1.0" encoding="EBCDIC"?><Response/>', XML, "its charset is none that is read"),
        (b"\xff\xfe<\x00", XML, "line 1: "),
        (b"<!DOCTYPE html><html></html>", "text/html", "it has a document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', XML, "it has a document type"),
        (b"<html/>", "text/html", "the document is a <html>"),
        (b"<Response>" + b"<Pause/>" * 500 + b"</Response>", XML, "it has more than 500 elements"),
        (b"<a>" * 9 + b"</a>" * 9, XML, "its elements are nested more than 8 deep"),
        (b"<a>" * 20_000, XML, "its elements are nested more than 8 deep"),
        (b"<Response>" + b" " * 65_536 + b"</Response>", XML, "it has more than 65536 bytes"),
    ],
)
def test_what_is_no_document_is_refused(body: bytes, content_type: str, said: str) -> None:
    code, detail = refused(body, content_type)
    assert code == (12200 if said.startswith("the document") else 12100)
    assert detail.startswith(said)


LAUGHS = '<!DOCTYPE r [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
QUADRATIC = f'<!DOCTYPE r [<!ENTITY a "{"a" * 30_000}">]><Response><Say>{"&a;" * 10_000}</Say></Response>'
OUTSIDE = '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><Response><Say>&a;</Say></Response>'
PARAMETER = '<!DOCTYPE r [<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a;]><Response/>'


@pytest.mark.parametrize(
    "bomb",
    [f"{LAUGHS}]><Response><Say>&i;</Say></Response>", QUADRATIC, OUTSIDE, PARAMETER],
    ids=["laughs", "quadratic", "outside", "parameter"],
)
def test_bombs_do_not_go_off(bomb: str) -> None:
    began = time.process_time()
    code, _ = refused(bomb.encode())
    assert code == 12100
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "body",
    [b"<Response>" + b'<Say a="&lt;">' * 7 + b"x" * 60_000, b"<" + b"a" * 60_000, b"<a " + b"b='' " * 10_000],
    ids=["text", "name", "attributes"],
)
def test_the_largest_is_read_at_once(body: bytes) -> None:
    began = time.process_time()
    assert refused(body)[0] == 12100
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("declared", "content_type", "codec"),
    [
        ("", XML, "utf-8"),
        ("", "text/xml; charset=UTF-8", "utf-8"),
        ("", "text/xml; charset=utf-8", "utf-8-sig"),
        ("", "text/xml; charset=iso-8859-1", "utf-8-sig"),
        ("", 'text/xml;charset="ISO-8859-1"', "latin-1"),
        ("iso-8859-1", XML, "latin-1"),
        ("windows-1252", "text/xml; charset=utf-8", "utf-8"),
        ("utf-16", XML, "utf-16"),
        ("utf-8", "text/xml; charset=utf-16", "utf-16"),
        ("utf-16", XML, "utf-16-le"),
        ("utf-16", XML, "utf-16-be"),
        ("windows-1252", XML, "cp1252"),
    ],
)
def test_the_charset_is_the_marks_then_the_headers_then_the_declarations(
    declared: str, content_type: str, codec: str
) -> None:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    body = f"{declaration}<Response><Say>Zoë naïve</Say></Response>".encode(codec)
    assert parse_twiml(body, content_type) == [Say("Zoë naïve")]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.text(max_size=60))
def test_anything_is_read_or_refused(body: bytes, content_type: str) -> None:
    for each in (body, b"<Response>" + body + b"</Response>"):
        with contextlib.suppress(TwimlError):
            parse_twiml(each, content_type)


CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
TEXT = st.text(CHARACTERS | st.sampled_from('<>&"\t\r\n'), min_size=1, max_size=20).filter(
    lambda text: text == text.strip(" \t\r\n")
)
DIGITS = st.text(st.sampled_from("0123456789*#"), max_size=4)


def elements(kind: type, **content: st.SearchStrategy[object]) -> st.SearchStrategy[typing.Any]:
    """Any element of this kind: `content`, and attributes by what each may be."""
    hints = typing.get_type_hints(kind)

    def values(name: str, default: object) -> st.SearchStrategy[object]:
        match name:
            case "method" | "status_callback_method":
                return st.sampled_from(["POST", "GET"])
            case "reason":
                return st.sampled_from(["rejected", "busy"])
            case "input":
                return st.sampled_from([("dtmf",), ("speech",), ("dtmf", "speech")])
            case "status_callback_event":
                return st.sampled_from([("completed",), ("initiated", "ringing", "answered", "completed")])
            case "digits" | "send_digits" | "finish_on_key":
                return DIGITS
        if hints[name] is bool:
            return st.booleans()
        if hints[name] in (int, int | None):
            return st.integers(1, 600) | st.just(default)
        return TEXT | st.just(default)

    given_too = {f.name: values(f.name, f.default) for f in fields(kind) if f.name not in content}
    return st.builds(kind, **content, **given_too)


PROMPTS = elements(Say, text=TEXT) | elements(Play, url=TEXT) | elements(Pause)
VERBS = st.one_of(
    PROMPTS,
    elements(Gather, prompts=st.lists(PROMPTS, max_size=3).map(tuple)),
    elements(Dial, numbers=st.lists(elements(Number, number=TEXT), min_size=1, max_size=3).map(tuple)),
    elements(Redirect, url=TEXT | st.just("")),
    elements(Message, body=TEXT, media=st.lists(TEXT, max_size=2).map(tuple)),
    elements(Reject),
    st.just(Hangup()),
)


@given(st.lists(VERBS, max_size=5))
def test_the_reader_is_the_inverse_of_the_writer(verbs: list[Verb]) -> None:
    written = render_twiml(verbs)
    assert parse_twiml(written, XML) == verbs
    assert ET.fromstring(written).tag == "Response"  # noqa: S314  (another reader agrees)


@given(st.text(max_size=50))
def test_what_xml_cannot_hold_is_left_out(text: str) -> None:
    (said,) = parse_twiml(render_twiml([Say(f"a{text}b", voice=f"c{text}")]), XML)
    assert isinstance(said, Say) and said.text.startswith("a") and said.text.endswith("b")


def test_an_empty_answer_is_twilios() -> None:
    assert render_twiml([]) == b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


def by_twilio(write: Callable[[VoiceResponse], object]) -> list[Verb]:
    answer = VoiceResponse()
    write(answer)
    return parse_twiml(str(answer).encode(), XML)


def test_what_twilios_own_library_writes_is_read() -> None:
    assert by_twilio(lambda answer: answer.dial("+14155550100", caller_id="+14155550101", time_limit=60)) == [
        Dial((Number("+14155550100"),), caller_id="+14155550101", time_limit_s=60)
    ]
    assert by_twilio(lambda answer: answer.gather(num_digits=1, action="/keys").say("Press one")) == [
        Gather((Say("Press one"),), num_digits=1, action="/keys")
    ]
    assert by_twilio(lambda answer: answer.reject(reason="busy")) == [Reject("busy")]
    texts = MessagingResponse()
    texts.message("Sorry").media("https://customer.example/a.png")
    texts.redirect("/next")
    assert parse_twiml(str(texts).encode(), XML) == [
        Message("Sorry", ("https://customer.example/a.png",)),
        Redirect("/next"),
    ]


def test_addresses_are_completed_from_where_they_were_written() -> None:
    inner = (
        '<Gather><Play>a.mp3</Play></Gather><Gather action="/keys"/><Redirect>?again=1</Redirect><Redirect/>'
        '<Dial action="over"><Number url="//other.example/w" statusCallback="http://x.example/">1</Number></Dial>'
        '<Message action="https://x.example/"><Body>a</Body><Media>/m</Media></Message><Hangup/>'
    )
    assert resolve(parse_twiml(response(inner), XML), BASE) == [
        Gather((Play("https://customer.example/hooks/a.mp3"),), action=BASE),
        Gather(action="https://customer.example/keys"),
        Redirect("https://customer.example/hooks/answer?again=1"),
        Redirect(BASE),
        Dial(
            (Number("1", url="https://other.example/w", status_callback="http://x.example/"),),
            action="https://customer.example/hooks/over",
        ),
        Message("a", ("https://customer.example/m",), action="https://x.example/"),
        Hangup(),
    ]


def test_every_address_that_is_asked_can_be_led_through_another() -> None:
    inner = (
        '<Gather action="/keys" method="GET"><Play>/a.mp3</Play></Gather><Gather/><Play>/b.mp3</Play>'
        "<Redirect>/next</Redirect><Dial>1</Dial>"
        '<Dial action="/over"><Number url="/w" method="GET" statusCallback="/s">1</Number><Number>2</Number></Dial>'
    )
    root = "https://customer.example"
    verbs = resolve(parse_twiml(response(inner), XML), BASE)
    assert reroute(verbs, lambda method, url, asks: f"{method if asks else 'TELL'}:{url}") == [
        Gather((Play(f"{root}/a.mp3"),), action=f"GET:{root}/keys"),
        Gather(action=f"POST:{BASE}"),
        Play(f"{root}/b.mp3"),
        Redirect(f"POST:{root}/next"),
        Dial((Number("1"),)),
        Dial(
            (Number("1", url=f"GET:{root}/w", status_callback=f"TELL:{root}/s"), Number("2")),
            action=f"POST:{root}/over",
        ),
    ]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "http://[",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "javascript:0",
            "tel:+14155550100",
            "http:///x",
        ),
        "http://caf\u00e9..example/",
    ],
)
@pytest.mark.parametrize(
    "inner",
    [
        "<Redirect>{}</Redirect>",
        "<Play>{}</Play>",
        '<Gather action="{}"/>',
        "<Gather><Play>{}</Play></Gather>",
        '<Dial><Number statusCallback="{}">1</Number></Dial>',
        "<Message><Media>{}</Media></Message>",
    ],
)
def test_an_address_that_nobody_is_to_be_led_to_is_refused(inner: str, address: str) -> None:
    """Whoever carries it out may reach more by other schemes than a server: files of its own."""
    with pytest.raises(TwimlError) as caught:
        resolve(parse_twiml(response(inner.format(address)), XML), BASE)
    assert caught.value.code.number == 12200
    assert address not in caught.value.detail
