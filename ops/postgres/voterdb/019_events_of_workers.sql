-- Whether the fuse has blown, and what was said of a queue, comes from workers alone: who else may insert an event could clear a blown
-- fuse for the next start, or have people told to recover a queue that is well.

CREATE OR REPLACE FUNCTION ballot.event_writer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_actor text := CASE session_user
        WHEN 'ballot_worker' THEN 'worker'
        WHEN 'ballot_desk' THEN 'desk'
        WHEN 'ballot_monitor' THEN 'monitor'
        WHEN 'ballot_recovery' THEN 'recovery'
        WHEN 'ballot_backup' THEN 'backup'
        WHEN 'ballot_checker' THEN 'drill'
    END;
    v_family text := split_part(NEW.kind, '.', 1);
BEGIN
    -- The function runs as the owner of the table, who may do anything here.
    IF pg_has_role(session_user, current_user, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF v_actor IS NULL OR NEW.actor IS DISTINCT FROM v_actor THEN
        RAISE EXCEPTION '% writes no event as %', session_user, NEW.actor USING ERRCODE = '42501';
    END IF;
    IF v_family IN ('recovery', 'restore', 'backup', 'drill') AND v_family <> v_actor
        OR v_actor IN ('recovery', 'backup', 'drill') AND v_family <> v_actor
        OR NEW.kind ~ '^(fuse|trust|queue_epoch)' AND v_actor <> 'worker'
    THEN
        RAISE EXCEPTION '% writes no event of kind %', session_user, NEW.kind USING ERRCODE = '42501';
    END IF;
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;

-- What others wrote before that was kept from them does not count either.
CREATE OR REPLACE FUNCTION ballot.worker_fuse_state() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT coalesce((
        SELECT e.kind = 'fuse' FROM events AS e
        WHERE e.ballot IS NULL AND e.actor = 'worker' AND e.kind IN ('fuse', 'fuse_cleared')
        ORDER BY e.seq DESC LIMIT 1), false)
$$;
