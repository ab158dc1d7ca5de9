-- Who writes an event is known by the session, not by what the writer says. What the books are judged by (`recovery.*`), and what
-- tells that backups are good, comes only from the role whose business it is; and no role signs for another.

CREATE FUNCTION ballot.event_writer() RETURNS trigger
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
    THEN
        RAISE EXCEPTION '% writes no event of kind %', session_user, NEW.kind USING ERRCODE = '42501';
    END IF;
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION ballot.event_writer FROM PUBLIC;
CREATE TRIGGER event_writer BEFORE INSERT ON ballot.events FOR EACH ROW EXECUTE FUNCTION ballot.event_writer();
