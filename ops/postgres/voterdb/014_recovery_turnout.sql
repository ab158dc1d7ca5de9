-- As in 012, with what is in quarantine given by the caller too (`p_waiting_*`): what it counted for, as a vote or as a return,
-- only its record tells.
CREATE OR REPLACE FUNCTION ballot.recovery_turnout(
    p_ballot text,
    p_shard integer[],
    p_entry text[],
    p_entries bigint[],
    p_waiting_shard integer[],
    p_waiting_entry text[],
    p_waiting_reference text[],  -- null for a return
    p_waiting_us bigint[],
    p_waiting_method text[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_before bigint;
    v_after bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'recovery_turnout needs read committed: it reads again after waiting for a lock';
    END IF;
    PERFORM 1 FROM marks AS m WHERE m.ballot = p_ballot ORDER BY m.shard, m.side FOR UPDATE;
    SELECT coalesce(sum(t.votes), 0) INTO v_before FROM turnout AS t WHERE t.ballot = p_ballot AND t.side = 'accepted';

    DELETE FROM turnout AS t WHERE t.ballot = p_ballot AND t.side = 'accepted';
    INSERT INTO turnout (ballot, minute_us, method, side, votes)
    SELECT p_ballot, k.minute_us, k.method, 'accepted', sum(k.votes) FROM (
        SELECT t.minute_us, t.method, t.votes FROM turnout AS t WHERE t.ballot = p_ballot AND t.side = 'stored'
        UNION ALL
        SELECT w.at_us - w.at_us % 60000000, w.method, 1
            FROM unnest(p_waiting_shard, p_waiting_entry, p_waiting_reference, p_waiting_us, p_waiting_method)
                AS w (shard, entry, reference, at_us, method)
            WHERE NOT EXISTS (SELECT FROM returns AS r WHERE r.ballot = p_ballot AND r.shard = w.shard AND r.entry = w.entry)
            AND NOT EXISTS (SELECT FROM votes AS v
                WHERE v.ballot = p_ballot AND v.reference = w.reference AND v.shard = w.shard AND v.entry = w.entry)
    ) AS k
    GROUP BY 2, 3;
    SELECT coalesce(sum(t.votes), 0) INTO v_after FROM turnout AS t WHERE t.ballot = p_ballot AND t.side = 'accepted';

    INSERT INTO marks AS m (ballot, shard, side, entry, entries)
    SELECT p_ballot, g.shard, 'turnout', g.entry, g.entries FROM unnest(p_shard, p_entry, p_entries) AS g (shard, entry, entries)
    ON CONFLICT ON CONSTRAINT marks_pkey DO UPDATE SET entry = excluded.entry, entries = excluded.entries;
    RETURN v_before - v_after;
END
$$;
