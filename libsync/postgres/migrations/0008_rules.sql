-- What rules by policy need beside the writes themselves (libsync/core/CONFLICTS.md C11 to C16).

-- Counters: what each origin has added to a column whose changes add up, in all the time that the row's key has been in
-- use. A row's value is what was last written to it as a whole, and the sum of these.
--   counter: the origin's, with which the total became what it is; the higher one is the later
--   shown: the part that the row here shows. It differs from the total while the row waits (unseen)
CREATE TABLE mbsync.counter (
  tab     int NOT NULL REFERENCES mbsync.synced_table ON DELETE CASCADE,
  key     text COLLATE "C" NOT NULL,
  number  int NOT NULL,
  origin  bigint NOT NULL,
  counter bigint NOT NULL,
  total   numeric NOT NULL,
  shown   numeric NOT NULL
);
CREATE INDEX counter_row ON mbsync.counter (tab, hashtextextended(key, 0));
ALTER TABLE mbsync.counter REPLICA IDENTITY FULL;

-- capture.sums: {"column's number": "difference"} of an update; such a column is not in `cols`
-- change.sums: {"column's number": "sum"}: what the values in `kept` include of the counters

-- Calls a function of the application's that decides a conflict. What it does to itself is its failure, and the same on
-- every node; what lies in the moment (locks, memory, a lost connection) is not.
CREATE FUNCTION mbsync.call_rule(function text, siblings jsonb, type text, OUT failed boolean, OUT value text)
LANGUAGE plpgsql AS $function$
BEGIN
  failed := false;
  EXECUTE format('SELECT (%s($1)::%s)::text', function, type) INTO value USING siblings;
EXCEPTION WHEN OTHERS THEN
  IF left(SQLSTATE, 2) IN ('08', '40', '53', '55', '57', '58', 'XX') THEN
    RAISE;
  END IF;
  failed := true;
  value := NULL;
END $function$;
REVOKE EXECUTE ON FUNCTION mbsync.call_rule FROM PUBLIC;
