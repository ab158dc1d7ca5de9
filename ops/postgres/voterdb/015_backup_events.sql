-- The backup's role writes of backups alone: that something was restored or drilled is not its to say. The owner writes
-- restores; whoever checks the books writes drills.
CREATE OR REPLACE FUNCTION ballot.backup_event(p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF p_kind NOT IN ('backup.made', 'backup.verified', 'backup.failed', 'backup.deleted') THEN
        RAISE EXCEPTION 'a backup writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (kind, actor, detail) VALUES (p_kind, 'backup', p_detail);
END
$$;

CREATE FUNCTION ballot.drill_event(p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF p_kind NOT IN ('drill.performed', 'drill.failed') THEN
        RAISE EXCEPTION 'a drill writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (kind, actor, detail) VALUES (p_kind, 'drill', p_detail);
END
$$;
REVOKE ALL ON FUNCTION ballot.drill_event FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.drill_event TO ballot_checker;
