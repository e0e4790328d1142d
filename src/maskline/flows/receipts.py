"""Delivery reports: merged into the leg that they are about, or kept until it is there."""

from __future__ import annotations

from maskline.carriers.base import Report
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import identifier_key
from maskline.flows.messages import carrier_key
from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.part_receipts import merge_part
from maskline.store.receipts import Receipt, merge_receipts


async def report(store: Store, mint: Mint, report: Report) -> bool:
    """Take a report in for good; whether its message was found. The carrier may be acknowledged once this returns."""
    key = carrier_key(report.carrier_account, report.carrier_id)
    status = int(report.status)
    if report.parts > 1 and report.sid:
        status = await store.write(merge_part, report.sid, key, status, report.parts)
    receipt = Receipt(identifier_key(report.number), key, status, report.sid)
    if report.opted_out:
        receipt.optout_sid, receipt.event_sid = mint.sid(OPTOUT_PREFIX), mint.sid("NO")
    return await store.batch(merge_receipts, receipt)
