-- When a parked message was first seen here, in milliseconds: it is not put off for ever.
ALTER TABLE sagas_parked ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
UPDATE sagas_parked SET seen = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER);
