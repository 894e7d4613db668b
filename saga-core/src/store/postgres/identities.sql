-- Of which log offsets are: a topic that is deleted and created again is another.
ALTER TABLE sagas_partitions ADD COLUMN log TEXT COLLATE "C";
ALTER TABLE sagas_replays ADD COLUMN log TEXT COLLATE "C";
