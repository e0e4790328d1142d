-- What asks customers' servers waits in the lane of its Service, each topic apart.
DROP INDEX outbox_callbacks;
CREATE INDEX outbox_lanes ON outbox (topic, service_sid, due_at) WHERE state = 1 AND topic <> 'send';
