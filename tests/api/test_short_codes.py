"""Short codes in the pool: in by their SID, chosen for texts, listed apart from the phone numbers."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.world import fresh_number, make_service

Carry = Callable[..., str]


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def joined(api: CheckedApi, service: Any, sid: str, **form: Any) -> Any:
    return api.make(service["links"]["short_codes"], {"Sid": sid, **form})


def text_only(api: CheckedApi, service: Any, **participant: str) -> Any:
    """A participant of a new message-only Session."""
    session = api.make(service["links"]["sessions"], {"Mode": "message-only"})
    return api.post(session["links"]["participants"], {"Identifier": fresh_number("212"), **participant})


def test_a_short_code_joins_with_all_that_is_known_of_it(api: CheckedApi, carry_code: Carry) -> None:
    service, sid = make_service(api, 0), carry_code("70001")
    made = joined(api, service, "SC" + sid[2:].upper())
    assert (made["sid"], made["short_code"], made["iso_country"]) == (sid, "70001", "US")
    assert made["is_reserved"] is False
    able = made["capabilities"]
    assert {name: able[name] for name in ("sms", "mms", "voice", "fax")} == {
        "sms": True,
        "mms": False,
        "voice": False,
        "fax": False,
    }
    assert api.get(made["url"]).json == made
    assert api.get(service["links"]["short_codes"]).json["short_codes"] == [made]


def test_each_list_has_its_own_kind(api: CheckedApi, carry_code: Carry) -> None:
    service = make_service(api, 1)
    code = joined(api, service, carry_code("70002"))
    (number,) = api.get(service["links"]["phone_numbers"]).json["phone_numbers"]
    assert api.get(service["links"]["short_codes"]).json["short_codes"] == [code]
    # Nor is one found under the other's path.
    for path, foreign, code_ in (
        ("phone_numbers", code["sid"], 80407),
        ("short_codes", number["sid"], 20404),
    ):
        reply = api.get(f"{service['links'][path]}/{foreign}")
        assert refused(reply, code_, 400 if code_ == 80407 else 404)


def test_reserving_and_removing(api: CheckedApi, carry_code: Carry) -> None:
    service, sid = make_service(api, 0), carry_code("70003")
    made = joined(api, service, sid, IsReserved="true")
    assert made["is_reserved"] is True
    assert api.make(made["url"], {"IsReserved": "false"})["is_reserved"] is False
    assert refused(api.post(made["url"], {"IsReserved": "perhaps"}), 80701)
    assert api.delete(made["url"]).status == 204
    for reply in (api.get(made["url"]), api.delete(made["url"]), api.post(made["url"])):
        assert refused(reply, 20404, 404)
    assert joined(api, make_service(api, 0), sid)["sid"] == sid


def test_a_short_code_is_in_one_pool_once(api: CheckedApi, stranger: CheckedApi, carry_code: Carry) -> None:
    first, second, sid = make_service(api, 0), make_service(api, 0), carry_code("70004")
    joined(api, first, sid)
    assert refused(api.post(first["links"]["short_codes"], {"Sid": sid}), 80105)
    assert refused(api.post(second["links"]["short_codes"], {"Sid": sid}), 80101)
    theirs = make_service(stranger, 0)["links"]["short_codes"]
    assert refused(stranger.post(theirs, {"Sid": sid}), 80303)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 80701),
        ({"Sid": ""}, 80701),
        ({"Sid": "SC1"}, 80701),
        ({"Sid": "PN" + "0" * 32}, 80701),
        ({"ShortCode": "72345"}, 80701),
        ({"Sid": "SC" + "0" * 32}, 80303),
        ({"Sid": "SC" + "0" * 32, "IsReserved": "x"}, 80701),
    ],
)
def test_a_sid_of_the_account_is_needed(api: CheckedApi, form: dict[str, str], code: int) -> None:
    path = make_service(api, 0)["links"]["short_codes"]
    assert refused(api.post(path, form), code)
    assert api.get(path).json["short_codes"] == []


@pytest.mark.parametrize("wrong", ["SC1", "PN" + "0" * 32, "SC" + "g" * 32, "SC" + "0" * 32])
def test_what_is_no_short_code_of_the_pool_is_not_found(api: CheckedApi, wrong: str) -> None:
    path = f"{make_service(api, 0)['links']['short_codes']}/{wrong}"
    for reply in (api.get(path), api.post(path), api.delete(path)):
        assert refused(reply, 20404, 404)


def test_the_same_key_gives_the_same_answer(api: CheckedApi, carry_code: Carry) -> None:
    service, sid = make_service(api, 0), carry_code("70005")
    headers = {"Idempotency-Key": "short code"}
    first, again = (
        api.post(service["links"]["short_codes"], {"Sid": sid}, headers=headers) for _ in range(2)
    )
    assert (first.status, again.status) == (201, 201)
    assert first.json == again.json
    assert again.headers["idempotent-replayed"] == "true"


def test_it_is_chosen_for_texts_and_never_for_calls(api: CheckedApi, carry_code: Carry) -> None:
    service, sid = make_service(api, 0), carry_code("70006")
    code = joined(api, service, sid)
    made = text_only(api, service).json
    assert (made["proxy_identifier"], made["proxy_identifier_sid"]) == ("70006", sid)
    for mode in ("voice-only", "voice-and-message"):
        session = api.make(service["links"]["sessions"], {"Mode": mode})
        reply = api.post(session["links"]["participants"], {"Identifier": fresh_number("212")})
        assert refused(reply, 80201)
    assert refused(api.delete(code["url"]), 80611)


@pytest.mark.parametrize("named", [{"ProxyIdentifier": "70007"}, {"ProxyIdentifierSid": "{sid}"}])
def test_it_can_be_asked_for(api: CheckedApi, carry_code: Carry, named: dict[str, str]) -> None:
    service = make_service(api, 1)
    reply = text_only(api, service, ProxyIdentifierSid="SC" + "0" * 32)
    assert refused(reply, 80303)
    digits = f"7{fresh_number()[-5:]}"
    sid = carry_code(digits)
    joined(api, service, sid, IsReserved="true")
    form = {key: value.format(sid=sid).replace("70007", digits) for key, value in named.items()}
    made = text_only(api, service, **form).json
    assert (made["proxy_identifier"], made["proxy_identifier_sid"]) == (digits, sid)


def test_handsets_write_to_each_other_over_it(api: CheckedApi, carry_code: Carry) -> None:
    service = make_service(api, 0)
    joined(api, service, carry_code("70008"))
    session = api.make(service["links"]["sessions"], {"Mode": "message-only"})
    ann, ben = (
        api.make(session["links"]["participants"], {"Identifier": fresh_number("212")}) for _ in range(2)
    )
    form = {"From": ann["identifier"], "To": "70008", "Body": "over a short code"}
    api.make("/sandbox/messages", form)
    to_ben = f"/sandbox/messages?To=%2B{ben['identifier'][1:]}"
    seen: list[Any] = []
    while not seen:
        seen = api.get(to_ben).json["messages"]
    assert (seen[0]["from"], seen[0]["body"]) == ("70008", "over a short code")


def test_a_service_that_matches_by_area_chooses_none(api: CheckedApi, carry_code: Carry) -> None:
    service = make_service(api, 0, GeoMatchLevel="area-code")
    joined(api, service, carry_code("70009"))
    assert refused(text_only(api, service), 80206)
    api.make(f"/v1/Services/{service['sid']}/Settings", {"GeoFallback": "on"})
    assert text_only(api, service).json["proxy_identifier"] == "70009"


def test_the_list_pages(api: CheckedApi, carry_code: Carry) -> None:
    service = make_service(api, 2)
    made = [joined(api, service, carry_code(f"7010{i}"))["sid"] for i in range(3)][::-1]
    first = api.get(service["links"]["short_codes"] + "?PageSize=2").json
    second = api.get(first["meta"]["next_page_url"]).json
    assert [[row["sid"] for row in page["short_codes"]] for page in (first, second)] == [made[:2], made[2:]]
    assert api.get(second["meta"]["previous_page_url"]).json["short_codes"] == first["short_codes"]
