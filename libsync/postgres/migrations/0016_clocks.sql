-- How far the clock of a peer was ahead of this node's when it answered last, in milliseconds; negative: behind. NULL: it
-- has not answered.
ALTER TABLE mbsync.peer ADD COLUMN clock_ahead_ms bigint;
