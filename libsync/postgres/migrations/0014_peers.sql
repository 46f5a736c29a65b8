-- What this node has seen of others, as it runs. Of this node alone: it is never sent, and nothing depends on it. The
-- running node brings it up to date every few seconds; status reads it, and the addresses tell a node that starts where
-- its peers were.

-- One line a node that has asked here, or has answered.
--   asked_*: it has asked this node; from: an address without port; key: which of this node's keys it has come with
--   answered_*: it has answered this node
--   key: current (SYNC_REGISTRATION_KEY) or next (SYNC_REGISTRATION_KEY_NEXT); NULL: not since this node was started,
--     since what was the next key may be the current one by now
--   failed_at: when it could not be asked the last time, which may be long over; failure: why
CREATE TABLE mbsync.peer (
  node         bigint PRIMARY KEY CHECK (node > 0),
  name         text NOT NULL,
  asked_at     timestamptz,
  asked_from   text,
  asked_key    text CHECK (asked_key IN ('current', 'next')),
  answered_at  timestamptz,
  answered_key text CHECK (answered_key IN ('current', 'next')),
  failed_at    timestamptz,
  failure      text
) WITH (fillfactor = 50);

-- One line an address at which this node has looked for somebody.
--   node: who answered there last; NULL: nobody yet
CREATE TABLE mbsync.peer_address (
  host        text NOT NULL,
  port        int NOT NULL CHECK (port BETWEEN 1 AND 65535),
  node        bigint CHECK (node > 0),
  answered_at timestamptz,
  failed_at   timestamptz,
  failure     text,
  PRIMARY KEY (host, port)
) WITH (fillfactor = 50);
CREATE INDEX peer_address_node ON mbsync.peer_address (node);
