-- Members that are away: what is said of them, and what of it is agreed here (libsync/core/CONFLICTS.md C22).

-- Synchronised like the application's own tables. A node that nobody has ever said anything of has no line.
--   away: the fleet does not wait for it any more. It is one decision with banned and what follows it
--   banned: nor is it to come back
--   said_by: the name of the node on which it was said
--   back_at: since then it asks to be taken back; until all have heard that it is away, it is
CREATE TABLE mbsync.membership (
  node    bigint PRIMARY KEY CHECK (node > 0),
  away    boolean NOT NULL,
  banned  boolean NOT NULL,
  reason  text NOT NULL,
  said_by text NOT NULL,
  said_at timestamptz NOT NULL,
  back_at timestamptz
);

-- Of this node alone:
--   declared: it was said here that the member is away, and all others have to hear it before anybody acts on it
--   agreed: they have; the member is not waited for
--   former: this node itself, before it came back as another
--   silent_days: days, up to silent_on, on which this node heard of others but not of the member, which lacks something
ALTER TABLE mbsync.node
  ADD COLUMN declared    boolean NOT NULL DEFAULT false,
  ADD COLUMN agreed      boolean NOT NULL DEFAULT false,
  ADD COLUMN former      boolean NOT NULL DEFAULT false,
  ADD COLUMN silent_days int NOT NULL DEFAULT 0,
  ADD COLUMN silent_on   date;

-- frozen: what this node reports while something is declared and not agreed; NULL: nothing of that origin
ALTER TABLE mbsync.version_vector ADD COLUMN frozen bigint;
