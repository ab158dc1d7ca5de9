-- What no role needs and none has: temporary tables, large objects, the advisory lock that marks the turnout reader's place,
-- and an address in the log of attempts. And what the fuse and a restored database need of the worker's functions.

REVOKE TEMPORARY ON DATABASE voterdb FROM PUBLIC;

-- A large object is room that nobody asked for and no table's rights bound.
REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid), pg_catalog.lo_from_bytea(oid, bytea),
    pg_catalog.lo_open(oid, integer), pg_catalog.lo_put(oid, bigint, bytea), pg_catalog.lo_unlink(oid),
    pg_catalog.lowrite(integer, bytea), pg_catalog.lo_truncate(integer, integer), pg_catalog.lo_truncate64(integer, bigint)
    FROM PUBLIC;

-- Whoever may take any advisory lock can take the turnout reader's place and count nothing. The place is taken by
-- worker_turnout_place, as the owner; the desk's own locks are of two integers, which no single number collides with.
REVOKE EXECUTE ON FUNCTION
    pg_catalog.pg_advisory_lock(bigint), pg_catalog.pg_advisory_lock(integer, integer),
    pg_catalog.pg_advisory_lock_shared(bigint), pg_catalog.pg_advisory_lock_shared(integer, integer),
    pg_catalog.pg_advisory_xact_lock(bigint), pg_catalog.pg_advisory_xact_lock(integer, integer),
    pg_catalog.pg_advisory_xact_lock_shared(bigint), pg_catalog.pg_advisory_xact_lock_shared(integer, integer),
    pg_catalog.pg_try_advisory_lock(bigint), pg_catalog.pg_try_advisory_lock(integer, integer),
    pg_catalog.pg_try_advisory_lock_shared(bigint), pg_catalog.pg_try_advisory_lock_shared(integer, integer),
    pg_catalog.pg_try_advisory_xact_lock(bigint), pg_catalog.pg_try_advisory_xact_lock(integer, integer),
    pg_catalog.pg_try_advisory_xact_lock_shared(bigint), pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer), pg_catalog.pg_try_advisory_lock(integer, integer)
    TO ballot_desk;

-- The desk and the checker see attempts without the sealed address (002: no IP address).
REVOKE SELECT ON ballot.attempts FROM ballot_desk, ballot_checker;
GRANT SELECT (ballot, shard, entry, kind, outcome, credential_digest, at_us) ON ballot.attempts TO ballot_desk, ballot_checker;

-- Whether the fuse has blown and nobody's evidence has cleared it since: a worker that starts then judges before it stores.
-- It is about our keys, which all ballots share, hence no ballot.
CREATE FUNCTION ballot.worker_fuse_state() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT coalesce((
        SELECT e.kind = 'fuse' FROM events AS e
        WHERE e.ballot IS NULL AND e.kind IN ('fuse', 'fuse_cleared')
        ORDER BY e.seq DESC LIMIT 1), false)
$$;

-- As in 003, with the kinds that came since.
CREATE OR REPLACE FUNCTION ballot.worker_event(p_ballot text, p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF p_kind NOT IN ('fuse', 'fuse_cleared', 'trust_given', 'trust_refused', 'attempt_unreadable', 'document_refused',
            'storing_rewound') THEN
        RAISE EXCEPTION 'a worker writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (ballot, kind, actor, detail) VALUES (p_ballot, p_kind, 'worker', p_detail);
END
$$;

REVOKE ALL ON FUNCTION ballot.worker_fuse_state FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.worker_fuse_state TO ballot_worker;
