-- Recovery of the queue (`ballot recover`): a person's command that reads what the gate must know, sets the turnout right where
-- the queue has lost what was counted, and writes down that it did. It changes no vote, no register and no mark of storing.

CREATE ROLE ballot_recovery LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_recovery;
GRANT USAGE ON SCHEMA ballot TO ballot_recovery;
GRANT SELECT ON ballot.ballots, ballot.lifecycle, ballot.register, ballot.revocations, ballot.register_roots, ballot.votes,
    ballot.returns, ballot.quarantine, ballot.releases, ballot.turnout, ballot.marks, ballot.events TO ballot_recovery;
GRANT SELECT (ballot, shard, entry) ON ballot.attempts TO ballot_recovery;
GRANT INSERT ON ballot.events TO ballot_recovery;

-- Votes in quarantine are asked for by their reference.
CREATE INDEX quarantine_reference ON ballot.quarantine (ballot, reference);

-- One desk command and one recovery at a time a ballot: the desk's own locks (004).
GRANT EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO ballot_recovery;

-- Sets the turnout as accepted of one ballot to what is known after its queue has lost entries: stored, in quarantine, or one of
-- the entries that wait in the queue (`p_waiting_*`); and the turnout's marks to the ends of the streams as they are now. So the
-- reader goes on behind them, and counts nothing twice and nothing that is gone. Tells how many votes the turnout has lost.
--
-- The marks of storing are locked first: a vote that waits is stored before this looks, or after.
CREATE FUNCTION ballot.recovery_turnout(
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
        SELECT q.accepted_us - q.accepted_us % 60000000, 'electronic', 1 FROM quarantine AS q
            WHERE q.ballot = p_ballot AND q.reference IS NOT NULL AND q.accepted_us IS NOT NULL
        UNION ALL
        SELECT w.at_us - w.at_us % 60000000, w.method, 1
            FROM unnest(p_waiting_shard, p_waiting_entry, p_waiting_reference, p_waiting_us, p_waiting_method)
                AS w (shard, entry, reference, at_us, method)
            WHERE NOT EXISTS (SELECT FROM quarantine AS q
                WHERE q.ballot = p_ballot AND q.shard = w.shard AND q.entry = w.entry)
            AND NOT EXISTS (SELECT FROM returns AS r WHERE r.ballot = p_ballot AND r.shard = w.shard AND r.entry = w.entry)
            AND NOT EXISTS (SELECT FROM votes AS v WHERE v.ballot = p_ballot AND v.reference = w.reference)
    ) AS k
    GROUP BY 2, 3;
    SELECT coalesce(sum(t.votes), 0) INTO v_after FROM turnout AS t WHERE t.ballot = p_ballot AND t.side = 'accepted';

    INSERT INTO marks AS m (ballot, shard, side, entry, entries)
    SELECT p_ballot, g.shard, 'turnout', g.entry, g.entries FROM unnest(p_shard, p_entry, p_entries) AS g (shard, entry, entries)
    ON CONFLICT ON CONSTRAINT marks_pkey DO UPDATE SET entry = excluded.entry, entries = excluded.entries;
    RETURN v_before - v_after;
END
$$;
REVOKE ALL ON FUNCTION ballot.recovery_turnout FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.recovery_turnout TO ballot_recovery;
