"""What `maskline doctor` says of an account at a vendor with an HTTP API, in the same words for each of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from maskline.carriers.base import CarrierError, Checked, Kind, NotCarried
from maskline.domain.address import is_public
from maskline.domain.phone import mask

_LATER = "try again later"
_REMEDIES = {
    Kind.MISCONFIGURED: "correct the account and its secrets (auth_token, api_token …) in the settings",
    Kind.UNREACHABLE: "let this machine reach the vendor's API",
}


async def check_account(
    name: str,
    vendor: str,
    url: str,
    ask: Callable[[], Awaitable[Checked | None]],
    numbers: Sequence[str],
    strays: Callable[[str], Awaitable[Sequence[str]]],
) -> list[Checked]:
    """Look at the account of this name, whose webhooks are at `url`.

    `ask` says what the vendor has against the account, if anything; `strays` what of a number's resource does not lead
    here. Both raise CarrierError, `strays` NotCarried, too.
    """
    try:
        objection = await ask()
    except CarrierError as error:
        return [_unanswered("cannot be asked", error)]
    if objection is not None:
        return [objection]
    if not _is_reachable(url):
        said = f"{vendor} cannot reach its webhooks at {url}"
        return [Checked(said, "set public_url to the address by which this server is reached from outside")]
    looked_at = [await _check_number(name, url, number, strays) for number in numbers]
    return [Checked(f"{vendor} takes its credentials"), *(one for one in looked_at if one is not None)]


async def _check_number(
    name: str, url: str, number: str, strays: Callable[[str], Awaitable[Sequence[str]]]
) -> Checked | None:
    """What is wrong with where a number's traffic goes, if anything is."""
    try:
        wrong = await strays(number)
    except NotCarried as error:
        return Checked(
            f"{mask(number)}: {error.detail}", "correct the directory, or the account in the settings"
        )
    except CarrierError as error:
        return _unanswered(f"{mask(number)} cannot be looked up", error)
    if not wrong:
        return None
    said = f"{mask(number)} does not bring its traffic to {url} ({', '.join(wrong)})"
    return Checked(said, f"`maskline numbers adopt --carrier {name}` has the server set that")


def _unanswered(what: str, error: CarrierError) -> Checked:
    return Checked(f"{what}: {error.kind.value} ({error.detail})", _REMEDIES.get(error.kind, _LATER))


def _is_reachable(url: str) -> bool:
    """Whether somebody outside may reach it, as far as its host tells."""
    host = urlsplit(url).hostname or ""
    if re.fullmatch("[0-9.]+|.*:.*", host):
        return is_public(host)
    return "." in host
