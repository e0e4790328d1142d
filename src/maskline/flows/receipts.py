"""Delivery reports: merged into the leg that they are about, or kept until it is there."""

from __future__ import annotations

from maskline.carriers.base import Report
from maskline.flows.messages import carrier_key
from maskline.store.engine import Store
from maskline.store.receipts import Receipt, merge_receipts


async def report(store: Store, report: Report) -> bool:
    """Take a report in for good; whether its message was found. The carrier may be acknowledged once this returns."""
    key = carrier_key(report.carrier_account, report.carrier_id)
    return await store.batch(merge_receipts, Receipt(report.number, key, int(report.status), report.sid))
