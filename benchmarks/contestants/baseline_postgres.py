"""The idiomatic baseline on PostgreSQL: the same application by asyncpg, with a pool of ten to twenty connections."""

from __future__ import annotations

import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.contestants import baseline

(_due,) = (index for index in baseline.Outbox.__table__.indexes if index.name == "outbox_due")
_due.dialect_options["postgresql"]["where"] = text("state = 0")

baseline.engine = create_async_engine(
    os.environ["BENCH_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=10
)
baseline.session_factory = async_sessionmaker(baseline.engine, expire_on_commit=False)

app = baseline.app
