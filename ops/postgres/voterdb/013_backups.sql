-- Backups: a role that may copy the cluster as it stands, see how far each shard's votes are stored, and write what it did.

-- Only who has the right to replicate can give it. Where the owner has not, the role is made without, and backups say so.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ballot_backup') THEN
        BEGIN
            CREATE ROLE ballot_backup LOGIN REPLICATION;
        EXCEPTION WHEN insufficient_privilege THEN
            CREATE ROLE ballot_backup LOGIN;
            RAISE NOTICE 'ballot_backup lacks a right: a superuser runs ALTER ROLE ballot_backup REPLICATION';
        END;
    END IF;
    -- Begins a new WAL segment, so that the one before can be kept within the minute. Without it that takes longer.
    BEGIN
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO ballot_backup;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'ballot_backup cannot begin WAL segments: a superuser grants it EXECUTE on pg_switch_wal()';
    END;
END
$$;
GRANT CONNECT ON DATABASE voterdb TO ballot_backup;
GRANT USAGE ON SCHEMA ballot TO ballot_backup;
GRANT SELECT ON ballot.marks TO ballot_backup;

CREATE FUNCTION ballot.backup_event(p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF p_kind !~ '^(backup|restore|drill)\.[a-z]+$' THEN
        RAISE EXCEPTION 'a backup writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (kind, actor, detail) VALUES (p_kind, 'backup', p_detail);
END
$$;
REVOKE ALL ON FUNCTION ballot.backup_event FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.backup_event TO ballot_backup;
