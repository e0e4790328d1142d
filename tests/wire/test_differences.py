"""The page "Differences from Twilio Proxy" against the contract file, Twilio's facts and the tests.

Behind each of its points stands a comment: patterns of what `compare` finds and it tells of, and the tests that show
what the two files do not. Everything found is told, and everything told is found or shown.
"""

import re
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support.contract import DOCUMENT
from tests.wire.compare import differences

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reference" / "differences.md").read_text()
POINTS = [point.partition("\n* ")[2] for point in re.split(r"(?=\n\* )", PAGE) if point.startswith("\n* ")]
FOUND = differences(DOCUMENT)


def behind(point: str) -> list[str]:
    comments = re.findall(r"<!-- (.*?) -->", point, re.DOTALL)
    return [one.strip() for comment in comments for one in comment.split(";")]


def claimed(claim: str) -> set[str]:
    return {one for one in FOUND if fnmatchcase(one, claim)}


def test_every_difference_of_the_two_files_is_told() -> None:
    claims = [one for point in POINTS for one in behind(point) if "::" not in one]
    assert FOUND - {one for claim in claims for one in claimed(claim)} == set()


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point[:40])
def test_every_difference_told_is_one(point: str) -> None:
    assert behind(point)
    for one in behind(point):
        file, shown, name = one.partition("::")
        if shown:
            assert f"def {name}(" in (TESTS / file).read_text(), one
        else:
            assert claimed(one), one


def test_hardly_a_field_may_be_null() -> None:
    """Those of a leg that is not there, dates of what has not happened, names and URLs that were not given."""
    fields = {
        f"{name}.{field}"
        for name in (
            "Service",
            "PhoneNumber",
            "ShortCode",
            "Session",
            "Participant",
            "Interaction",
            "MessageInteraction",
        )
        for field, schema in DOCUMENT["components"]["schemas"][name]["properties"].items()
        if "null" in schema["type"]
    }
    may = r".*\.((in|out)bound_.*|date_(started|ended|expiry|last_interaction|deleted)|.*callback_url|chat_instance_sid"
    assert {one for one in fields if not re.fullmatch(may + ")", one)} == {
        "Session.unique_name",
        "Session.closed_reason",
        "PhoneNumber.iso_country",
        "ShortCode.iso_country",
        "Participant.friendly_name",
        "Participant.proxy_identifier_sid",
    }


def test_a_difference_is_found() -> None:
    """One of each kind that there can be."""
    changed = deepcopy(DOCUMENT)
    paths, schemas = changed["paths"], changed["components"]["schemas"]
    del paths["/v1/Services/{Sid}"]["delete"]
    paths["/v1/Services"]["get"]["operationId"] = "ListServices"
    create = paths["/v1/Services"]["post"]
    create["responses"]["200"] = create["responses"].pop("201")
    form = create["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    form["required"] = []
    del form["properties"]["DefaultTtl"]
    form["properties"]["GeoMatchLevel"]["enum"] = ["country", "town"]
    del schemas["Session"]["properties"]["ttl"]
    schemas["Session"]["properties"]["in_use"] = {"type": "integer"}
    schemas["Session"]["properties"]["sid"] = {"type": "string"}
    schemas["Session"]["properties"]["mode"]["type"] = "integer"
    schemas["Meta"]["properties"]["page"]["type"] = ["integer", "null"]
    assert differences(changed) - FOUND == {
        "DeleteService is missing",
        "ListService is called ListServices",
        "CreateService answers 200",
        "CreateService: UniqueName is optional",
        "CreateService: DefaultTtl is missing",
        "CreateService: GeoMatchLevel: also town",
        "CreateService: GeoMatchLevel: never area-code, overlay, radius",
        "Session.ttl is missing",
        "Session.in_use is new",
        "Session.sid is not held to its pattern",
        "Session.mode is integer, not string",
        "meta.page may be null",
    }
