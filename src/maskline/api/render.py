"""Domain values in Twilio's JSON: exact field names, GMT dates in whole seconds, absolute URLs under the public one."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from maskline.domain import problems
from maskline.domain.dates import iso_date
from maskline.domain.interaction import WORDS, words_of
from maskline.domain.model import Interaction, Leg, Participant, ProxyNumber, Service, Session
from maskline.domain.phone import mask
from maskline.domain.problems import Problem

Json = dict[str, Any]

_NUMBER = re.compile(r"([A-Za-z]{1,20}:)?[+ ][0-9]{7,}(\.json)?")


def render_date(at: int | None) -> str | None:
    """An instant as Twilio writes it."""
    return None if at is None else iso_date(at)


def render_problem(problem: Problem, path: str, docs_url: str) -> Json:
    """An error body. What was not found is named by its path, without host and version."""
    message = problem.message
    if problem.code is problems.NOT_FOUND:
        message = f"The requested resource {_shown(path)} {problem.code.sentence}"
    return {
        "code": problem.code.number,
        "message": message,
        "more_info": f"{docs_url}{problem.code.number}",
        "status": problem.status,
    }


def _shown(path: str) -> str:
    """A path as an error shows it. What stands for a person names one, and a number may stand anywhere."""
    before, people, person = path.removeprefix("/v1").partition("/People/")
    parts = [mask(text) if _NUMBER.fullmatch(text := unquote(part)) else part for part in before.split("/")]
    shown = "/".join(parts)
    return f"{shown}{people}{mask(unquote(person))}" if people else shown


class MessageInteraction(msgspec.Struct, kw_only=True, gc=False):
    """The twenty fields of the reference, in its order. The hot path renders it: a struct takes half a dict's time."""

    sid: str
    url: str
    data: str
    type: str
    account_sid: str
    service_sid: str
    session_sid: str
    date_created: str
    date_updated: str
    participant_sid: str | None
    inbound_resource_sid: None = None
    inbound_resource_url: None = None
    inbound_resource_type: None = None
    outbound_resource_sid: str | None
    outbound_resource_url: None = None
    outbound_resource_type: str = "Message"
    inbound_participant_sid: None = None
    inbound_resource_status: None = None
    outbound_participant_sid: str | None
    outbound_resource_status: str | None


class Renderer:
    """Renders under one public URL, which comes from the settings; no header of a request decides it."""

    def __init__(self, public_url: str) -> None:
        self._root = public_url.rstrip("/")
        self._services = f"{self._root}/v1/Services"

    def url(self, path: str) -> str:
        """The public URL of a path of ours."""
        return self._root + path

    def service(self, service: Service) -> Json:
        url = f"{self._services}/{service.sid}"
        return {
            "sid": service.sid,
            "unique_name": service.unique_name,
            "account_sid": service.account_sid,
            "chat_instance_sid": service.chat_instance_sid,
            "callback_url": service.callback_url,
            "default_ttl": service.default_ttl,
            "number_selection_behavior": service.number_selection_behavior,
            "geo_match_level": service.geo_match_level,
            "intercept_callback_url": service.intercept_callback_url,
            "out_of_session_callback_url": service.out_of_session_callback_url,
            "date_created": render_date(service.created_at),
            "date_updated": render_date(service.updated_at),
            "url": url,
            "links": {
                "sessions": f"{url}/Sessions",
                "phone_numbers": f"{url}/PhoneNumbers",
                "short_codes": f"{url}/ShortCodes",
            },
        }

    def settings(self, service: Service, values: Json) -> Json:
        return {
            "account_sid": service.account_sid,
            "service_sid": service.sid,
            **values,
            "url": f"{self._services}/{service.sid}/Settings",
        }

    def phone_number(self, number: ProxyNumber) -> Json:
        return {
            "sid": number.sid,
            "account_sid": number.account_sid,
            "service_sid": number.service_sid,
            "date_created": render_date(number.created_at),
            "date_updated": render_date(number.updated_at),
            "phone_number": number.phone_number,
            "friendly_name": number.friendly_name,
            "iso_country": number.iso_country,
            "capabilities": render_capabilities(number),
            "url": f"{self._services}/{number.service_sid}/PhoneNumbers/{number.sid}",
            "is_reserved": number.is_reserved,
            "in_use": number.in_use,
        }

    def short_code(self, number: ProxyNumber) -> Json:
        return {
            "sid": number.sid,
            "account_sid": number.account_sid,
            "service_sid": number.service_sid,
            "date_created": render_date(number.created_at),
            "date_updated": render_date(number.updated_at),
            "short_code": number.phone_number,
            "iso_country": number.iso_country,
            "capabilities": render_capabilities(number),
            "url": f"{self._services}/{number.service_sid}/ShortCodes/{number.sid}",
            "is_reserved": number.is_reserved,
        }

    def session(self, session: Session, account_sid: str) -> Json:
        url = f"{self._services}/{session.service_sid}/Sessions/{session.sid}"
        return {
            "sid": session.sid,
            "service_sid": session.service_sid,
            "account_sid": account_sid,
            "date_started": render_date(session.started_at),
            "date_ended": render_date(session.ended_at),
            "date_last_interaction": render_date(session.last_interaction_at),
            "date_expiry": render_date(session.expiry_at),
            "unique_name": session.unique_name,
            "status": session.status,
            "closed_reason": session.closed_reason,
            "ttl": session.ttl,
            "mode": session.mode,
            "date_created": render_date(session.created_at),
            "date_updated": render_date(session.updated_at),
            "url": url,
            "links": {"interactions": f"{url}/Interactions", "participants": f"{url}/Participants"},
        }

    def participant(self, participant: Participant, account_sid: str) -> Json:
        url = self._participant(participant.service_sid, participant.session_sid, participant.sid)
        return {
            "sid": participant.sid,
            "session_sid": participant.session_sid,
            "service_sid": participant.service_sid,
            "account_sid": account_sid,
            "friendly_name": participant.friendly_name,
            "identifier": participant.identifier,
            "proxy_identifier": participant.proxy_identifier,
            "proxy_identifier_sid": participant.proxy_identifier_sid,
            "date_deleted": render_date(participant.deleted_at),
            "date_created": render_date(participant.created_at),
            "date_updated": render_date(participant.updated_at),
            "url": url,
            "links": {"message_interactions": f"{url}/MessageInteractions"},
        }

    def interaction(self, interaction: Interaction, account_sid: str) -> Json:
        url = f"{self._services}/{interaction.service_sid}/Sessions/{interaction.session_sid}/Interactions"
        kind = "Message" if interaction.type == "message" else "Call"
        words = words_of(interaction.type)
        legs = f"{self._root}/2010-04-01/Accounts/{account_sid}/{kind}s"
        return {
            "sid": interaction.sid,
            "session_sid": interaction.session_sid,
            "service_sid": interaction.service_sid,
            "account_sid": account_sid,
            "data": interaction.data,
            "type": interaction.type,
            **_leg("inbound", interaction.inbound, kind, words, legs),
            **_leg("outbound", interaction.outbound, kind, words, legs),
            "date_created": render_date(interaction.created_at),
            "date_updated": render_date(interaction.updated_at),
            "url": f"{url}/{interaction.sid}",
        }

    def message_interaction(self, interaction: Interaction, account_sid: str) -> MessageInteraction:
        leg = interaction.outbound
        session_sid, service_sid = interaction.session_sid, interaction.service_sid
        participant_sid = interaction.participant_sid
        return MessageInteraction(
            sid=interaction.sid,
            url=f"{self._services}/{service_sid}/Sessions/{session_sid}/Participants/{participant_sid}"
            f"/MessageInteractions/{interaction.sid}",
            data=interaction.data,
            type=interaction.type,
            account_sid=account_sid,
            service_sid=service_sid,
            session_sid=session_sid,
            date_created=iso_date(interaction.created_at),
            date_updated=iso_date(interaction.updated_at),
            participant_sid=participant_sid,
            outbound_resource_sid=leg.resource_sid if leg else None,
            outbound_participant_sid=participant_sid,
            outbound_resource_status=WORDS[leg.status] if leg else None,
        )

    def _participant(self, service_sid: str, session_sid: str, sid: str) -> str:
        return f"{self._services}/{service_sid}/Sessions/{session_sid}/Participants/{sid}"


def render_capabilities(number: ProxyNumber) -> Json:
    """Both sets of keys that clients know: the short ones, and one for each direction."""
    return {
        "fax": False,
        "mms": number.mms,
        "sms": number.sms,
        "voice": number.voice,
        "mms_inbound": number.mms,
        "mms_outbound": number.mms,
        "sms_inbound": number.sms,
        "sms_outbound": number.sms,
        "voice_inbound": number.voice,
        "voice_outbound": number.voice,
    }


def _leg(side: str, leg: Leg | None, kind: str, words: dict[int, str], calls_or_messages: str) -> Json:
    return {
        f"{side}_participant_sid": leg.participant_sid if leg else None,
        f"{side}_resource_sid": leg.resource_sid if leg else None,
        f"{side}_resource_status": words[leg.status] if leg else None,
        f"{side}_resource_type": kind if leg else None,
        f"{side}_resource_url": f"{calls_or_messages}/{leg.resource_sid}.json" if leg else None,
    }
