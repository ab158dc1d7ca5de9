-- What the receipts of a worker's references may say.

-- Which of these references are those of stored votes: a junk entry that copies one must not change what its receipt says.
CREATE FUNCTION ballot.worker_stored_references(p_ballot text, p_reference text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT v.reference FROM votes AS v WHERE v.ballot = p_ballot AND v.reference = ANY (p_reference)
$$;

REVOKE ALL ON FUNCTION ballot.worker_stored_references FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.worker_stored_references TO ballot_worker;
