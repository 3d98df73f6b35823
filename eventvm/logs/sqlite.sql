-- The format of an eventvm log, version 1. docs/log-format.md explains it.
--
-- Truth: streams and records. The database refuses to change or to delete either.
-- Derived from them, and rebuilt by replay: heads, names, keys, tree, kept.

CREATE TABLE streams(
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL UNIQUE           -- a machine's id, or lifecycle/..., host/...
) STRICT;

CREATE TABLE records(
    position INTEGER PRIMARY KEY,         -- dense, from 1
    stream INTEGER NOT NULL REFERENCES streams(id),
    version INTEGER NOT NULL,             -- gapless within the stream, from 1
    previous INTEGER NOT NULL,            -- position of the stream's record before, 0 for the first
    recorded_at INTEGER NOT NULL,         -- nanoseconds since 1970; never goes back
    actor TEXT NOT NULL,
    key TEXT,
    digest BLOB NOT NULL,                 -- with a key: SHA-256 of the name and the command
    cause INTEGER NOT NULL,
    schema INTEGER NOT NULL,
    body TEXT NOT NULL,                   -- the event as JSON; exactly these bytes are hashed
    leaf BLOB NOT NULL                    -- RFC 6962 leaf over the canonical bytes
) STRICT;

-- No index over the log: an index on (stream, version) dirties a page for each machine of a batch and makes
-- appending slower the longer the log is. A stream is read back along `previous` from its head.
CREATE TABLE heads(
    stream INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;

CREATE TABLE names(
    name TEXT PRIMARY KEY,
    stream TEXT NOT NULL,                 -- who holds it, or held it last; empty: nobody yet
    held INTEGER NOT NULL,
    reserved TEXT NOT NULL                -- who is about to take it
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_stream ON names(stream);

CREATE TABLE keys(
    key TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tree(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    origin TEXT NOT NULL,                 -- names this log for ever
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    frontier BLOB NOT NULL
) STRICT;

CREATE TABLE kept(
    view TEXT NOT NULL,
    part INTEGER NOT NULL,                -- 0 holds the tree that the view was folded at
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,                 -- over the whole view, so that a part cannot go missing
    bytes BLOB NOT NULL,
    PRIMARY KEY (view, part)
) STRICT;

CREATE TRIGGER records_are_not_updated BEFORE UPDATE ON records
BEGIN SELECT RAISE(ABORT, 'a record is never changed'); END;
CREATE TRIGGER records_are_not_deleted BEFORE DELETE ON records
BEGIN SELECT RAISE(ABORT, 'a record is never deleted'); END;
CREATE TRIGGER streams_are_not_updated BEFORE UPDATE ON streams
BEGIN SELECT RAISE(ABORT, 'a stream is never changed'); END;
CREATE TRIGGER streams_are_not_deleted BEFORE DELETE ON streams
BEGIN SELECT RAISE(ABORT, 'a stream is never deleted'); END;

-- INSERT OR REPLACE deletes without asking the triggers above: whatever is not next is refused.
CREATE TRIGGER streams_are_not_replaced BEFORE INSERT ON streams
WHEN EXISTS (SELECT 1 FROM streams WHERE id = NEW.id OR stream = NEW.stream)
BEGIN SELECT RAISE(ABORT, 'a stream is never changed'); END;

CREATE TRIGGER records_follow_their_head BEFORE INSERT ON records
WHEN NEW.position <> 1 + coalesce((SELECT max(position) FROM records), 0)
  OR NEW.version <> 1 + coalesce((SELECT version FROM heads WHERE stream = NEW.stream), 0)
  OR NEW.previous <> coalesce((SELECT position FROM heads WHERE stream = NEW.stream), 0)
BEGIN SELECT RAISE(ABORT, 'the stream has moved on'); END;

CREATE TRIGGER records_move_their_head AFTER INSERT ON records
BEGIN
    INSERT INTO heads VALUES (NEW.stream, NEW.version, NEW.position)
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version, position = excluded.position;
END;

CREATE VIEW log AS
SELECT
    records.position,
    datetime(records.recorded_at / 1000000000, 'unixepoch') AS recorded,
    coalesce(
        (SELECT name FROM names WHERE names.stream = streams.stream ORDER BY held DESC LIMIT 1), streams.stream
    ) AS name,
    records.version,
    json_extract(records.body, '$.type') AS type,
    records.actor,
    json_extract(records.body, '$.reason') AS reason,
    streams.stream,
    records.body
FROM records JOIN streams ON streams.id = records.stream
ORDER BY records.position;
