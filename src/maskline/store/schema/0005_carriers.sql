-- Real carriers.

-- When a message was handed over whose outcome is unknown: its carrier is asked for one that was made about then.
ALTER TABLE outbox ADD COLUMN handed_at BIGINT;
