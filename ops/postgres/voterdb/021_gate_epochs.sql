-- The number that the last recovery gave the gates of each ballot there was. In a Cluster the queue's own (`ballot:epoch`) stands on one
-- node for all of them: another node that comes back from before a recovery is known by its gates alone.

CREATE TABLE ballot.gate_epochs (
    ballot text PRIMARY KEY REFERENCES ballot.ballots ON DELETE CASCADE,
    number bigint NOT NULL CHECK (number > 0)
);
GRANT SELECT ON ballot.gate_epochs TO ballot_recovery;

-- As in 018. What the gates had is void: the command that calls this may be of a version that gives them none.
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
    DELETE FROM gate_epochs;
    RETURN v_number;
END
$$;

-- Only once every gate of these ballots has the number: a worker refuses a gate without it.
CREATE FUNCTION ballot.recovery_gate_epochs(p_number bigint, p_ballots text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    INSERT INTO gate_epochs AS g (ballot, number) SELECT b.ballot, p_number FROM ballots AS b WHERE b.ballot = ANY (p_ballots)
    ON CONFLICT (ballot) DO UPDATE SET number = EXCLUDED.number
$$;
REVOKE ALL ON FUNCTION ballot.recovery_gate_epochs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.recovery_gate_epochs TO ballot_recovery;

CREATE FUNCTION ballot.worker_gate_epochs() RETURNS TABLE (ballot text, number bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$ SELECT g.ballot, g.number FROM gate_epochs AS g ORDER BY g.ballot $$;
REVOKE ALL ON FUNCTION ballot.worker_gate_epochs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.worker_gate_epochs TO ballot_worker;
