-- Members that are away: what is said of them, and what of it is agreed here (libsync/core/CONFLICTS.md C22).

-- Synchronised like the application's own tables. A node that nobody has ever said anything of has no line.
--   away: the fleet does not wait for it any more. It is one decision with reason, said_by (a node's name) and said_at
--   banned: nor does it, and it is not to come back, whatever is said besides
--   back_at: since then it asks to be taken back; until all have heard that it is away, it is
--   taken: who has come back as another has brought its writes along up to this counter
--   back_as: who that is, if it was this one itself
CREATE TABLE mbsync.membership (
  node    bigint PRIMARY KEY CHECK (node > 0),
  away    boolean NOT NULL,
  banned  boolean NOT NULL DEFAULT false,
  reason  text NOT NULL,
  said_by text NOT NULL,
  said_at timestamptz NOT NULL,
  back_at timestamptz,
  taken   bigint,
  back_as bigint
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
