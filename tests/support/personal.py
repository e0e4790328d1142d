"""Where personal data is kept: every column of every table, as one that holds some or as one that holds none.

A new column is put down in one of the two lists. One that holds personal data says what erases it, and
`tests/api/test_people.py` has to fill it: an erasure has to leave nothing of it.
"""

PERSONAL = {
    "participants": {
        "identifier": "erasure: the Participant is unnamed",
        "identifier_key": "erasure: the Participant is unnamed",
        "friendly_name": "erasure: the Participant is unnamed",
    },
    "former_numbers": {"identifier_key": "erasure: the Participant is unnamed"},
    "people": {"identifier_key": "erasure: at once; retention: erase_people"},
    "interactions": {"data": "erasure: traffic; store_bodies: blank_if_over, blank_overdue"},
    "outbox": {
        "order_key": "erasure: what a stranger waits in is named for them; gone, or renamed",
        "recipient": "erasure: fresh rows, lines; else gone when it is sent",
        "payload": "erasure: fresh rows, lines; else gone when it is sent",
    },
    "paces": {"identifier_key": "erasure: at once; retention: forget_paces"},
    "optouts": {"identifier": "erasure: at once; the keyed hash stays"},
    "events": {"message": "erasure: events, where it shows two digits; retention: delete_old_events"},
    "sandbox_messages": {
        "from_number": "erasure: handsets",
        "to_number": "erasure: handsets",
        "body": "erasure: handsets, and traffic for what somebody else's handset has got",
        "media": "erasure: handsets, and traffic for what somebody else's handset has got",
    },
    "sandbox_behaviour": {"to_number": "erasure: handsets"},
    "sandbox_calls": {
        "from_number": "erasure: handset calls",
        "legs": "erasure: handset calls",
        "verbs": "erasure: handset calls",
    },
}

# What is there for a moment only, and what cannot be read back.
PASSING = {
    "erasures": {"identifier_key": "the person who is being erased, until that is done"},
    "sandbox_todo": {"payload": "a text under way to the server, for less than a second"},
    "idempotency": {"request_hash": "a hash of what was asked; erasure: keys; else gone after a day"},
    "parts": {
        "sender": "of a long message, until its parts are there and a while longer",
        "content": "a part of it, until the others are there",
    },
}

NONE = {
    "adoptions": "phone_number carrier_account account_sid former attempts due_at",
    "accounts": "sid friendly_name token_digest token_sealed previous_digest previous_sealed created_at updated_at"
    " parent_sid status events_url",
    "callback_attempts": "service_sid interaction_sid began_at callback_sid number url duration_ms status error",
    "calls": "carrier_key account_sid service_sid session_sid interaction_sid state entries accepts answered_at due_at",
    "erasures": "service_sid session_sid participant_sid account_sid asked_at stage after",
    "events": "sid account_sid service_sid session_sid interaction_sid code level created_at told_to",
    "former_numbers": "service_sid session_sid participant_sid left_at proxy_identifier active sent_before",
    "idempotency": "scope key operation resource_sid expires_at",
    "interactions": "service_sid session_sid sid account_sid type participant_sid inbound_participant_sid"
    " inbound_resource_sid inbound_status outbound_participant_sid outbound_resource_sid outbound_status carrier_id"
    " updated_at error_code",
    "keys": "sid account_sid friendly_name secret_digest created_at",
    "meta": "name value",
    "runs": "id round seen_at",
    "numbers": "phone_number sid account_sid carrier_account service_sid friendly_name iso_country calling_code voice"
    " sms mms is_reserved in_use participants next_free_at created_at updated_at"
    " gap_us former",
    "carrier_health": "carrier_account account_sid failing_since failed_at failures down_since refused try_at",
    "carrier_paces": "carrier_account next_free_at",
    "optouts": "service_sid identifier_hash proxy_number sid account_sid source created_at",
    "outbox": "id topic seq state turn carrier_account number due_at expires_at attempts uncertain owner"
    " started_at handed_at handed_to account_sid service_sid session_sid interaction_sid message_sid brought_by",
    "paces": "service_sid proxy_number taken refused_until forget_at",
    "participants": "service_sid sid session_sid proxy_identifier proxy_identifier_sid active deleted_at created_at"
    " updated_at",
    "passing_bodies": "service_sid session_sid interaction_sid blank_at",
    "people": "service_sid history released participants erase_at",
    "purges": "service_sid session_sid",
    "part_receipts": "message_sid carrier_id status reported_at",
    "parts": "carrier_account number reference place total message_id coding digest brought kept_at",
    "received": "carrier_account carrier_id received_at answered_at",
    "sandbox_abilities": "account_sid carrier_keys look_up",
    "sandbox_behaviour": "account_sid outcome delay_ms times_left",
    "sandbox_calls": "account_sid sid to_number status duration_s created_at",
    "sandbox_messages": "account_sid reference sid direction status handovers created_at",
    "sandbox_todo": "due_at sid kind",
    "services": "sid account_sid unique_name default_ttl callback_url intercept_callback_url"
    " out_of_session_callback_url chat_instance_sid geo_match_level number_selection_behavior settings created_at"
    " updated_at",
    "sessions": "service_sid sid unique_name status closed_reason mode ttl expiry_at started_at ended_at"
    " last_interaction_at active_from_at seq check_at created_at updated_at",
    "tombstones": "carrier_id expires_at",
}
"""Names are the customer's, who is asked to put nobody's into them (docs/how-to/erase-a-person.md)."""
