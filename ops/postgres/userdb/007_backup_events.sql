-- The backup's role writes of backups alone: that something was restored is the owner's to say, and no drill writes here.
CREATE OR REPLACE FUNCTION people.backup_event(p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = people, pg_temp
AS $$
BEGIN
    IF p_kind NOT IN ('backup.made', 'backup.verified', 'backup.failed', 'backup.deleted') THEN
        RAISE EXCEPTION 'a backup writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (kind, actor, detail) VALUES (p_kind, 'backup', p_detail);
END
$$;
