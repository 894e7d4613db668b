-- What the message of a dead letter is known by in the inbox (NULL: it never reached the log), so that it is found when it is
-- produced again; and when the letter was settled, by which it is forgotten.
ALTER TABLE sagas_dead_letters ADD COLUMN source TEXT COLLATE "C", ADD COLUMN message_id TEXT COLLATE "C",
    ADD COLUMN settled_at BIGINT;
UPDATE sagas_dead_letters SET settled_at = at WHERE state <> 'open';
CREATE INDEX sagas_dead_letters_by_message ON sagas_dead_letters (service, source, message_id);
CREATE INDEX sagas_dead_letters_by_position ON sagas_dead_letters (service, state, topic, "partition", "offset", id);
CREATE INDEX sagas_dead_letters_by_age ON sagas_dead_letters (service, at) WHERE state = 'open';
CREATE INDEX sagas_dead_letters_settled ON sagas_dead_letters (service, settled_at) WHERE settled_at IS NOT NULL;
