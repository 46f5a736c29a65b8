-- The table as it was when its rows were last judged, as far as rules depend on it: names, types, labels and key. A
-- change of it is noticed although it was made while mbsync was not running (libsync/core/CONFLICTS.md C11). Empty until
-- it was looked at for the first time.
ALTER TABLE mbsync.synced_table ADD COLUMN shape text NOT NULL DEFAULT '';
