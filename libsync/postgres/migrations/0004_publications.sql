-- A publication FOR ALL TABLES takes these in as well, and then a table without a replica identity can be neither
-- updated nor deleted from.
ALTER TABLE mbsync.capture REPLICA IDENTITY FULL;
ALTER TABLE mbsync.change REPLICA IDENTITY FULL;
