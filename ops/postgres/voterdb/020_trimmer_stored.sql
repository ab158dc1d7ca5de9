-- For the trimmer, where there are backups: how many entries of each shard's stream this database has seen, and since when it runs.
-- A database that was put back runs anew, and has fewer than were acknowledged until workers have read them again.
CREATE FUNCTION ballot.trimmer_stored() RETURNS TABLE (ballot text, shard integer, entries bigint, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT m.ballot, m.shard, m.entries, pg_postmaster_start_time() FROM marks AS m WHERE m.side = 'stored' ORDER BY m.ballot, m.shard
$$;
REVOKE ALL ON FUNCTION ballot.trimmer_stored FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.trimmer_stored TO ballot_trimmer;
