"""The catalogue: every answer that tells a caller what is wrong, and every event that tells an operator.

One line a code: number, HTTP status (none: an event only), level, and a sentence that says what to do. The numbers
are Twilio's, so that an application which matches on `code` goes on working; the sentences are ours. Nothing
here may carry a body, a secret or a full phone number: details that name a number are masked first (`phone.mask`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ERROR", "WARNING"]


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the catalogue. `status` is the HTTP status of the answer, None for what is only ever an event."""

    number: int
    status: int | None
    level: Level
    sentence: str


class Problem(Exception):
    """The caller's mistake (or, for 5xx, ours): raised anywhere, rendered once, at the edge.

    `detail` goes before the catalogue's sentence and names what was wrong; it must hold no body and no full number.
    """

    def __init__(self, code: Code, detail: str = "", *, headers: dict[str, str] | None = None) -> None:
        super().__init__(code.number, detail)
        self.code = code
        self.detail = detail
        self.headers = headers

    @property
    def status(self) -> int:
        return self.code.status or 500

    @property
    def message(self) -> str:
        return f"{self.detail}: {self.code.sentence}" if self.detail else self.code.sentence

    def __reduce__(self) -> tuple[type[Problem], tuple[Code, str]]:
        return Problem, (self.code, self.detail)


def _error(number: int, status: int | None, sentence: str) -> Code:
    return Code(number, status, "ERROR", sentence)


def _warning(number: int, status: int | None, sentence: str) -> Code:
    return Code(number, status, "WARNING", sentence)


# The platform: requests that never reach a rule of Proxy.
AUTHENTICATION_FAILED = _error(
    20003, 401, "Authenticate with an Account SID and its auth token, or an API key SID and its secret."
)
METHOD_NOT_ALLOWED = _error(
    20004, 405, "This resource does not know this method; the Allow header lists those it does."
)
ACCOUNT_NOT_ACTIVE = _error(
    20005, 403, "The account, or its parent, is suspended or closed; `maskline accounts list` shows which."
)
NOT_YET_COMPLETE = _error(20009, 400, "It cannot be deleted before it is complete.")
NOT_SIGNED = _error(
    20403,
    403,
    "A webhook must be signed with the account's auth token, over the address that it has under the public URL.",
)
NOT_FOUND = _error(20404, 404, "was not found")
IDEMPOTENCY_CONFLICT = _error(
    20409, 409, "This Idempotency-Key was used within 24 hours for another request; use a fresh key."
)
UNSUPPORTED_MEDIA_TYPE = _error(20415, 415, "Send the parameters as application/x-www-form-urlencoded.")
BODY_TOO_LARGE = _error(
    20413, 413, "A form may have at most 65,536 bytes (from a carrier 1,048,576) and 100 fields."
)
TOO_MANY_REQUESTS = _error(
    20429, 429, "This Service is asked too often in this way; wait as Retry-After says, and longer each time."
)
HEADERS_TOO_LARGE = _error(20431, 431, "A request may have at most 32,768 bytes of headers.")
MALFORMED_REQUEST = _error(20400, 400, "This is not a request in HTTP/1.1.")
BODY_TOO_SLOW = _error(20408, 408, "A request must have arrived whole within 10 seconds.")
INTERNAL = _error(
    20500, 500, "An internal error happened outside the Proxy API; the request id identifies it in the log."
)
UNAVAILABLE = _error(
    20503, 503, "The server has too much to do or cannot reach its database; try again shortly."
)
TWIML_UNREADABLE = _error(
    12100, None, "What a customer's server answered is no XML document that can be read as TwiML."
)
TWIML_INVALID = _error(
    12200, None, "What a customer's server answered is no TwiML that can be carried out here."
)
OWN_NUMBER_INVALID = _error(
    21421, 400, "PhoneNumber must be a valid phone number in E.164 form, such as +14155550100."
)
NUMBER_TAKEN = _error(21422, 400, "This number is not available to be added.")
TOO_MANY_BETWEEN_TWO = _warning(
    14107,
    None,
    "More messages passed between two numbers in 30 seconds than may: from one, where the Service limits them, or as"
    " automatic answers (15). For a while none does.",
)
MEDIUM_UNAVAILABLE = _error(11200, 502, "The medium cannot be had from where it is.")
BODY_TOO_LONG = _error(21617, 400, "A message may have at most 1600 characters.")

# Proxy: the pool.
NUMBER_IN_OTHER_SERVICE = _error(
    80101, 400, "This number is in the pool of another Service; remove it there before adding it here."
)
NUMBER_ALREADY_IN_SERVICE = _warning(80104, 400, "This number is already in this Service's pool.")
SHORT_CODE_ALREADY_IN_SERVICE = _warning(80105, 400, "This short code is already in this Service's pool.")
PHONE_NUMBER_SID_NOT_FOUND = _error(
    80301,
    400,
    "This account has no such phone number; `maskline numbers add` enters one, with the carrier account it is of.",
)
SHORT_CODE_SID_NOT_FOUND = _warning(80303, 400, "This account has no such short code.")
PHONE_NUMBER_INVALID = _warning(
    80406, 400, "A phone number must be given in E.164 form, such as +14155550100."
)
PHONE_NUMBER_SID_INVALID = _warning(80407, 400, "A phone number's SID is PN and 32 hexadecimal digits.")
NUMBER_NOT_AVAILABLE = _warning(80601, 400, "This number is bound elsewhere and cannot join this pool.")
NUMBER_IN_ACTIVE_SESSIONS = _error(
    80611, 400, "Active Sessions use this number; mark it reserved, let them end, then remove it."
)
POOL_FULL = _error(80622, 400, "A Service may have at most 500 unreserved and 5000 reserved numbers.")
POOL_NEARLY_FULL = _warning(
    80624, None, "A Service's pool has reached 85 % of its 500 unreserved or its 5000 reserved numbers."
)

# Proxy: choosing a number.
NO_VOICE_PROXY = _warning(
    80201, 400, "The Session's mode needs voice and no number that could be chosen has it."
)
NO_MESSAGE_PROXY = _warning(
    80202, 400, "The Session's mode needs messages and no number that could be chosen has them."
)
NO_PROXY_FOR_COUNTRY = _error(
    80203,
    400,
    "The pool has no number for the participant's country; add one, or give ProxyIdentifier explicitly.",
)
EMPTY_POOL = _warning(80205, 400, "The Service's pool is empty; add a number to it first.")
NO_PROXY_IN_AREA = _warning(
    80206, 400, "No number of the pool satisfies the Service's GeoMatchLevel for this participant."
)
ONLY_RESERVED = _error(
    80207, 400, "All numbers that fit are reserved; add an unreserved one, or give ProxyIdentifier."
)
NO_UNUSED_PROXY = _error(
    80208,
    400,
    "This participant uses every number that fits in another active Session, or left it too lately; add numbers to"
    " the pool.",
)
PROXY_NOT_MANAGED = _warning(
    80304, 400, "ProxyIdentifier is neither a number of the account nor a known channel sender."
)
PAIR_INVALID = _warning(80402, 400, "Identifier and ProxyIdentifier cannot be used together.")
PAIR_IN_USE = _warning(
    80604, 400, "Another active Session already has this participant on this proxy number."
)
PROXY_NOT_IN_SERVICE = _warning(80605, 400, "The proxy number is not in this Service's pool; add it first.")
PROXY_NOT_OWNED = _warning(80606, 400, "The proxy number is not one of this account's.")

# Proxy: participants and Sessions.
PARTICIPANT_ALREADY_IN_SESSION = _error(
    80103, 400, "This Session already has a participant with this Identifier."
)
INTERACTION_SID_INVALID = _warning(80403, 400, "An Interaction's SID is KI and 32 hexadecimal digits.")
IDENTIFIER_INVALID = _error(
    80404,
    400,
    "Identifier must be a valid, dialable phone number in E.164 form, or an address of whatsapp: or messenger:, and"
    " no proxy number.",
)
PARTICIPANT_SID_INVALID = _warning(80405, 400, "A Participant's SID is KP and 32 hexadecimal digits.")
SESSION_SID_INVALID = _warning(80409, 400, "A Session's SID is KC and 32 hexadecimal digits.")
SERVICE_NAME_TAKEN = _warning(80602, 400, "Another Service of this account has this UniqueName.")
SESSION_NAME_TAKEN = _error(
    80603,
    400,
    "Another Session of this Service has this UniqueName (closed Sessions keep theirs until they are deleted).",
)
SESSION_CLOSED = _warning(80607, 400, "The Session is closed; re-open it with Status=in-progress first.")
SESSION_STATUS_INVALID = _error(
    80608, 400, "This status change is not supported: re-open with in-progress, close with closed."
)
TOO_MANY_PARTICIPANTS = _warning(
    80609, 400, "A Session has at most two participants; delete one before adding another."
)
PARTICIPANT_WAS_DELETED = _error(
    80612, 400, "This Identifier was already a participant of this Session and was deleted."
)
IDENTIFIER_UNSUPPORTED_IN_MODE = _error(80616, 400, "A channel address needs a Session of mode message-only.")
PARTICIPANT_BUSY = _error(
    80623, 409, "Other creates for this Identifier are still running; try again in a moment."
)
PARAMETER_INVALID = _warning(80701, 400, "The parameter is missing or malformed.")
STORAGE_FAILED = _error(
    80501, 500, "The database refused the operation; the request id identifies it in the server's log."
)
CARRIER_FAILED = _error(
    80502,
    500,
    "The number's carrier failed or refused, and nothing was changed; the request id identifies it in the log.",
)
PROXY_INTERNAL = _error(
    80504, 500, "An internal error happened; the request id identifies it in the server's log."
)

# Proxy: traffic. Mostly events, since the one who texts is not the one who called the API.
NO_PARTNER = _warning(
    80614, None, "A message or call came from a participant whose Session has no second participant."
)
NO_ACTIVE_SESSION = _error(
    80902, None, "A call reached a pool number from somebody who has no active Session on it."
)
SESSION_EXPIRED = _warning(
    80904, None, "Traffic came for a Session that had ended, or whose number had been taken away."
)
UNKNOWN_SCENARIO = _warning(
    80905, None, "A message or call came that no Session and no other rule could route."
)
SENDER_NOT_WIRED = _error(
    80305,
    None,
    "A message came to a channel sender that is wired to no Service; `maskline numbers` wires it.",
)
MESSAGE_TO_VOICE_ONLY = _warning(80910, 400, "The Session is voice-only; messages are refused.")
STOP_WORD = _warning(
    80901,
    None,
    "An opt-out word, or UNSTOP, was not forwarded; the Service's opt-outs say who wants no messages.",
)
RECIPIENT_OPTED_OUT = _error(
    21610,
    None,
    "The recipient has opted out of messages from this number and gets none until they opt in again.",
)
CALL_TO_MESSAGE_ONLY = _warning(80911, None, "The Session is message-only; calls are refused.")
CALL_NOT_OPEN = _warning(
    80906, None, "A carrier reported a second, other end of a call that had ended; the higher status counts."
)
CALLBACK_FAILED = _warning(
    80908, None, "A callback was not answered with 2xx; it is sent again for an hour, then given up."
)
OUT_OF_SESSION_FAILED = _error(
    80913, None, "The OutOfSessionCallbackUrl could not be reached or did not answer with 2xx."
)
INTERCEPTED = _warning(
    80909, None, "The InterceptCallbackUrl refused a message or call; it was not passed on."
)
RECEIPT_UNMATCHED = _warning(
    80907, None, "A carrier reported on a call that is not known or, for 24 hours, on a message that is not."
)

# Ours: what Twilio has no number for. 4xxxx keeps clear of its ranges.
DELIVERY_UNKNOWN = _warning(
    49001,
    None,
    "A message may have been sent, or not: the link or the process died while it was being handed to the carrier, or it"
    " waited in a backup that was restored.",
)
VALIDITY_PASSED = _warning(
    49002, None, "A message could not be handed to a carrier within its validity and has failed."
)
CARRIER_PAUSED = _error(
    49003, None, "A carrier refused the account's credentials; its sends wait until that is mended."
)
CARRIER_RESUMED = _warning(49004, None, "A carrier account that was paused or down works again.")
CARRIER_DOWN = _error(
    49050,
    None,
    "A carrier account has taken nothing for as long as outage_after_s says, and every hand-over has failed; its sends"
    " wait, but for one a minute that tries it.",
)
CARRIER_ABSENT = _error(
    49053,
    None,
    "A carrier account that carries numbers of pools is not in the settings of the server, or is the sandbox, which is"
    " off: what is sent from them waits until a server has it, or fails at the end of its validity.",
)
SESSION_MOVED = _warning(
    49051,
    None,
    "A Session has moved to other proxy numbers, as the carrier account of those it had is down; these still answer.",
)
SESSION_NOT_MOVED = _error(
    49052,
    None,
    "A Session whose carrier account is down cannot move: no number of another one can be chosen. Its messages wait.",
)
WRONG_CARRIER = _error(
    49030,
    None,
    "A carrier account brought a message or call for a number that another one carries; it was not taken.",
)
NOT_ADOPTED = _error(
    49031,
    None,
    "A carrier account could not be told where to bring a number's traffic; it is told again each minute.",
)
MESSAGE_UNREADABLE = _warning(
    49040, None, "A carrier brought something for a number that is no text; it was refused."
)
MESSAGE_INCOMPLETE = _warning(
    49041, None, "A part of a long message did not come in time; what there was of it was taken."
)
MESSAGE_MAYBE_REPEATED = _warning(
    49042,
    None,
    "A carrier brought a message again after a broken connection; it may be one that had been taken before.",
)
CARRIER_SILENT = _warning(
    49032,
    None,
    "A carrier account takes messages and has reported on none for as long as report_within_s says; they stay sent.",
)
MEDIA_NOT_CARRIED = _warning(
    49020,
    None,
    "A message has media and its proxy number carries none; it has failed, as MmsFallback says or for want of room for"
    " any link.",
)
MEDIA_LEFT_OUT = _warning(
    49021,
    None,
    "A message has media and its proxy number carries none; its text had no room for the links to some of them.",
)
INTERCEPT_FAILED = _warning(
    49005,
    None,
    "The InterceptCallbackUrl gave no verdict; the message or call went on, or did not, as InterceptFailure says.",
)
CALL_LOOPS = _error(
    49010,
    None,
    "A call was handed back to its webhook more than 10 times, by Gather or Redirect, and was ended.",
)
CALL_WENT_SILENT = _warning(
    49011, None, "A carrier told nothing of a call for longer than a call can take; it is taken for ended."
)
