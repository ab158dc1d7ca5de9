-- As in voterdb: who writes an event is known by the session. Here backups write of backups, the owner of all else.

CREATE FUNCTION people.event_writer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = people, pg_temp
AS $$
BEGIN
    IF pg_has_role(session_user, current_user, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF session_user <> 'ballot_backup' OR NEW.actor <> 'backup' OR split_part(NEW.kind, '.', 1) <> 'backup' THEN
        RAISE EXCEPTION '% writes no event of kind % as %', session_user, NEW.kind, NEW.actor USING ERRCODE = '42501';
    END IF;
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION people.event_writer FROM PUBLIC;
CREATE TRIGGER event_writer BEFORE INSERT ON people.events FOR EACH ROW EXECUTE FUNCTION people.event_writer();
