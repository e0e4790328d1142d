-- What the whole Proxy API needs beyond the first messages. A message of the hot path writes into one index more
-- (interactions_sid, at its end); the others change when a Session starts or ends.

-- Messages and Calls are looked up and listed by SID, whatever their Session.
CREATE INDEX interactions_sid ON interactions (service_sid, sid);

-- The list of a Service's Sessions by status, and the closed ones by the instant that retention counts from.
CREATE INDEX sessions_status ON sessions (service_sid, status, sid);
CREATE INDEX sessions_closed ON sessions (ended_at) WHERE status = 'closed';

-- When this person last left which proxy number, as a JSON object of instants: kept while the Service lets numbers cool
-- down.
ALTER TABLE people ADD COLUMN released TEXT NOT NULL DEFAULT '{}';
