-- What the log did not take of a dead letter, and why.
ALTER TABLE sagas_dead_letters ADD COLUMN unpublished text;
