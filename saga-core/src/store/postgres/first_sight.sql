-- When a parked message was first seen here, in milliseconds: it is not put off for ever.
ALTER TABLE sagas_parked ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
UPDATE sagas_parked SET seen = (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
ALTER TABLE sagas_parked ALTER COLUMN seen DROP DEFAULT;
