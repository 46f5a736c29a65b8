-- Functions that decide conflicts (libsync/core/CONFLICTS.md C13).

-- capture.op: also T, a row that mbsync touches, so that it is there to stay; `cols` names no column, and nothing but the
-- row mark is written (C19).

-- By what is in it, a function is known on all nodes. It is written out in the same way whatever the search path of the
-- session is; `function` is "schema.name(jsonb)", quoted where it must be. NULL where it does not exist.
CREATE FUNCTION mbsync.function_md5(function text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS 'SELECT md5(pg_get_functiondef(to_regprocedure($1)))';
REVOKE EXECUTE ON FUNCTION mbsync.function_md5 FROM PUBLIC;

-- As before, but the value is printed as all values are, and a function that this database cannot run (a helper or a
-- right is missing) has not failed by itself: `failed` is NULL then, and `value` says why.
CREATE OR REPLACE FUNCTION mbsync.call_rule(function text, siblings jsonb, type text, OUT failed boolean, OUT value text)
LANGUAGE plpgsql AS $function$
BEGIN
  failed := false;
  EXECUTE format('SELECT CASE WHEN num_nulls(r.v) = 0 THEN concat(r.v) END FROM (SELECT %s($1)::%s AS v OFFSET 0) r',
                 function, type) INTO value USING siblings;
EXCEPTION WHEN OTHERS THEN
  IF left(SQLSTATE, 2) IN ('08', '40', '53', '55', '57', '58', 'XX') THEN
    RAISE;
  END IF;
  failed := nullif(true, left(SQLSTATE, 2) IN ('0A', '3F', '42'));
  value := CASE WHEN failed IS NULL THEN SQLERRM END;
END $function$;
