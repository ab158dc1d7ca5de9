-- Issuing many codes: the register's bond with the electorate is kept a statement at a time.

-- A code is for a voter in the electorate, and no such voter leaves it. A foreign key says so one code at a time, with a
-- row lock on the electorate for each: a third of what entering a code cost. These two say it a statement at a time.
ALTER TABLE ballot.register DROP CONSTRAINT register_ballot_uin_fkey;

CREATE FUNCTION ballot.register_is_of_electorate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added AS a
        LEFT JOIN LATERAL (SELECT true FROM electorate AS x
            WHERE x.ballot = a.ballot AND x.uin = a.uin LIMIT 1) AS voter (found) ON true
        WHERE voter.found IS NULL
    ) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a code is for a voter in the electorate';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_is_of_electorate AFTER INSERT ON ballot.register REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.register_is_of_electorate();
CREATE TRIGGER register_stays_of_electorate AFTER UPDATE ON ballot.register REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.register_is_of_electorate();

CREATE FUNCTION ballot.electorate_keeps_register() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM register AS r WHERE r.ballot = OLD.ballot AND r.uin = OLD.uin) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a voter who was issued a code stays in the electorate';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER electorate_keeps_register AFTER DELETE OR UPDATE OF ballot, uin ON ballot.electorate
    FOR EACH ROW EXECUTE FUNCTION ballot.electorate_keeps_register();

REVOKE ALL ON FUNCTION ballot.register_is_of_electorate, ballot.electorate_keeps_register FROM PUBLIC;
