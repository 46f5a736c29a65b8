-- The rules of the fleet, and the record of what they decided. Both tables are synchronised like the application's own:
-- what is published or resolved on one node travels to all, and a node that joins gets both.

-- Policy documents as they were published. The highest version holds; the older ones stay, since a set of writes is
-- judged by the highest version among them (libsync/core/CONFLICTS.md C11).
CREATE TABLE mbsync.policy (
  version      bigint PRIMARY KEY CHECK (version > 0),
  document     text NOT NULL,         -- TOML, with everything in it that the rules depend on
  published_by text NOT NULL,         -- the node's name
  published_at timestamptz NOT NULL
);

-- One line a conflict: a row, and the writes that did not agree. `id` is computed from the row and the dots of these
-- writes, so it is the same wherever the conflict is judged, and so is everything else but recorded_at. Where some node
-- heard of two of three siblings first, there are lines for both; mbsync.conflict shows the one that has all.
--   kind: values (siblings of columns), existence (deleted on one side), unique, reference, newcomer
--   columns: whose values differ, by name; none where only the row's existence is at stake
--   versions: [{"version": 1, "node": "05f3...", "counter": 4, "at": "2026-01-31T10:00:00.5Z" or null, "deleted": false,
--             "values": {column: text or null}}, ...] in the order of time
--   outcome: {"exists": true, "rule": what decided on the existence or null, "version": which one won it or null,
--             "columns": {column: {"rule": "last-writer-wins", "version": 2, or null and "value": what was computed}}}
--   is_open: the rules say that a person must decide, and nobody has yet
DROP TABLE mbsync.conflict;
CREATE TABLE mbsync.conflict_record (
  id          uuid PRIMARY KEY,
  kind        text NOT NULL,
  schema_name text NOT NULL,
  table_name  text NOT NULL,
  key         text COLLATE "C" NOT NULL,
  dots        text[] NOT NULL,        -- "05f3...:4" of all versions
  columns     text[] NOT NULL,
  versions    jsonb NOT NULL,
  outcome     jsonb NOT NULL,
  at          timestamptz NOT NULL,   -- of the latest version; -infinity if nobody knows
  is_open     boolean NOT NULL,
  resolution  jsonb,                  -- {"how": "accept", "by": node, "at": time, ...}; NULL: as the rules decided
  recorded_at timestamptz NOT NULL DEFAULT now()  -- when this node heard of it; the one column that does not travel
);
CREATE INDEX conflict_row ON mbsync.conflict_record (schema_name, table_name, hashtextextended(key, 0));
CREATE INDEX conflict_open ON mbsync.conflict_record (at) WHERE is_open;

-- The record as applications and people read it. Stable: columns are added, none is changed or removed.
CREATE VIEW mbsync.conflict AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, c.columns, c.versions, c.outcome, c.at, c.is_open, c.resolution,
       c.recorded_at
  FROM mbsync.conflict_record c
 WHERE NOT EXISTS (SELECT FROM mbsync.conflict_record o
                    WHERE o.schema_name = c.schema_name AND o.table_name = c.table_name
                      AND hashtextextended(o.key, 0) = hashtextextended(c.key, 0) AND o.key = c.key
                      AND o.kind = c.kind AND o.id <> c.id AND o.dots @> c.dots);

-- One line a column that differs (NULL: whether the row exists), with who won and who lost.
CREATE VIEW mbsync.conflict_value AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, d.column_name, d.rule,
       CASE WHEN w.winner IS NULL THEN d.value ELSE w.winner ->> 'value' END AS value, w.winner, l.losers, c.at, c.is_open
  FROM mbsync.conflict c
 CROSS JOIN LATERAL (SELECT e.key AS column_name, e.value ->> 'rule' AS rule, e.value -> 'version' AS version,
                            e.value ->> 'value' AS value
                       FROM jsonb_each(c.outcome -> 'columns') e
                     UNION ALL
                     SELECT NULL, c.outcome ->> 'rule', c.outcome -> 'version', NULL WHERE c.outcome ->> 'rule' IS NOT NULL) d
  LEFT JOIN LATERAL (SELECT jsonb_build_object('node', v -> 'node', 'counter', v -> 'counter', 'at', v -> 'at', 'deleted',
                                               v -> 'deleted', 'value', v -> 'values' -> d.column_name) AS winner
                       FROM jsonb_array_elements(c.versions) v WHERE v -> 'version' = d.version) w ON true
 CROSS JOIN LATERAL (SELECT coalesce(jsonb_agg(jsonb_build_object('node', v -> 'node', 'counter', v -> 'counter', 'at',
                                     v -> 'at', 'deleted', v -> 'deleted', 'value', v -> 'values' -> d.column_name)), '[]')
                            AS losers
                       FROM jsonb_array_elements(c.versions) v
                      WHERE v -> 'version' IS DISTINCT FROM d.version
                        AND CASE WHEN d.column_name IS NULL THEN v -> 'deleted' <> coalesce(w.winner -> 'deleted', 'null')
                                 ELSE NOT (v -> 'deleted')::boolean AND v -> 'values' ? d.column_name
                                  AND v -> 'values' -> d.column_name IS DISTINCT FROM
                                      CASE WHEN w.winner IS NULL THEN to_jsonb(d.value) ELSE w.winner -> 'value' END END) l;

-- Rows that cannot be written as the rules want them, and why: their writes wait in mbsync.change as unseen.
CREATE TABLE mbsync.parked (
  tab      int NOT NULL REFERENCES mbsync.synced_table ON DELETE CASCADE,
  key      text COLLATE "C" NOT NULL,
  reason   text NOT NULL,
  since    timestamptz NOT NULL DEFAULT now(),
  tries    int NOT NULL DEFAULT 1,
  next_try timestamptz NOT NULL
);
CREATE INDEX parked_row ON mbsync.parked (tab, hashtextextended(key, 0));

-- policy: the version that the write's origin had; sums: what it adds to counters (libsync/core/CONFLICTS.md C16)
ALTER TABLE mbsync.change ADD COLUMN policy bigint NOT NULL DEFAULT 0, ADD COLUMN sums text;
ALTER TABLE mbsync.capture ADD COLUMN sums text;
