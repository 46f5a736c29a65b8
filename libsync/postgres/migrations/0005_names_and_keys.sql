-- What tells a renamed table or column from a new one, within one database: a restore gives new numbers, but then the
-- names are the same.
ALTER TABLE mbsync.synced_table ADD COLUMN relation oid;
ALTER TABLE mbsync.synced_column ADD COLUMN attnum int;
-- Numbers and types of the key's columns. When they change, the texts by which rows are known change as well.
ALTER TABLE mbsync.synced_table ADD COLUMN key_definition text NOT NULL DEFAULT '';
