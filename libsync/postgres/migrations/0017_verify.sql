-- What comparisons of rows with other members have found, the latest of each table. Of this node alone: it is never
-- sent, and nothing depends on it but what status shows and when a member is compared with again.

-- One line a member with which all tables were compared, at least once.
CREATE TABLE mbsync.verification (
  peer        bigint PRIMARY KEY CHECK (peer > 0),
  finished_at timestamptz NOT NULL
);

-- One line a member and table.
--   state: equal, different, undecided (some rows kept changing, or wait), not compared; why: it was not, or not wholly
--   rows: that were compared; changing, waiting: rows that were not
--   differences: [{"key": "...", "what": "values" | "missing here" | "missing there", "columns": [...]}, ...]
CREATE TABLE mbsync.verified_table (
  peer        bigint NOT NULL CHECK (peer > 0),
  table_name  text NOT NULL,
  state       text NOT NULL,
  why         text NOT NULL,
  rows        bigint NOT NULL,
  changing    bigint NOT NULL,
  waiting     bigint NOT NULL,
  differences jsonb NOT NULL,
  at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (peer, table_name)
);

-- Rows of this node that differ from another member's although both have the same writes, and that are to take part as
-- if the application had just written them, as soon as one certain write of theirs comes: 'mbsync verify --repair' of
-- `asker` makes it on `awaits`. Those that follow it on other members, with the same time as here, set them off as well,
-- and nothing else does. They are few, and go within moments, unless the way between the two is cut just then: then they
-- wait for that write for as long as it may take.
--   cols: as in mbsync.capture; at: the time that the write of this row is to have; awaited_at: that of the other one
--   seen: what this node had of each origin; later writes of the row stand for what it shows in their columns
CREATE TABLE mbsync.armed (
  tab        int NOT NULL REFERENCES mbsync.synced_table ON DELETE CASCADE,
  key        text COLLATE "C" NOT NULL,
  cols       text COLLATE "C" NOT NULL,
  at         timestamptz NOT NULL,
  asker      bigint NOT NULL CHECK (asker > 0),
  awaits     bigint NOT NULL CHECK (awaits > 0),
  awaited_at timestamptz NOT NULL,
  seen       jsonb NOT NULL,
  armed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX armed_row ON mbsync.armed (tab, hashtextextended(key, 0));
