-- A line in the log of attempts may stand for several: those of one credential beyond the first thousand are counted by
-- minute and outcome. `at_us` is then the last one's time and `first_us` the first one's; the address is the last one's.

ALTER TABLE ballot.attempts ADD COLUMN count bigint NOT NULL DEFAULT 1 CHECK (count > 0);
ALTER TABLE ballot.attempts ADD COLUMN first_us bigint;

DROP FUNCTION ballot.store_attempts;
CREATE FUNCTION ballot.store_attempts(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_outcome text[], p_digest bytea[], p_sealed_ip bytea[],
    p_at_us bigint[], p_count bigint[], p_first_us bigint[]
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    WITH inserted AS (
        INSERT INTO attempts (ballot, shard, entry, kind, outcome, credential_digest, sealed_ip, at_us, count, first_us)
        SELECT p_ballot, p_shard, g.entry, g.kind, g.outcome, g.digest, g.sealed_ip, g.at_us, g.count, g.first_us
        FROM unnest(p_entry, p_kind, p_outcome, p_digest, p_sealed_ip, p_at_us, p_count, p_first_us)
            AS g (entry, kind, outcome, digest, sealed_ip, at_us, count, first_us)
        ON CONFLICT ON CONSTRAINT attempts_pkey DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM inserted
$$;
REVOKE ALL ON FUNCTION ballot.store_attempts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_attempts TO ballot_worker;
GRANT SELECT (count, first_us) ON ballot.attempts TO ballot_desk, ballot_checker;
