-- mbsync's own tables. They live in the application's database, so that one transaction moves data and sync state
-- together, and a backup, a restore or a failover takes both along. Nothing is added to the application's tables but
-- triggers. What each table means to the others: libsync/postgres/README.md.

CREATE SCHEMA mbsync;
COMMENT ON SCHEMA mbsync IS 'State of mbsync. Do not change by hand; "mbsync uninstall --purge" removes it.';

CREATE TABLE mbsync.settings (
  name  text PRIMARY KEY,
  value text NOT NULL
);

-- The members of the fleet as this database knows them. Exactly one row is this node.
CREATE TABLE mbsync.node (
  id         bigint PRIMARY KEY CHECK (id > 0),
  name       text NOT NULL,
  is_self    boolean NOT NULL DEFAULT false,
  first_seen timestamptz NOT NULL DEFAULT now(),
  last_seen  timestamptz
);
CREATE UNIQUE INDEX node_self ON mbsync.node (is_self) WHERE is_self;

-- Per origin: how far this database has everything, and how far it has forgotten writes that everybody had.
CREATE TABLE mbsync.version_vector (
  origin    bigint PRIMARY KEY,
  counter   bigint NOT NULL CHECK (counter > 0),
  forgotten bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What each member last said it holds.
CREATE TABLE mbsync.report (
  node    bigint NOT NULL,
  origin  bigint NOT NULL,
  counter bigint NOT NULL,
  PRIMARY KEY (node, origin)
) WITH (fillfactor = 50);

-- The tables that take part. Rows are found again by name, since a restore gives new OIDs.
CREATE TABLE mbsync.synced_table (
  id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  schema_name text NOT NULL,
  table_name  text NOT NULL,
  key_columns text[] NOT NULL,
  width       int NOT NULL,             -- characters in this table's bit strings: row mark and all column numbers
  all_columns bit varying NOT NULL,     -- row mark and every column that exists
  adopted     boolean NOT NULL DEFAULT false,  -- rows that were there before mbsync have been given a write
  fingerprint text NOT NULL DEFAULT '', -- of the definition that the triggers were generated from
  UNIQUE (schema_name, table_name)
);

-- Column numbers are given once and never again; they outlive attribute numbers, which change with dump and restore.
CREATE TABLE mbsync.synced_column (
  tab     int NOT NULL REFERENCES mbsync.synced_table ON DELETE CASCADE,
  number  int NOT NULL CHECK (number > 0),
  name    text NOT NULL,
  dropped boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tab, number)
);
CREATE UNIQUE INDEX synced_column_name ON mbsync.synced_column (tab, name) WHERE NOT dropped;

-- What the triggers append. No index and no sequence: an append is all that an application's write pays for.
--   op: I, U, D; R is a row that a trigger could not take apart, since its table has changed (image is then JSON)
--   cols: t or f per column number from 1, what an update changed; NULL is every column
--   image: the deleted row as record text over the column numbers
CREATE TABLE mbsync.capture (
  tab   int NOT NULL,
  op    "char" NOT NULL,
  key   text COLLATE "C",
  cols  text COLLATE "C",
  at    timestamptz NOT NULL,
  image text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);

-- The live writes of each row: one line a write (libsync/core/CONFLICTS.md).
--   cols: bit 0 is the row mark, bit n is column number n
--   kept: the write's values as record text over the column numbers, where the row itself does not show them
CREATE TABLE mbsync.change (
  tab     int NOT NULL,
  key     text COLLATE "C" NOT NULL,
  origin  bigint NOT NULL,
  counter bigint NOT NULL,
  at      timestamptz NOT NULL,
  cols    bit varying NOT NULL,
  deleted boolean NOT NULL,
  kept    text,
  PRIMARY KEY (tab, key, origin, counter)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX change_dot ON mbsync.change (origin, counter);

-- Every conflict that was judged here, with everything that lost. `id` is computed from the table, the key, the column
-- and the dots, so the same conflict has the same id wherever it is judged.
CREATE TABLE mbsync.conflict (
  id          uuid PRIMARY KEY,
  schema_name text NOT NULL,
  table_name  text NOT NULL,
  key         text COLLATE "C" NOT NULL,
  column_name text,               -- NULL: whether the row exists
  rule        text NOT NULL,      -- what decided
  winner      jsonb NOT NULL,     -- {"origin", "counter", "at", "deleted", "value"}
  losers      jsonb NOT NULL,     -- a list of the same
  judged_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conflict_row ON mbsync.conflict (schema_name, table_name, key);

-- Composite keys are kept as record text; these take them apart again, without depending on the application's types.
DO $$
DECLARE
  arity int;
BEGIN
  FOR arity IN 2..32 LOOP
    EXECUTE format('CREATE TYPE mbsync.key%s AS (%s)', arity,
                   (SELECT string_agg(format('k%s text', i), ', ' ORDER BY i) FROM generate_series(1, arity) i));
  END LOOP;
END $$;
