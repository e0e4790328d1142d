"""What is served under /2010-04-01, held against the fields that Twilio's resources have there."""

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any

from tests.support.server import Api, Reply

# By the name in the path: the key of the list, and the fields of a row.
RESOURCES = {
    "Messages": (
        "messages",
        set(
            "sid account_sid messaging_service_sid from to body status direction num_segments num_media price"
            " price_unit error_code error_message api_version date_created date_updated date_sent uri"
            " subresource_uris".split()
        ),
    ),
    "Media": (
        "media_list",
        set("sid account_sid parent_sid content_type date_created date_updated uri".split()),
    ),
    "Calls": (
        "calls",
        set(
            "sid account_sid parent_call_sid from from_formatted to to_formatted phone_number_sid status direction"
            " start_time end_time duration price price_unit answered_by forwarded_from group_sid caller_name queue_time"
            " trunk_sid api_version date_created date_updated uri subresource_uris".split()
        ),
    ),
    "IncomingPhoneNumbers": (
        "incoming_phone_numbers",
        set(
            "sid account_sid phone_number friendly_name capabilities status origin beta type date_created date_updated"
            " api_version uri sms_url sms_method sms_fallback_url sms_fallback_method sms_application_sid voice_url"
            " voice_method voice_fallback_url voice_fallback_method voice_application_sid voice_receive_mode"
            " voice_caller_id_lookup status_callback status_callback_method trunk_sid address_sid address_requirements"
            " identity_sid bundle_sid emergency_status emergency_address_sid emergency_address_status".split()
        ),
    ),
}

PAGING = set("page page_size start end uri first_page_uri previous_page_uri next_page_uri".split())


def _check_row(name: str, fields: set[str], row: Any, api: Api) -> None:
    assert set(row) == fields, set(row) ^ fields
    assert row["uri"] == f"/2010-04-01/Accounts/{api.account_sid}/{name}/{row['sid']}.json"
    assert row["account_sid"] == api.account_sid
    assert row.get("api_version", "2010-04-01") == "2010-04-01"
    for date in ("date_created", "date_updated"):
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", row[date])
        assert parsedate_to_datetime(row[date])


def check_v2010(path: str, reply: Reply, api: Api) -> None:
    """A 2xx under /2010-04-01: a row, or a list in its envelope."""
    name, *sid = path.removesuffix(".json").split("/")[4:]
    key, fields = RESOURCES[name]
    if len(sid) > 1:
        key, fields = RESOURCES[sid[1]]
        name, sid = "/".join((name, *sid[:2])), sid[2:]
    if reply.status in (204, 307):
        return
    content = json.loads(reply.raw)
    if sid or reply.status == 201:
        _check_row(name, fields, content, api)
        return
    assert set(content) == PAGING | {key}
    rows, start = content[key], f"/2010-04-01/Accounts/{api.account_sid}/{name}.json?"
    for link in ("uri", "first_page_uri", "next_page_uri", "previous_page_uri"):
        assert content[link] is None or content[link].startswith(start)
    assert content["start"] == content["page"] * content["page_size"]
    assert content["end"] == content["start"] + max(len(rows) - 1, 0)
    assert len(rows) <= content["page_size"]
    for row in rows:
        _check_row(name, fields, row, api)
