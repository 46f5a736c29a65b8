-- A row of the fleet that a node could not write when it joined: no write of anybody's, since nobody remembers whose it is,
-- but kept like one that is unseen. What is written here meanwhile comes on top of it (libsync/core/CONFLICTS.md C9, C21).
ALTER TABLE mbsync.change ADD COLUMN is_fleet_row boolean NOT NULL DEFAULT false;
CREATE INDEX change_fleet_row ON mbsync.change (tab) WHERE is_fleet_row;
