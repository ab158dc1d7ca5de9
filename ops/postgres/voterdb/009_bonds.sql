-- The bonds that are kept a statement at a time (006, 008) hold for the owner too, whatever the statement, and also when two
-- transactions meet: votes with the register, the register with the electorate.

-- A vote whose credential is changed: still one in the register.
CREATE TRIGGER votes_stay_in_register AFTER UPDATE ON ballot.votes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.votes_are_in_register();

-- Each side looks at the other after it has written, so one of two that meet must wait for the other and then see what it did.
-- The one that takes away waits: it locks out writers of the other table, before it looks. And both must see what was
-- committed while they waited, which only READ COMMITTED does.
CREATE FUNCTION ballot.sees_what_is_committed() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION '% is written at read committed: its bond with another table is looked at anew', TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER sees_what_is_committed BEFORE INSERT OR UPDATE OR DELETE ON ballot.votes
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.sees_what_is_committed();
CREATE TRIGGER sees_what_is_committed BEFORE INSERT OR UPDATE OR DELETE ON ballot.register
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.sees_what_is_committed();
CREATE TRIGGER sees_what_is_committed BEFORE UPDATE OR DELETE ON ballot.electorate
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.sees_what_is_committed();

CREATE OR REPLACE FUNCTION ballot.register_keeps_votes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    LOCK TABLE votes IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM votes AS v
            WHERE v.ballot = OLD.ballot AND v.uin = OLD.uin AND v.credential_digest = OLD.credential_digest) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a credential with a stored vote stays in the register as it is';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION ballot.electorate_keeps_register() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    LOCK TABLE register IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM register AS r WHERE r.ballot = OLD.ballot AND r.uin = OLD.uin) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a voter who was issued a code stays in the electorate';
    END IF;
    RETURN NULL;
END
$$;

-- A table is not emptied while the table named has a row: as with a foreign key, but also when both are emptied at once.
CREATE FUNCTION ballot.stays_while_there_are() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
DECLARE
    v_found boolean;
BEGIN
    EXECUTE format('LOCK TABLE ballot.%I IN SHARE ROW EXCLUSIVE MODE', TG_ARGV[0]);
    EXECUTE format('SELECT EXISTS (SELECT FROM ballot.%I)', TG_ARGV[0]) INTO v_found;
    IF v_found THEN
        RAISE foreign_key_violation USING MESSAGE = format('%s is not emptied while %s has rows', TG_TABLE_NAME, TG_ARGV[0]);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_stays_while_there_are_votes BEFORE TRUNCATE ON ballot.register
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.stays_while_there_are('votes');
CREATE TRIGGER electorate_stays_while_there_is_a_register BEFORE TRUNCATE ON ballot.electorate
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.stays_while_there_are('register');

REVOKE ALL ON FUNCTION ballot.sees_what_is_committed, ballot.stays_while_there_are FROM PUBLIC;
