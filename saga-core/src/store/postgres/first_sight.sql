-- When a parked message was first seen here, in milliseconds: it is not put off for ever. A program of the version before, which may run
-- still, does not know the column.
ALTER TABLE sagas_parked ADD COLUMN seen BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
