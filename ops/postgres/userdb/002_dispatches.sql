-- Issuing many codes: the bond of what was dispatched with the roll is kept a statement at a time.

-- A code is sent to a voter on the roll, and no such voter leaves it. A foreign key says so one code at a time, with a row
-- lock on the roll for each: more than all the rest of entering it. These two say it a statement at a time.
ALTER TABLE people.dispatches DROP CONSTRAINT dispatches_ballot_uin_fkey;

CREATE FUNCTION people.dispatches_are_to_voters() RETURNS trigger
LANGUAGE plpgsql
SET search_path = people, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added AS a
        LEFT JOIN LATERAL (SELECT true FROM voters AS x
            WHERE x.ballot = a.ballot AND x.uin = a.uin LIMIT 1) AS voter (found) ON true
        WHERE voter.found IS NULL
    ) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a code is sent to a voter on the roll';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER dispatches_are_to_voters AFTER INSERT ON people.dispatches REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION people.dispatches_are_to_voters();
CREATE TRIGGER dispatches_stay_to_voters AFTER UPDATE ON people.dispatches REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION people.dispatches_are_to_voters();

CREATE FUNCTION people.voters_keep_dispatches() RETURNS trigger
LANGUAGE plpgsql
SET search_path = people, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM dispatches AS d WHERE d.ballot = OLD.ballot AND d.uin = OLD.uin) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a voter who was sent a code stays on the roll';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER voters_keep_dispatches AFTER DELETE OR UPDATE OF ballot, uin ON people.voters
    FOR EACH ROW EXECUTE FUNCTION people.voters_keep_dispatches();

REVOKE ALL ON FUNCTION people.dispatches_are_to_voters, people.voters_keep_dispatches FROM PUBLIC;
