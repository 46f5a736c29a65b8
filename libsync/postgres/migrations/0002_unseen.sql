-- A peer's writes of a row that an open transaction of the application holds (libsync/core/CONFLICTS.md C10): `kept` has
-- all their values, and the row follows when it is free.
ALTER TABLE mbsync.change ADD COLUMN unseen boolean NOT NULL DEFAULT false;
CREATE INDEX change_unseen ON mbsync.change (origin, counter) WHERE unseen;
