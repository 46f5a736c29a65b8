-- An index entry holds no more than some 2,700 bytes, and the text of a key may be longer than the key is in the
-- application's own index. So rows are found by a hash of their key; whoever looks compares the key as well
-- (change_sql.h). Such an index is also a good deal smaller.
ALTER TABLE mbsync.change DROP CONSTRAINT change_pkey;
CREATE INDEX change_row ON mbsync.change (tab, hashtextextended(key, 0));
DROP INDEX mbsync.conflict_row;
CREATE INDEX conflict_row ON mbsync.conflict (schema_name, table_name, hashtextextended(key, 0));
