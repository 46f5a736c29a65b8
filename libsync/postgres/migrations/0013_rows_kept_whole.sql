-- capture.op R: a row that a trigger could not take apart, as JSON in `image`. `cols` says which side of an update it is,
-- o or n, and both sides of one update have one `at`; NULL: the row came or went.

-- The record with these members, as far as they can be read as the types that its columns have by now; the others are
-- NULL.
CREATE FUNCTION mbsync.populate_or_null(base anyelement, members json) RETURNS anyelement
LANGUAGE plpgsql AS $function$
BEGIN
  RETURN json_populate_record(base, members);
EXCEPTION WHEN OTHERS THEN
  IF left(SQLSTATE, 2) IN ('08', '40', '53', '55', '57', '58') THEN
    RAISE;
  END IF;
  RETURN base;
END $function$;
REVOKE EXECUTE ON FUNCTION mbsync.populate_or_null FROM PUBLIC;

-- A decision of a person's is not hidden behind a line that has more versions and is open still.
CREATE OR REPLACE VIEW mbsync.conflict AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, c.columns, c.versions, c.outcome, c.at, c.is_open, c.resolution,
       c.recorded_at
  FROM mbsync.conflict_record c
 WHERE NOT EXISTS (SELECT FROM mbsync.conflict_record o
                    WHERE o.schema_name = c.schema_name AND o.table_name = c.table_name
                      AND hashtextextended(o.key, 0) = hashtextextended(c.key, 0) AND o.key = c.key
                      AND o.kind = c.kind AND o.dots @> c.dots AND NOT o.dots <@ c.dots
                      AND (c.resolution IS NULL OR o.resolution IS NOT NULL));

-- Where two rows clash, their values are equal, and what tells the versions apart is the row.
CREATE OR REPLACE VIEW mbsync.open_conflict AS
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
                                  AND (v -> 'values' ->> d.column_name IS DISTINCT FROM
                                       CASE WHEN w.version IS NULL THEN d.value
                                            ELSE w.version -> 'values' ->> d.column_name END
                                       OR v ->> 'key' IS DISTINCT FROM w.version ->> 'key') END) o ON true
 WHERE c.is_open;

CREATE OR REPLACE VIEW mbsync.conflict_value AS
SELECT c.id, c.kind, c.schema_name, c.table_name, c.key, d.column_name, d.rule,
       CASE WHEN w.winner IS NULL THEN d.value ELSE w.winner ->> 'value' END AS value, w.winner, l.losers, c.at, c.is_open
  FROM mbsync.conflict c
 CROSS JOIN LATERAL (SELECT e.key AS column_name, e.value ->> 'rule' AS rule, e.value -> 'version' AS version,
                            e.value ->> 'value' AS value
                       FROM jsonb_each(c.outcome -> 'columns') e
                     UNION ALL
                     SELECT NULL, c.outcome ->> 'rule', c.outcome -> 'version', NULL WHERE c.outcome ->> 'rule' IS NOT NULL) d
  LEFT JOIN LATERAL (SELECT jsonb_build_object('node', v -> 'node', 'counter', v -> 'counter', 'at', v -> 'at', 'deleted',
                                               v -> 'deleted', 'value', v -> 'values' -> d.column_name) AS winner, v ->> 'key' AS key
                       FROM jsonb_array_elements(c.versions) v WHERE v -> 'version' = d.version) w ON true
 CROSS JOIN LATERAL (SELECT coalesce(jsonb_agg(jsonb_build_object('node', v -> 'node', 'counter', v -> 'counter', 'at',
                                     v -> 'at', 'deleted', v -> 'deleted', 'value', v -> 'values' -> d.column_name)), '[]')
                            AS losers
                       FROM jsonb_array_elements(c.versions) v
                      WHERE v -> 'version' IS DISTINCT FROM d.version
                        AND CASE WHEN d.column_name IS NULL THEN v -> 'deleted' <> coalesce(w.winner -> 'deleted', 'null')
                                 ELSE NOT (v -> 'deleted')::boolean AND v -> 'values' ? d.column_name
                                  AND (v -> 'values' -> d.column_name IS DISTINCT FROM
                                       CASE WHEN w.winner IS NULL THEN to_jsonb(d.value) ELSE w.winner -> 'value' END
                                       OR (w.key IS NOT NULL AND v ->> 'key' IS DISTINCT FROM w.key)) END) l;
