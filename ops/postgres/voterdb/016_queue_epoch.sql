-- A fence between recovery of the queue and batches in flight. What a worker read from a queue that was rebuilt meanwhile is never
-- stored: its voter may have been told to vote again, for its mark is in no gate.

-- How often the queue was rebuilt (`ballot recover`). The queue has the same number in `ballot:epoch`; absent there, it is 0.
CREATE TABLE ballot.queue_epoch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint NOT NULL CHECK (number >= 0)
);
INSERT INTO ballot.queue_epoch (number) VALUES (0);
GRANT SELECT ON ballot.queue_epoch TO ballot_recovery;

-- Who stores holds the lock shared to the end of its transaction. So when recovery has it alone, everything stored until then is
-- committed, and whatever comes later sees the new number. QE001: the entries are to be read anew.
CREATE FUNCTION ballot.storing_fence(p_epoch bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7126401854);
    IF p_epoch IS DISTINCT FROM (SELECT e.number FROM queue_epoch AS e) THEN
        RAISE EXCEPTION 'these entries are not of the queue that is in use' USING ERRCODE = 'QE001';
    END IF;
END
$$;

-- Raises the number before a recovery looks at what is stored. `p_queue` is what the queue says, which is ahead after a restore of
-- this database: no number comes twice. One that is more than a thousand ahead is nobody's.
CREATE FUNCTION ballot.recovery_epoch(p_queue bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7126401854);
    UPDATE queue_epoch AS e
    SET number = 1 + CASE WHEN p_queue BETWEEN e.number AND e.number + 1000 THEN p_queue ELSE e.number END
    RETURNING e.number INTO STRICT v_number;
    RETURN v_number;
END
$$;

-- The number, for a worker that compares it with the queue's. Only recovery raises the queue's, and after this one: where the
-- queue's is ahead, this database was restored to before a recovery, and follows.
CREATE FUNCTION ballot.worker_epoch(p_queue bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_number bigint;
    v_before bigint;
BEGIN
    SELECT e.number INTO STRICT v_number FROM queue_epoch AS e;
    IF p_queue > v_number AND p_queue <= v_number + 1000 THEN
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

-- The storing functions as they are, behind the fence; nobody calls them past it.
ALTER FUNCTION ballot.store_votes(
    text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[],
    bigint[]
) RENAME TO unfenced_store_votes;
ALTER FUNCTION ballot.store_batch(
    text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
    bytea[], bytea[], bytea[], bytea[], bytea[], bigint[]
) RENAME TO unfenced_store_batch;
ALTER FUNCTION ballot.store_attempts(
    text, integer, text[], text[], text[], bytea[], bytea[], bigint[], bigint[], bigint[]
) RENAME TO unfenced_store_attempts;
ALTER FUNCTION ballot.turnout_add(text, integer, text, text, bigint, bigint[], text[], bigint[]) RENAME TO unfenced_turnout_add;
REVOKE ALL ON FUNCTION ballot.unfenced_store_votes, ballot.unfenced_store_batch, ballot.unfenced_store_attempts,
    ballot.unfenced_turnout_add FROM ballot_worker;

CREATE FUNCTION ballot.store_votes(
    p_epoch bigint, p_ballot text, p_shard integer, p_entry text[], p_uin bytea[], p_reference text[], p_digest bytea[],
    p_at_us bigint[], p_channel text[], p_credential bytea[], p_nonce bytea[], p_sealed bytea[], p_signature bytea[],
    p_event bytea[], p_sealed_ip bytea[], p_number bigint[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    PERFORM storing_fence(p_epoch);
    RETURN unfenced_store_votes(p_ballot, p_shard, p_entry, p_uin, p_reference, p_digest, p_at_us, p_channel, p_credential,
        p_nonce, p_sealed, p_signature, p_event, p_sealed_ip, p_number);
END
$$;
CREATE FUNCTION ballot.store_batch(
    p_epoch bigint, p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_judged text[], p_counted boolean[],
    p_uin bytea[], p_reference text[], p_digest bytea[], p_at_us bigint[], p_received_us bigint[], p_channel text[],
    p_credential bytea[], p_nonce bytea[], p_sealed bytea[], p_signature bytea[], p_event bytea[], p_sealed_ip bytea[],
    p_record bytea[], p_number bigint[]
) RETURNS TABLE (entry text, status text, fresh boolean, equal_sealed boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    PERFORM storing_fence(p_epoch);
    RETURN QUERY SELECT b.entry, b.status, b.fresh, b.equal_sealed FROM unfenced_store_batch(p_ballot, p_shard, p_entry, p_kind,
        p_judged, p_counted, p_uin, p_reference, p_digest, p_at_us, p_received_us, p_channel, p_credential, p_nonce, p_sealed,
        p_signature, p_event, p_sealed_ip, p_record, p_number) AS b;
END
$$;
CREATE FUNCTION ballot.store_attempts(
    p_epoch bigint, p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_outcome text[], p_digest bytea[],
    p_sealed_ip bytea[], p_at_us bigint[], p_count bigint[], p_first_us bigint[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    PERFORM storing_fence(p_epoch);
    RETURN unfenced_store_attempts(p_ballot, p_shard, p_entry, p_kind, p_outcome, p_digest, p_sealed_ip, p_at_us, p_count,
        p_first_us);
END
$$;
CREATE FUNCTION ballot.turnout_add(
    p_epoch bigint, p_ballot text, p_shard integer, p_from text, p_to text, p_entries bigint, p_minute_us bigint[],
    p_method text[], p_votes bigint[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    PERFORM storing_fence(p_epoch);
    RETURN unfenced_turnout_add(p_ballot, p_shard, p_from, p_to, p_entries, p_minute_us, p_method, p_votes);
END
$$;

-- Workers of the version before know of no number: they store as long as the queue was never rebuilt. Those of versions before
-- that call these by name (010, 011).
CREATE FUNCTION ballot.store_votes(
    p_ballot text, p_shard integer, p_entry text[], p_uin bytea[], p_reference text[], p_digest bytea[], p_at_us bigint[],
    p_channel text[], p_credential bytea[], p_nonce bytea[], p_sealed bytea[], p_signature bytea[], p_event bytea[],
    p_sealed_ip bytea[], p_number bigint[]
) RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT ballot.store_votes(0::bigint, p_ballot, p_shard, p_entry, p_uin, p_reference, p_digest, p_at_us, p_channel,
        p_credential, p_nonce, p_sealed, p_signature, p_event, p_sealed_ip, p_number)
$$;
CREATE FUNCTION ballot.store_batch(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_judged text[], p_counted boolean[], p_uin bytea[],
    p_reference text[], p_digest bytea[], p_at_us bigint[], p_received_us bigint[], p_channel text[], p_credential bytea[],
    p_nonce bytea[], p_sealed bytea[], p_signature bytea[], p_event bytea[], p_sealed_ip bytea[], p_record bytea[],
    p_number bigint[]
) RETURNS TABLE (entry text, status text, fresh boolean, equal_sealed boolean)
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT * FROM ballot.store_batch(0::bigint, p_ballot, p_shard, p_entry, p_kind, p_judged, p_counted, p_uin, p_reference,
        p_digest, p_at_us, p_received_us, p_channel, p_credential, p_nonce, p_sealed, p_signature, p_event, p_sealed_ip,
        p_record, p_number)
$$;
CREATE FUNCTION ballot.store_attempts(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_outcome text[], p_digest bytea[], p_sealed_ip bytea[],
    p_at_us bigint[], p_count bigint[], p_first_us bigint[]
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT ballot.store_attempts(0::bigint, p_ballot, p_shard, p_entry, p_kind, p_outcome, p_digest, p_sealed_ip, p_at_us,
        p_count, p_first_us)
$$;
CREATE FUNCTION ballot.turnout_add(
    p_ballot text, p_shard integer, p_from text, p_to text, p_entries bigint, p_minute_us bigint[], p_method text[],
    p_votes bigint[]
) RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT ballot.turnout_add(0::bigint, p_ballot, p_shard, p_from, p_to, p_entries, p_minute_us, p_method, p_votes)
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ballot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.recovery_epoch TO ballot_recovery;
GRANT EXECUTE ON FUNCTION ballot.worker_epoch,
    ballot.store_votes(
        bigint, text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[],
        bytea[], bigint[]
    ),
    ballot.store_votes(
        text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[],
        bigint[]
    ),
    ballot.store_batch(
        bigint, text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[],
        bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bigint[]
    ),
    ballot.store_batch(
        text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
        bytea[], bytea[], bytea[], bytea[], bytea[], bigint[]
    ),
    ballot.store_attempts(
        bigint, text, integer, text[], text[], text[], bytea[], bytea[], bigint[], bigint[], bigint[]
    ),
    ballot.store_attempts(text, integer, text[], text[], text[], bytea[], bytea[], bigint[], bigint[], bigint[]),
    ballot.turnout_add(bigint, text, integer, text, text, bigint, bigint[], text[], bigint[]),
    ballot.turnout_add(text, integer, text, text, bigint, bigint[], text[], bigint[])
    TO ballot_worker;
