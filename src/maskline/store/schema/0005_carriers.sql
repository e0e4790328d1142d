-- Real carriers.

-- When a message was handed over whose outcome is unknown: its carrier is asked for one that was made about then.
ALTER TABLE outbox ADD COLUMN handed_at BIGINT;

-- The numbers that a carrier account carries.
CREATE INDEX numbers_carrier ON numbers (carrier_account, phone_number);

-- Numbers whose traffic a carrier account has been told to bring here, and where it went before, in the carrier's words. At
-- due_at it is told again, or told to bring it there, as the number is in a pool then or not.
CREATE TABLE adoptions (
    phone_number TEXT PRIMARY KEY,
    carrier_account TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    former TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at BIGINT
) /*WITHOUT ROWID*/;
CREATE INDEX adoptions_due ON adoptions (due_at) WHERE due_at IS NOT NULL;
