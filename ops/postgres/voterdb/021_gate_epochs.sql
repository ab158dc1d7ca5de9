-- The number that the last recovery gave the gates of each ballot there was. In a Cluster the queue's own (`ballot:epoch`) stands on one
-- node for all of them: another node that comes back from before a recovery is known by its gates alone.

CREATE TABLE ballot.gate_epochs (
    ballot text PRIMARY KEY REFERENCES ballot.ballots ON DELETE CASCADE,
    number bigint NOT NULL CHECK (number > 0)
);
GRANT SELECT ON ballot.gate_epochs TO ballot_recovery;

-- As in 018, and the gates' with it.
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
    INSERT INTO gate_epochs AS g (ballot, number) SELECT b.ballot, v_number FROM ballots AS b
    ON CONFLICT (ballot) DO UPDATE SET number = EXCLUDED.number;
    RETURN v_number;
END
$$;

CREATE FUNCTION ballot.worker_gate_epochs() RETURNS TABLE (ballot text, number bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$ SELECT g.ballot, g.number FROM gate_epochs AS g ORDER BY g.ballot $$;
REVOKE ALL ON FUNCTION ballot.worker_gate_epochs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.worker_gate_epochs TO ballot_worker;
