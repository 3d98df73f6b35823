-- How the writing connection appends: a whole batch is one row for this view, and so one statement, which SQLite
-- carries out from its beginning to its commit without the interpreter's lock.

CREATE TEMP VIEW batch AS SELECT
    0 AS before,                          -- the size of the log that the batch was made for
    '[]' AS streams,                      -- [id, stream]
    '[]' AS records,                      -- [stream, version, previous, recorded_at, actor, key, cause, schema, body, digest]
    x'' AS leaves,                        -- 32 bytes for each record
    x'' AS digests,                       -- 32 bytes for each that has one; its record says where they begin
    '[]' AS keys,                         -- [key, position]
    '[]' AS names,                        -- [name, stream, held, reserved]
    0 AS size,
    x'' AS root,
    x'' AS frontier;

CREATE TEMP TRIGGER batch_is_written INSTEAD OF INSERT ON batch
BEGIN
    INSERT INTO streams SELECT value ->> 0, value ->> 1 FROM json_each(NEW.streams);
    INSERT INTO records
    SELECT
        NEW.before + key + 1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        coalesce(substr(NEW.digests, value ->> 9, 32), x''), value ->> 6, value ->> 7, value ->> 8,
        substr(NEW.leaves, 32 * key + 1, 32)
    FROM json_each(NEW.records);
    INSERT INTO keys SELECT value ->> 0, value ->> 1 FROM json_each(NEW.keys);
    INSERT INTO names
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(NEW.names) WHERE true
    ON CONFLICT (name) DO UPDATE
    SET stream = excluded.stream, held = excluded.held, reserved = excluded.reserved;
    UPDATE tree SET size = NEW.size, root = NEW.root, frontier = NEW.frontier WHERE size = NEW.before;
    SELECT RAISE(ABORT, 'somebody else has written to this log') WHERE changes() <> 1;
END;
