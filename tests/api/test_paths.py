"""SIDs and names in paths: which refusal a malformed, an unknown, a foreign or a misplaced one gets."""

import itertools
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.checked import CheckedApi
from tests.support.server import Reply
from tests.support.world import fresh_number, make_pair, make_service

HEX = "0" * 32
# (method, path): every operation below a Service, with the names of its SIDs.
BELOW = [
    ("GET", "/{KS}/PhoneNumbers"),
    ("POST", "/{KS}/PhoneNumbers"),
    ("GET", "/{KS}/PhoneNumbers/{PN}"),
    ("POST", "/{KS}/PhoneNumbers/{PN}"),
    ("DELETE", "/{KS}/PhoneNumbers/{PN}"),
    ("GET", "/{KS}/Sessions"),
    ("POST", "/{KS}/Sessions"),
    ("GET", "/{KS}/Sessions/{KC}"),
    ("POST", "/{KS}/Sessions/{KC}"),
    ("DELETE", "/{KS}/Sessions/{KC}"),
    ("GET", "/{KS}/Sessions/{KC}/Participants"),
    ("POST", "/{KS}/Sessions/{KC}/Participants"),
    ("GET", "/{KS}/Sessions/{KC}/Participants/{KP}"),
    ("DELETE", "/{KS}/Sessions/{KC}/Participants/{KP}"),
    ("GET", "/{KS}/Sessions/{KC}/Interactions"),
    ("GET", "/{KS}/Sessions/{KC}/Interactions/{KI}"),
    ("DELETE", "/{KS}/Sessions/{KC}/Interactions/{KI}"),
    ("GET", "/{KS}/Sessions/{KC}/Participants/{KP}/MessageInteractions"),
    ("POST", "/{KS}/Sessions/{KC}/Participants/{KP}/MessageInteractions"),
    ("GET", "/{KS}/Sessions/{KC}/Participants/{KP}/MessageInteractions/{KI}"),
]
GOOD_FORMS = {
    "PhoneNumbers": {"PhoneNumber": "+14155550199"},
    "Participants": {"Identifier": "+14155550198"},
    "MessageInteractions": {"Body": "hello"},
}


@dataclass
class Family:
    """A Service, a Session, a Participant, a message and a number that belong together."""

    sids: dict[str, str]
    api: CheckedApi


def family(api: CheckedApi) -> Family:
    pair = make_pair(api)
    message = pair.send(pair.first, "hello")
    number = api.get(pair.service["links"]["phone_numbers"]).json["phone_numbers"][0]
    sids = [pair.service, pair.session, pair.first, message, number]
    return Family({resource["sid"][:2]: resource["sid"] for resource in sids}, api)


@pytest.fixture(scope="module")
def mine(server: Any) -> Family:
    return family(CheckedApi(server.url))


def ask(api: CheckedApi, method: str, path: str, sids: dict[str, str]) -> Reply:
    form = GOOD_FORMS.get(path.rsplit("/", 1)[1], {}) if method == "POST" else None
    return api.request(method, "/v1/Services" + path.format(**sids), form)


def outcome(reply: Reply) -> tuple[int, int]:
    return reply.status, reply.json["code"]


MALFORMED = {
    "KP": (400, 80405),
    "KI": (400, 80403),
    "PN": (400, 80407),
    "KC": (400, 80409),
    "KS": (404, 20404),
}
SHAPES = ["{0}1", "{0}" + "0" * 33, "{0}" + "g" * 32, "XX" + HEX, "{1}" + HEX, "some%20name"]


def as_parent(path: str, kind: str) -> bool:
    return not path.endswith("{" + kind + "}")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        (method, path, kind)
        for method, path in BELOW
        for kind in MALFORMED
        if f"{{{kind}}}" in path and (as_parent(path, kind) or kind not in ("KC", "KS"))
    ],
)
def test_a_malformed_sid_gets_the_code_of_its_kind(mine: Family, method: str, path: str, kind: str) -> None:
    for shape in SHAPES:
        sids = {**mine.sids, kind: shape.format(kind, kind.lower())}
        assert outcome(ask(mine.api, method, path, sids)) == MALFORMED[kind], shape


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_short_code_is_not_found_in_any_form(mine: Family, method: str) -> None:
    for sid in ("SC1", "SC" + HEX, "x"):
        reply = mine.api.request(method, f"/v1/Services/{mine.sids['KS']}/ShortCodes/{sid}")
        assert outcome(reply) == (404, 20404)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [(method, path, kind) for method, path in BELOW for kind in MALFORMED if f"{{{kind}}}" in path],
)
def test_a_well_formed_sid_of_nothing_is_not_found(mine: Family, method: str, path: str, kind: str) -> None:
    reply = ask(mine.api, method, path, {**mine.sids, kind: kind + HEX})
    assert outcome(reply) == (404, 20404)
    assert reply.json["message"].startswith("The requested resource /Services/")


@pytest.mark.parametrize(("method", "path"), BELOW)
def test_what_is_another_accounts_is_not_found(
    mine: Family, stranger: CheckedApi, method: str, path: str
) -> None:
    assert outcome(ask(stranger, method, path, mine.sids)) == (404, 20404)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_anothers_service_is_not_found(mine: Family, stranger: CheckedApi, method: str) -> None:
    assert outcome(stranger.request(method, f"/v1/Services/{mine.sids['KS']}")) == (404, 20404)


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path in BELOW if path.count("{") > 1]
)
def test_a_child_under_anothers_parent_is_not_found(mine: Family, method: str, path: str) -> None:
    """Any mix of the SIDs of two families but the two whole ones."""
    other = family(mine.api)
    kinds = [kind for kind in MALFORMED if f"{{{kind}}}" in path]
    for choice in itertools.product((mine.sids, other.sids), repeat=len(kinds)):
        sids = {kind: chosen[kind] for kind, chosen in zip(kinds, choice, strict=True)}
        if len({id(chosen) for chosen in choice}) > 1:
            assert outcome(ask(mine.api, method, path, sids)) == (404, 20404), sids
    # And nothing has been changed by all these.
    for each in [path for method, path in BELOW if method == "GET"]:
        assert ask(mine.api, "GET", each, other.sids).status == 200


def test_anothers_message_is_not_found_under_a_participant_of_the_same_session(api: CheckedApi) -> None:
    pair = make_pair(api)
    message = pair.send(pair.first, "hello")
    path = f"{pair.second['links']['message_interactions']}/{message['sid']}"
    assert outcome(api.get(path)) == (404, 20404)


def test_hexadecimal_digits_may_be_of_either_case(mine: Family) -> None:
    shouted = {kind: kind + sid[2:].upper() for kind, sid in mine.sids.items()}
    for method, path in BELOW:
        if method == "GET":
            assert ask(mine.api, "GET", path, shouted).status == 200, path
    reply = mine.api.get(f"/v1/Services/{shouted['KS']}")
    assert reply.json["sid"] == mine.sids["KS"]


# Lookup by UniqueName

NAMES = [
    "plain",
    "with two spaces",
    "Ünïcödé ☃ 🙂",
    "a/slash/and another",
    "100% sure?",
    "a+plus&more=yes#no",
    "quote\"'`<>{}|\\^~",
    "ends with.",
    "%2F",
    "KS71",
    "1",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_service_is_found_changed_and_deleted_by_its_name(api: CheckedApi, name: str) -> None:
    service = api.make("/v1/Services", {"UniqueName": name})
    assert service["unique_name"] == name
    path = "/v1/Services/" + quote(name, safe="")
    assert api.get(path).json == service
    assert api.make(path, {"DefaultTtl": 3})["sid"] == service["sid"]
    assert outcome(api.get(path + "x")) == (404, 20404)
    assert api.delete(path).status == 204
    assert outcome(api.get(path)) == (404, 20404)


@pytest.mark.parametrize("name", NAMES)
def test_a_session_is_found_changed_and_deleted_by_its_name(api: CheckedApi, name: str) -> None:
    sessions = make_service(api, 0)["links"]["sessions"]
    session = api.make(sessions, {"UniqueName": name})
    assert session["unique_name"] == name
    path = f"{sessions}/{quote(name, safe='')}"
    assert api.get(path).json == session
    assert api.make(path, {"Ttl": 3})["sid"] == session["sid"]
    assert outcome(api.get(path + "x")) == (404, 20404)
    assert api.delete(path).status == 204
    assert outcome(api.get(path)) == (404, 20404)


def test_names_are_exact(api: CheckedApi) -> None:
    sessions = make_service(api, 0)["links"]["sessions"]
    api.make(sessions, {"UniqueName": "Caf\u00e9"})
    for other in ("caf\u00e9", "Cafe\u0301", "Caf\u00e9 ", " Caf\u00e9"):
        assert outcome(api.get(f"{sessions}/{quote(other)}")) == (404, 20404)
        assert api.make(sessions, {"UniqueName": other})["unique_name"] == other


def test_a_name_that_looks_like_a_sid_gives_way_to_the_sid(api: CheckedApi) -> None:
    first = make_service(api, 0)
    named = make_service(api, 0, UniqueName=first["sid"])
    assert api.get(f"/v1/Services/{first['sid']}").json["sid"] == first["sid"]
    assert api.delete(first["url"]).status == 204
    assert api.get(f"/v1/Services/{first['sid']}").json["sid"] == named["sid"]

    sessions = named["links"]["sessions"]
    one = api.make(sessions)
    other = api.make(sessions, {"UniqueName": one["sid"]})
    assert api.get(f"{sessions}/{one['sid']}").json["sid"] == one["sid"]
    assert api.delete(one["url"]).status == 204
    assert api.get(f"{sessions}/{one['sid']}").json["sid"] == other["sid"]


@pytest.mark.parametrize("path", ["{root}/%00", "{root}/a%00b", "{sessions}/%00", "{service}/People/%00"])
def test_what_holds_no_text_names_nothing(api: CheckedApi, path: str) -> None:
    service = make_service(api, 0)
    path = path.format(root="/v1/Services", service=service["url"], sessions=service["links"]["sessions"])
    assert outcome(api.get(path)) == outcome(api.delete(path)) == (404, 20404)


@pytest.mark.parametrize(
    "path",
    [
        "{account}/IncomingPhoneNumbers/+14155550134.json",
        "{account}/IncomingPhoneNumbers/%2B14155550134",
        "{service}/Sessions/%2B14155550134",
        "{service}/Sessions/whatsapp%3A%2B14155550134",
        "/v1/Services/+14155550134/Sessions/Nobody",
    ],
)
def test_a_number_in_a_path_is_masked_in_what_is_said_of_it(api: CheckedApi, path: str) -> None:
    account = f"/2010-04-01/Accounts/{api.account_sid}"
    reply = api.get(path.format(account=account, service=f"/v1/Services/KS{HEX}"))
    assert outcome(reply) == (404, 20404)
    assert "5550" not in reply.raw.decode()


def test_a_name_is_no_parent(api: CheckedApi) -> None:
    service = make_service(api, UniqueName="no parent")
    session = api.make(service["links"]["sessions"], {"UniqueName": "neither"})
    assert outcome(api.get("/v1/Services/no%20parent/Sessions")) == (404, 20404)
    form = {"Identifier": fresh_number()}
    assert outcome(api.post(f"{service['links']['sessions']}/neither/Participants", form)) == (400, 80409)
    assert api.get(session["links"]["participants"]).json["participants"] == []


def test_a_session_is_found_by_name_in_its_own_service_only(api: CheckedApi) -> None:
    first, second = make_service(api, 0), make_service(api, 0)
    api.make(first["links"]["sessions"], {"UniqueName": "here"})
    assert outcome(api.get(f"{second['links']['sessions']}/here")) == (404, 20404)
