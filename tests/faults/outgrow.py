"""One transaction that outgrows the page cache, on a disk that fails from then on (disk.c)."""

import asyncio
import os
import sys
from pathlib import Path

from maskline.clock import SystemClock
from maskline.store.engine import StoreUnavailable, Tx
from maskline.store.sqlite import SqliteStore


def _fill(tx: Tx, rows: int) -> None:
    for _ in range(rows):
        tx.execute("INSERT INTO big VALUES (?)", ("x" * 1000,))


async def main(path: Path, failing: Path) -> None:
    store = await SqliteStore(path, SystemClock()).open()
    await store.write(lambda tx: tx.execute("CREATE TABLE big (x TEXT)").fetchall())
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the WAL begins anew, with a new head
    await asyncio.to_thread(failing.touch)
    try:
        await store.write(_fill, 40_000)
    except StoreUnavailable:
        os.write(1, b"the process went on after a failed sync\n")


asyncio.run(main(Path(sys.argv[1]), Path(os.environ["DISK_FAIL_WHEN"])))
