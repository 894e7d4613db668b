-- Which events a service has handled: a record of one that no handler takes any more is not skipped.
CREATE TABLE sagas_handled (
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (service, topic, event)
) WITHOUT ROWID;

-- By which of its handlers a service takes an event, and what the inbox knows the messages of each as: by their identity with this added. Two
-- that are known as the same are one handler, by its name of today and by one that it had.
CREATE TABLE sagas_takers (
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    event TEXT NOT NULL,
    handler TEXT NOT NULL,
    known_as TEXT NOT NULL,
    takes INTEGER NOT NULL,
    PRIMARY KEY (service, topic, event, handler)
) WITHOUT ROWID;

-- Whose message a dead letter is; nobody's in particular, where no handler could be given it.
ALTER TABLE sagas_dead_letters ADD COLUMN handler TEXT;

-- The version of the event that a step has left behind.
ALTER TABLE sagas_steps ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
