-- The outbox is divided into shards, so that the instances of a service can share the sending; `Shard::of` says which a row is in.
-- Rows from before are in shard 0: the first instance that starts has all shards, and sends them.
ALTER TABLE sagas_outbox ADD COLUMN shard SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE sagas_outbox ALTER COLUMN shard DROP DEFAULT;
CREATE INDEX sagas_outbox_by_shard ON sagas_outbox (service, shard, id);
DROP INDEX sagas_outbox_by_service;

-- Who sends which shard, and until when. The epoch is raised by everyone who takes one. Rows are changed in place: there is room
-- for that.
CREATE TABLE sagas_shards (
    service TEXT COLLATE "C" NOT NULL,
    shard SMALLINT NOT NULL,
    owner TEXT COLLATE "C",
    epoch BIGINT NOT NULL,
    expires TIMESTAMPTZ,
    PRIMARY KEY (service, shard)
) WITH (fillfactor = 50);

-- The instances that live, and until when that is believed.
CREATE TABLE sagas_instances (
    service TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    expires TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (service, instance)
) WITH (fillfactor = 50);
