-- What people decide about conflicts, and what they read for it (libsync/postgres/RECORD.md).
--
-- conflict_record.resolution: {"how": accept, keep, set, close (mbsync.close_conflict), or with (a narrower line of the
-- same conflict), "by": the node's name, "at": "2026-01-31T10:00:00.500000Z", "user": the database user, "version": of a
-- keep, "note": of a close, "conflict": of a with, "row": updated, inserted, deleted or unchanged, "changed": {column:
-- {"from": text or null, "to": text or null}}, "was_open": as it was before, "previous": the resolution before or absent}

-- For counting, for the latest first, and for what is old enough to be removed.
CREATE INDEX conflict_at ON mbsync.conflict_record (at);
CREATE INDEX conflict_recorded ON mbsync.conflict_record (recorded_at);
CREATE INDEX conflict_resolved ON mbsync.conflict_record (at) WHERE resolution IS NOT NULL;

-- What a person has to decide: a line for each column (NULL: whether the row exists) and each version that says
-- otherwise than what stands for now. Stable: columns are added, none is changed or removed.
CREATE VIEW mbsync.open_conflict AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, d.column_name, d.rule,
       CASE WHEN w.version IS NULL THEN d.value ELSE w.version -> 'values' ->> d.column_name END AS standing_value,
       coalesce((w.version ->> 'deleted')::boolean, NOT (c.outcome ->> 'exists')::boolean) AS standing_deleted,
       coalesce(wn.name, w.version ->> 'node') AS standing_node, (w.version ->> 'at')::timestamptz AS standing_at,
       (w.version ->> 'version')::int AS standing_version,
       o.version -> 'values' ->> d.column_name AS other_value, (o.version ->> 'deleted')::boolean AS other_deleted,
       coalesce(o.name, o.version ->> 'node') AS other_node, (o.version ->> 'at')::timestamptz AS other_at,
       (o.version ->> 'version')::int AS other_version, c.at
  FROM mbsync.conflict c
 CROSS JOIN LATERAL (SELECT e.key AS column_name, e.value ->> 'rule' AS rule, e.value -> 'version' AS version,
                            e.value ->> 'value' AS value
                       FROM jsonb_each(c.outcome -> 'columns') e
                     UNION ALL
                     SELECT NULL, c.outcome ->> 'rule', c.outcome -> 'version', NULL
                      WHERE c.outcome ->> 'rule' IS NOT NULL OR c.outcome -> 'columns' = '{}') d
  LEFT JOIN LATERAL (SELECT v AS version FROM jsonb_array_elements(c.versions) v
                      WHERE v -> 'version' = d.version) w ON true
  LEFT JOIN mbsync.node wn ON lpad(to_hex(wn.id), 16, '0') = w.version ->> 'node'
  LEFT JOIN LATERAL (SELECT v AS version, n.name FROM jsonb_array_elements(c.versions) v
                       LEFT JOIN mbsync.node n ON lpad(to_hex(n.id), 16, '0') = v ->> 'node'
                      WHERE v -> 'version' IS DISTINCT FROM d.version
                        AND CASE WHEN d.column_name IS NULL THEN v -> 'deleted' IS DISTINCT FROM w.version -> 'deleted'
                                 ELSE NOT (v -> 'deleted')::boolean AND v -> 'values' ? d.column_name
                                  AND v -> 'values' ->> d.column_name IS DISTINCT FROM
                                      CASE WHEN w.version IS NULL THEN d.value
                                           ELSE w.version -> 'values' ->> d.column_name END END) o ON true
 WHERE c.is_open;

-- What has happened to a row: its conflicts, and what people did about them. Stable as well.
--   event: conflict (at: when the latest of its versions was written) or resolution (at: when it was made)
--   node: of a conflict, who wrote the versions; of a resolution, where it was made
CREATE VIEW mbsync.conflict_history AS
SELECT c.schema_name, c.table_name, c.key, c.at, 'conflict' AS event, c.id AS conflict_id, c.kind, c.columns,
       (SELECT string_agg(DISTINCT coalesce(n.name, v ->> 'node'), ', ')
          FROM jsonb_array_elements(c.versions) v
          LEFT JOIN mbsync.node n ON lpad(to_hex(n.id), 16, '0') = v ->> 'node') AS node,
       NULL::text AS how, NULL::text AS user_name, c.outcome AS details
  FROM mbsync.conflict c
UNION ALL
SELECT c.schema_name, c.table_name, c.key,
       CASE WHEN r.step ->> 'at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$' THEN (r.step ->> 'at')::timestamptz END,
       'resolution', c.id, c.kind, c.columns, r.step ->> 'by', r.step ->> 'how', r.step ->> 'user',
       r.step - 'previous'
  FROM mbsync.conflict c
 CROSS JOIN LATERAL (WITH RECURSIVE steps AS (
                       SELECT c.resolution AS step WHERE c.resolution IS NOT NULL
                       UNION ALL
                       SELECT step -> 'previous' FROM steps WHERE jsonb_typeof(step -> 'previous') = 'object')
                     SELECT step FROM steps) r;

-- For an application that has decided a conflict by writing the row itself: closes it, with a note. In the same
-- transaction as the write, if possible. False if it was not open. With the caller's rights.
CREATE FUNCTION mbsync.close_conflict(id uuid, note text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  entry mbsync.conflict_record;
  decided jsonb;
BEGIN
  SELECT * INTO entry FROM mbsync.conflict_record r WHERE r.id = close_conflict.id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no conflict %', close_conflict.id
      USING ERRCODE = 'no_data_found', HINT = 'mbsync.conflict has those that there are';
  END IF;
  IF NOT entry.is_open THEN
    RETURN false;
  END IF;
  decided := jsonb_build_object(
    'by', (SELECT n.name FROM mbsync.node n WHERE n.is_self), 'user', session_user, 'was_open', true,
    'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'row', 'unchanged', 'changed', '{}'::jsonb);
  UPDATE mbsync.conflict_record r
     SET is_open = false,
         resolution = decided || jsonb_build_object('how', 'close')
                      || CASE WHEN note IS NULL THEN '{}' ELSE jsonb_build_object('note', note) END
                      || CASE WHEN r.resolution IS NULL THEN '{}' ELSE jsonb_build_object('previous', r.resolution) END
   WHERE r.id = entry.id;
  UPDATE mbsync.conflict_record r
     SET is_open = false,
         resolution = decided || jsonb_build_object('how', 'with', 'conflict', entry.id)
                      || CASE WHEN r.resolution IS NULL THEN '{}' ELSE jsonb_build_object('previous', r.resolution) END
   WHERE r.schema_name = entry.schema_name AND r.table_name = entry.table_name
     AND hashtextextended(r.key, 0) = hashtextextended(entry.key, 0) AND r.key = entry.key
     AND r.kind = entry.kind AND r.id <> entry.id AND r.dots <@ entry.dots AND r.is_open;
  RETURN true;
END $function$;
