-- What a gate must still have before a worker vouches for it, and a queue's number that no restore brings back.

-- By shard: the window on record (none before the opening), how many codes were revoked and how many votes released. The gate counts
-- both, and a closing time moves there first, so a gate that has less of it, or another window, is an older copy.
CREATE FUNCTION ballot.worker_kept()
RETURNS TABLE (ballot text, shard integer, opens_us bigint, closes_us bigint, revoked bigint, released bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT b.ballot, s.shard, w.opens_us, w.closes_us, coalesce(r.codes, 0), coalesce(x.votes, 0)
    FROM ballots AS b
    CROSS JOIN LATERAL generate_series(0, b.shards - 1) AS s (shard)
    LEFT JOIN (SELECT DISTINCT ON (l.ballot) l.ballot, l.opens_us, l.closes_us FROM lifecycle AS l ORDER BY l.ballot, l.seq DESC) AS w
        ON w.ballot = b.ballot
    LEFT JOIN (SELECT v.ballot, g.shard, count(*) AS codes FROM revocations AS v JOIN register AS g USING (ballot, credential_digest)
        GROUP BY 1, 2) AS r ON r.ballot = b.ballot AND r.shard = s.shard
    LEFT JOIN (SELECT e.ballot, e.shard, count(*) AS votes FROM releases AS e GROUP BY 1, 2) AS x
        ON x.ballot = b.ballot AND x.shard = s.shard
    ORDER BY b.ballot, s.shard
$$;

-- A counter that starts again after a restore would give the numbers of before once more, and a batch of then would pass. So the
-- number goes on with the clock, in milliseconds, and what the queue says is believed up to a day ahead of it.
CREATE FUNCTION ballot.queue_epoch_most(p_number bigint) RETURNS bigint
LANGUAGE sql VOLATILE
SET search_path = ballot, pg_temp
AS $$ SELECT greatest(p_number, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) + 86400000 $$;

-- A batch of a version that knows no number holds no lock of ours, but it changes marks: whoever is about to commit is waited for.
CREATE OR REPLACE FUNCTION ballot.recovery_epoch(p_queue bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7126401854);
    LOCK TABLE marks IN SHARE ROW EXCLUSIVE MODE;
    UPDATE queue_epoch AS e
    SET number = greatest(e.number + 1, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        CASE WHEN p_queue <= queue_epoch_most(e.number) THEN p_queue + 1 END)
    RETURNING e.number INTO STRICT v_number;
    RETURN v_number;
END
$$;

CREATE OR REPLACE FUNCTION ballot.worker_epoch(p_queue bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_number bigint;
    v_before bigint;
BEGIN
    SELECT e.number INTO STRICT v_number FROM queue_epoch AS e;
    IF p_queue > v_number AND p_queue <= queue_epoch_most(v_number) THEN
        PERFORM pg_advisory_xact_lock(7126401854);
        SELECT e.number INTO STRICT v_before FROM queue_epoch AS e;
        IF p_queue > v_before THEN
            UPDATE queue_epoch SET number = p_queue;
            INSERT INTO events (kind, actor, detail)
                VALUES ('queue_epoch_raised', 'worker', jsonb_build_object('from', v_before, 'to', p_queue));
        END IF;
        v_number := greatest(v_before, p_queue);
    END IF;
    RETURN v_number;
END
$$;

REVOKE ALL ON FUNCTION ballot.worker_kept, ballot.queue_epoch_most FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.worker_kept TO ballot_worker;
GRANT EXECUTE ON FUNCTION ballot.queue_epoch_most TO ballot_recovery, ballot_checker;
GRANT SELECT ON ballot.queue_epoch TO ballot_checker;
