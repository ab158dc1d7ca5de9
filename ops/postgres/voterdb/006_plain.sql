-- Storing what nearly every batch is: votes and nothing else, none of them seen before, none of them odd.

-- A vote is for a credential in the register, and no such credential leaves it. A foreign key says so one vote at a time, with
-- a row lock on the register for each: a quarter of what storing cost. These two say it a statement at a time.
ALTER TABLE ballot.votes DROP CONSTRAINT votes_ballot_credential_digest_fkey;

CREATE FUNCTION ballot.votes_are_in_register() RETURNS trigger
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
        LEFT JOIN LATERAL (SELECT true FROM register AS x
            WHERE x.ballot = a.ballot AND x.credential_digest = a.credential_digest LIMIT 1) AS reg (found) ON true
        WHERE reg.found IS NULL
    ) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a vote is for a credential in the register';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER votes_are_in_register AFTER INSERT ON ballot.votes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ballot.votes_are_in_register();

CREATE FUNCTION ballot.register_keeps_votes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM votes AS v
            WHERE v.ballot = OLD.ballot AND v.uin = OLD.uin AND v.credential_digest = OLD.credential_digest) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a credential with a stored vote stays in the register as it is';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_keeps_votes AFTER DELETE OR UPDATE OF ballot, uin, credential_digest ON ballot.register
    FOR EACH ROW EXECUTE FUNCTION ballot.register_keeps_votes();

-- Stores such a batch of one ballot and one shard whole, and says true; for any other it does nothing and says false:
-- store_batch (003) then judges entry by entry. What makes a batch plain is what store_batch would have to say `stored` to
-- each entry for: (1) none was quarantined before; (2) each credential was issued to this UIN, in this shard, and not revoked
-- by the time of acceptance; (3) no counted return of this voter; (4) no vote with the same sealed bytes, stored or in the
-- batch; (5) no vote of this UIN or with this reference: the unique keys of `votes` say so. Columns as store_batch's.
--
-- As there: the shard's mark is locked first; a plan is made for each call, one look into the right index a row, the
-- ballot carried as a column of `given`.
CREATE FUNCTION ballot.store_votes(
    p_ballot text,
    p_shard integer,
    p_entry text[],
    p_uin bytea[],
    p_reference text[],
    p_digest bytea[],
    p_at_us bigint[],
    p_channel text[],
    p_credential bytea[],
    p_nonce bytea[],
    p_sealed bytea[],
    p_signature bytea[],
    p_event bytea[],
    p_sealed_ip bytea[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    v_size integer := cardinality(p_entry);
    v_held boolean;
    v_revoked boolean;
    v_returned boolean;
    v_stored integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'store_votes needs read committed: it reads again after waiting for a lock';
    END IF;
    INSERT INTO marks AS m (ballot, shard, side, entry, entries) VALUES (p_ballot, p_shard, 'stored', '0-0', 0)
        ON CONFLICT ON CONSTRAINT marks_pkey DO NOTHING;
    PERFORM 1 FROM marks AS m WHERE m.ballot = p_ballot AND m.shard = p_shard AND m.side = 'stored' FOR UPDATE;

    -- Where there is nothing at all of a kind, no entry is looked up in it.
    v_held := EXISTS (SELECT FROM quarantine AS x WHERE x.ballot = p_ballot AND x.shard = p_shard);
    v_revoked := EXISTS (SELECT FROM revocations AS x WHERE x.ballot = p_ballot);
    v_returned := EXISTS (SELECT FROM returns AS x WHERE x.ballot = p_ballot);

    BEGIN
        WITH given AS MATERIALIZED (
            SELECT g.*, p_ballot AS ballot, sha256(g.sealed) AS sealed_sha256
            FROM unnest(p_entry, p_uin, p_reference, p_digest, p_at_us, p_channel, p_credential, p_nonce, p_sealed,
                    p_signature, p_event, p_sealed_ip)
                AS g (entry, uin, reference, digest, at_us, channel, credential, nonce, sealed,
                    signature, event, sealed_ip)
        ), plain AS MATERIALIZED (
            SELECT count(*) = v_size AND count(DISTINCT g.sealed_sha256) = v_size AS holds
            FROM given AS g
            JOIN LATERAL (SELECT x.uin, x.shard FROM register AS x
                WHERE x.ballot = g.ballot AND x.credential_digest = g.digest LIMIT 1) AS reg
                ON reg.uin = g.uin AND reg.shard = p_shard                                                          -- (2)
            LEFT JOIN LATERAL (SELECT true FROM quarantine AS x
                WHERE v_held AND x.ballot = g.ballot AND x.shard = p_shard AND x.entry = g.entry LIMIT 1)
                AS held (found) ON true                                                                             -- (1)
            LEFT JOIN LATERAL (SELECT true FROM revocations AS x
                WHERE v_revoked AND x.ballot = g.ballot AND x.credential_digest = g.digest AND x.revoked_us <= g.at_us
                LIMIT 1) AS revoked (found) ON true                                                                 -- (2)
            LEFT JOIN LATERAL (SELECT true FROM returns AS x
                WHERE v_returned AND x.ballot = g.ballot AND x.uin = g.uin AND x.counted LIMIT 1)
                AS returned (found) ON true                                                                         -- (3)
            LEFT JOIN LATERAL (SELECT true FROM votes AS x
                WHERE x.ballot = g.ballot AND x.sealed_sha256 = g.sealed_sha256 LIMIT 1) AS twin (found) ON true    -- (4)
            WHERE num_nonnulls(held.found, revoked.found, returned.found, twin.found) = 0
        ), stored AS (
            INSERT INTO votes (ballot, uin, reference, accepted_us, credential_digest, channel, credential, nonce, sealed,
                signature, sealed_sha256, event, shard, entry)
            SELECT g.ballot, g.uin, g.reference, g.at_us, g.digest, g.channel, g.credential, g.nonce, g.sealed,
                g.signature, g.sealed_sha256, g.event, p_shard, g.entry
            FROM given AS g, plain AS p
            WHERE p.holds
        )
        INSERT INTO ip_records (event, ballot, sealed_ip)
        SELECT g.event, g.ballot, g.sealed_ip FROM given AS g, plain AS p WHERE p.holds;
        GET DIAGNOSTICS v_stored = ROW_COUNT;
    EXCEPTION WHEN unique_violation THEN                                                                            -- (5)
        RETURN false;
    END;
    IF v_stored <> v_size THEN
        RETURN false;
    END IF;

    INSERT INTO turnout AS t (ballot, minute_us, method, side, votes)
    SELECT p_ballot, a - a % 60000000, 'electronic', 'stored', count(*)
    FROM unnest(p_at_us) AS a
    GROUP BY 2
    ORDER BY 2
    ON CONFLICT ON CONSTRAINT turnout_pkey DO UPDATE SET votes = t.votes + excluded.votes;

    UPDATE marks AS m
    SET entries = m.entries + v_size,
        entry = (SELECT e FROM unnest(p_entry || m.entry) AS e ORDER BY entry_order(e) DESC LIMIT 1)
    WHERE m.ballot = p_ballot AND m.shard = p_shard AND m.side = 'stored';
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION ballot.store_votes, ballot.votes_are_in_register, ballot.register_keeps_votes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_votes TO ballot_worker;
