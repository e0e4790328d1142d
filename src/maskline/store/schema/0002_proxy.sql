-- What the whole Proxy API needs beyond the first messages.

-- Interactions in the order of their arrival instead of by Session: a new one goes to the end of the table, and what
-- becomes of it is written where it was written just now. Of the indexes only that of the key is written all over.
-- The account stands in the row because Messages and Calls are looked up and listed by account, whatever their Service
-- and Session, neither passed over for the other.
CREATE TABLE interactions_in_order (
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    participant_sid TEXT,
    inbound_participant_sid TEXT,
    inbound_resource_sid TEXT,
    inbound_status SMALLINT,
    outbound_participant_sid TEXT,
    outbound_resource_sid TEXT,
    outbound_status SMALLINT,
    carrier_id TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, session_sid, sid)
);
INSERT INTO interactions_in_order (service_sid, session_sid, sid, account_sid, type, data, participant_sid,
       inbound_participant_sid, inbound_resource_sid, inbound_status, outbound_participant_sid, outbound_resource_sid,
       outbound_status, carrier_id, updated_at)
SELECT i.service_sid, i.session_sid, i.sid, v.account_sid, i.type, i.data, i.participant_sid,
       i.inbound_participant_sid, i.inbound_resource_sid, i.inbound_status, i.outbound_participant_sid,
       i.outbound_resource_sid, i.outbound_status, i.carrier_id, i.updated_at
FROM interactions i JOIN services v ON v.sid = i.service_sid ORDER BY i.sid;
DROP TABLE interactions;
ALTER TABLE interactions_in_order RENAME TO interactions;
CREATE INDEX interactions_account ON interactions (account_sid, type, sid);
CREATE INDEX interactions_carrier ON interactions (service_sid, carrier_id) WHERE carrier_id IS NOT NULL;

-- The list of a Service's Sessions by status, and the closed ones by the instant that retention counts from.
CREATE INDEX sessions_status ON sessions (service_sid, status, sid);
CREATE INDEX sessions_closed ON sessions (ended_at) WHERE status = 'closed';

-- When this person last left which proxy number, as a JSON object of instants: kept while the Service lets numbers cool
-- down.
ALTER TABLE people ADD COLUMN released TEXT NOT NULL DEFAULT '{}';

-- How many Participants this person is or was. When the last of them is gone with its Session, the person is forgotten
-- at erase_at.
ALTER TABLE people ADD COLUMN participants INTEGER NOT NULL DEFAULT 0;
ALTER TABLE people ADD COLUMN erase_at BIGINT;
CREATE INDEX people_erase ON people (erase_at) WHERE erase_at IS NOT NULL;
UPDATE people SET participants = t.count FROM (
    SELECT service_sid, identifier_key, count(*) AS count FROM participants GROUP BY service_sid, identifier_key
) AS t WHERE t.service_sid = people.service_sid AND t.identifier_key = people.identifier_key;
UPDATE people SET erase_at = 0 WHERE participants = 0;

-- Idempotency keys likewise.
CREATE TABLE idempotency_in_order (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    resource_sid TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
INSERT INTO idempotency_in_order (scope, key, operation, request_hash, resource_sid, expires_at)
SELECT scope, key, operation, request_hash, resource_sid, expires_at FROM idempotency;
DROP TABLE idempotency;
ALTER TABLE idempotency_in_order RENAME TO idempotency;

-- Carriers' ids of messages that were deleted, for as long as a report on one may still come and look for it.
CREATE TABLE tombstones (
    carrier_id TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
) /*WITHOUT ROWID*/;
CREATE INDEX tombstones_age ON tombstones (expires_at);
