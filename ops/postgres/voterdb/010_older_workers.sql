-- Workers of the version before 007 go on while others are replaced: the function as they call it. What they store is one
-- attempt a line; they know of no counts, and a line of the log that stands for several they would store as one.
CREATE FUNCTION ballot.store_attempts(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_outcome text[], p_digest bytea[], p_sealed_ip bytea[],
    p_at_us bigint[]
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT ballot.store_attempts(p_ballot, p_shard, p_entry, p_kind, p_outcome, p_digest, p_sealed_ip, p_at_us,
        array_fill(1::bigint, ARRAY[cardinality(p_entry)]), array_fill(NULL::bigint, ARRAY[cardinality(p_entry)]))
$$;
REVOKE ALL ON FUNCTION ballot.store_attempts(text, integer, text[], text[], text[], bytea[], bytea[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_attempts(text, integer, text[], text[], text[], bytea[], bytea[], bigint[])
    TO ballot_worker;
