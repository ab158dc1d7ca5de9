-- The bond of dispatches with the roll (002) holds whatever the statement, and also when two transactions meet: see
-- voterdb/009.

CREATE FUNCTION people.sees_what_is_committed() RETURNS trigger
LANGUAGE plpgsql
SET search_path = people, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION '% is written at read committed: its bond with another table is looked at anew', TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER sees_what_is_committed BEFORE INSERT OR UPDATE OR DELETE ON people.dispatches
    FOR EACH STATEMENT EXECUTE FUNCTION people.sees_what_is_committed();
CREATE TRIGGER sees_what_is_committed BEFORE UPDATE OR DELETE ON people.voters
    FOR EACH STATEMENT EXECUTE FUNCTION people.sees_what_is_committed();

CREATE OR REPLACE FUNCTION people.voters_keep_dispatches() RETURNS trigger
LANGUAGE plpgsql
SET search_path = people, pg_temp
AS $$
BEGIN
    LOCK TABLE dispatches IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM dispatches AS d WHERE d.ballot = OLD.ballot AND d.uin = OLD.uin) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a voter who was sent a code stays on the roll';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION people.voters_stay_while_there_are_dispatches() RETURNS trigger
LANGUAGE plpgsql
SET search_path = people, pg_temp
AS $$
BEGIN
    LOCK TABLE dispatches IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM dispatches) THEN
        RAISE foreign_key_violation USING MESSAGE = 'voters is not emptied while dispatches has rows';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER voters_stay_while_there_are_dispatches BEFORE TRUNCATE ON people.voters
    FOR EACH STATEMENT EXECUTE FUNCTION people.voters_stay_while_there_are_dispatches();

REVOKE ALL ON FUNCTION people.sees_what_is_committed, people.voters_stay_while_there_are_dispatches FROM PUBLIC;
