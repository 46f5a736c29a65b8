-- One line supersedes another only if it has more versions. Two lines with the same versions are two conflicts: rows that
-- one write made and that each exclude another row, or what came of the same versions under two policies. So far each
-- hid the other.
CREATE OR REPLACE VIEW mbsync.conflict AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, c.columns, c.versions, c.outcome, c.at, c.is_open, c.resolution,
       c.recorded_at
  FROM mbsync.conflict_record c
 WHERE NOT EXISTS (SELECT FROM mbsync.conflict_record o
                    WHERE o.schema_name = c.schema_name AND o.table_name = c.table_name
                      AND hashtextextended(o.key, 0) = hashtextextended(c.key, 0) AND o.key = c.key
                      AND o.kind = c.kind AND o.dots @> c.dots AND NOT o.dots <@ c.dots);
