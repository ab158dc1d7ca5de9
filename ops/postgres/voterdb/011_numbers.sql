-- Each shard's gate numbers its acceptances 1, 2, 3 …; the number is stored with the vote, so that after a loss the books can
-- say which acceptances nobody can account for. And the trimmer, which asks how far each shard's stream is stored.

-- Null for a vote that a gate of the version before took in. Not unique: a number decides nothing, and one that comes twice is
-- the checker's finding, never a reason to refuse a vote. What is in quarantine has it in its record.
ALTER TABLE ballot.votes ADD COLUMN number bigint;

-- As in 006, with the number: stores a batch that is nothing but new and sound votes, or says false.
DROP FUNCTION ballot.store_votes;
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
    p_sealed_ip bytea[],
    p_number bigint[]
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
                    p_signature, p_event, p_sealed_ip, p_number)
                AS g (entry, uin, reference, digest, at_us, channel, credential, nonce, sealed,
                    signature, event, sealed_ip, number)
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
                signature, sealed_sha256, event, shard, entry, number)
            SELECT g.ballot, g.uin, g.reference, g.at_us, g.digest, g.channel, g.credential, g.nonce, g.sealed,
                g.signature, g.sealed_sha256, g.event, p_shard, g.entry, g.number
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

-- As in 003, with the number: judges entry by entry.
DROP FUNCTION ballot.store_batch;
CREATE FUNCTION ballot.store_batch(
    p_ballot text,
    p_shard integer,
    p_entry text[],
    p_kind text[],            -- vote | postal | workplace
    p_judged text[],          -- null, or the worker's reason for quarantine
    p_counted boolean[],      -- votes: true; returns: whether the gate counted it
    p_uin bytea[],
    p_reference text[],
    p_digest bytea[],
    p_at_us bigint[],         -- votes: accepted; returns: recorded at the gate
    p_received_us bigint[],   -- returns only
    p_channel text[],
    p_credential bytea[],
    p_nonce bytea[],
    p_sealed bytea[],
    p_signature bytea[],
    p_event bytea[],
    p_sealed_ip bytea[],
    p_record bytea[],
    p_number bigint[]         -- votes: the acceptance's number in its shard, or null
) RETURNS TABLE (entry text, status text, fresh boolean, equal_sealed boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
-- One look into the right index a row, whatever the statistics say of a ballot that is new to them. A plan made for an empty
-- table must not scan a full one, hence a new plan each time; LIMIT 1 keeps the planner from joining whole tables; and the
-- ballot is carried as a column of `given`, because for the name itself the planner would look into statistics, find it
-- missing, expect one row and take any index that begins with the ballot. (Measured: 1,200 rows a second without this.)
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_size integer := cardinality(p_entry);
    v_status text[];
    v_fresh boolean[];
    v_digest256 bytea[];
    v_uins bytea[];
    v_equal text[];
    v_last text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'store_batch needs read committed: it reads again after waiting for a lock';
    END IF;
    IF v_size = 0 OR (SELECT count(DISTINCT e) FROM unnest(p_entry) AS e) <> v_size THEN
        RAISE EXCEPTION 'a batch holds each entry once, and at least one';
    END IF;
    IF NOT p_kind <@ ARRAY['vote', 'postal', 'workplace'] THEN
        RAISE EXCEPTION 'an entry is a vote or a postal or workplace return';
    END IF;

    INSERT INTO marks AS m (ballot, shard, side, entry, entries) VALUES (p_ballot, p_shard, 'stored', '0-0', 0)
        ON CONFLICT ON CONSTRAINT marks_pkey DO NOTHING;
    PERFORM 1 FROM marks AS m WHERE m.ballot = p_ballot AND m.shard = p_shard AND m.side = 'stored' FOR UPDATE;

    -- (1) What each entry is, looked at alone and then against the ones before it in the batch.
    WITH given AS MATERIALIZED (
        SELECT g.*, p_ballot AS ballot, sha256(g.sealed) AS sealed_sha256
        FROM unnest(p_entry, p_kind, p_judged, p_counted, p_uin, p_reference, p_digest, p_at_us, p_sealed)
            WITH ORDINALITY AS g (entry, kind, judged, counted, uin, reference, digest, at_us, sealed, ord)
    ), alone AS MATERIALIZED (
        SELECT g.ord, g.uin, g.reference, g.digest, g.sealed_sha256, g.kind, g.counted,
            q.reason IS NULL AS unknown,
            CASE
                WHEN q.reason IS NOT NULL THEN q.reason
                WHEN g.kind <> 'vote' AND held.entry IS NOT NULL THEN 'redelivered'
                WHEN g.kind = 'vote' AND v.reference = g.reference AND v.credential_digest = g.digest
                    AND (v.sealed_sha256 = g.sealed_sha256
                        OR g.sealed IS NULL AND v.shard = p_shard AND v.entry = g.entry) THEN 'redelivered'
                WHEN g.judged IS NOT NULL THEN g.judged
                WHEN g.kind = 'vote' AND (reg.uin = g.uin AND reg.shard = p_shard) IS NOT true THEN 'not_in_register'
                WHEN g.kind = 'vote' AND revoked.revoked_us <= g.at_us THEN 'not_in_register'
                WHEN g.kind <> 'vote' AND e.uin IS NULL THEN 'not_in_register'
                WHEN g.counted AND (v.uin IS NOT NULL OR other.uin IS NOT NULL) THEN 'conflict'
                WHEN same.uin IS NOT NULL THEN 'conflict'
                ELSE 'stored'
            END AS status
        FROM given AS g
        LEFT JOIN LATERAL (SELECT x.reason FROM quarantine AS x
            WHERE x.ballot = g.ballot AND x.shard = p_shard AND x.entry = g.entry LIMIT 1) AS q ON true
        LEFT JOIN LATERAL (SELECT x.entry FROM returns AS x
            WHERE x.ballot = g.ballot AND x.shard = p_shard AND x.entry = g.entry LIMIT 1) AS held ON true
        LEFT JOIN LATERAL (SELECT x.uin, x.reference, x.credential_digest, x.sealed_sha256, x.shard, x.entry FROM votes AS x
            WHERE x.ballot = g.ballot AND x.uin = g.uin LIMIT 1) AS v ON true
        LEFT JOIN LATERAL (SELECT x.uin, x.shard FROM register AS x
            WHERE x.ballot = g.ballot AND x.credential_digest = g.digest LIMIT 1) AS reg ON true
        LEFT JOIN LATERAL (SELECT x.revoked_us FROM revocations AS x
            WHERE x.ballot = g.ballot AND x.credential_digest = g.digest LIMIT 1) AS revoked ON true
        LEFT JOIN LATERAL (SELECT x.uin FROM electorate AS x
            WHERE x.ballot = g.ballot AND x.uin = g.uin AND g.kind <> 'vote' LIMIT 1) AS e ON true
        LEFT JOIN LATERAL (SELECT x.uin FROM returns AS x
            WHERE x.ballot = g.ballot AND x.uin = g.uin AND x.counted LIMIT 1) AS other ON true
        LEFT JOIN LATERAL (SELECT x.uin FROM votes AS x
            WHERE x.ballot = g.ballot AND x.reference = g.reference AND g.kind = 'vote' LIMIT 1) AS same ON true
    ), ranked AS (
        SELECT a.*, a.status = 'stored' AND a.counted AS contends,
            row_number() OVER by_uin AS turn, row_number() OVER by_reference AS reference_turn,
            first_value(a.reference) OVER by_uin AS first_reference,
            first_value(a.digest) OVER by_uin AS first_digest,
            first_value(a.sealed_sha256) OVER by_uin AS first_sealed_sha256
        FROM alone AS a
        WINDOW by_uin AS (PARTITION BY a.status = 'stored' AND a.counted, a.uin ORDER BY a.ord),
            by_reference AS (PARTITION BY a.status = 'stored' AND a.kind = 'vote', a.reference ORDER BY a.ord)
    ), decided AS (
        SELECT r.ord, r.unknown, r.sealed_sha256,
            CASE
                WHEN NOT r.contends THEN r.status
                WHEN r.turn > 1 AND r.kind = 'vote' AND r.reference = r.first_reference
                    AND r.digest = r.first_digest AND r.sealed_sha256 = r.first_sealed_sha256 THEN 'redelivered'
                WHEN r.turn > 1 OR r.kind = 'vote' AND r.reference_turn > 1 THEN 'conflict'
                ELSE 'stored'
            END AS status
        FROM ranked AS r
    )
    SELECT array_agg(d.status ORDER BY d.ord), array_agg(d.unknown AND d.status <> 'redelivered' ORDER BY d.ord),
        array_agg(d.sealed_sha256 ORDER BY d.ord)
    INTO STRICT v_status, v_fresh, v_digest256
    FROM decided AS d;

    -- (2) The votes, exactly as cast. Whatever votes_pkey still refuses is another vote of that UIN from another shard.
    WITH inserted AS (
        INSERT INTO votes AS v (ballot, uin, reference, accepted_us, credential_digest, channel, credential, nonce, sealed,
            signature, sealed_sha256, event, shard, entry, number)
        SELECT p_ballot, g.uin, g.reference, g.at_us, g.digest, g.channel, g.credential, g.nonce, g.sealed,
            g.signature, g.sealed_sha256, g.event, p_shard, g.entry, g.number
        FROM unnest(p_entry, p_kind, p_uin, p_reference, p_digest, p_at_us, p_channel, p_credential, p_nonce, p_sealed,
                p_signature, p_event, v_digest256, v_status, p_number)
            AS g (entry, kind, uin, reference, digest, at_us, channel, credential, nonce, sealed,
                signature, event, sealed_sha256, status, number)
        WHERE g.kind = 'vote' AND g.status = 'stored'
        ON CONFLICT ON CONSTRAINT votes_pkey DO NOTHING
        RETURNING v.uin
    )
    SELECT array_agg(i.uin) INTO v_uins FROM inserted AS i;

    IF coalesce(cardinality(v_uins), 0) <> (SELECT count(*) FROM unnest(p_kind, v_status) AS g (kind, status)
            WHERE g.kind = 'vote' AND g.status = 'stored') THEN
        SELECT array_agg(CASE WHEN g.kind = 'vote' AND g.status = 'stored' AND i.uin IS NULL THEN 'conflict' ELSE g.status END
            ORDER BY g.ord)
        INTO STRICT v_status
        FROM unnest(p_kind, p_uin, v_status) WITH ORDINALITY AS g (kind, uin, status, ord)
        LEFT JOIN unnest(v_uins) AS i (uin) ON i.uin = g.uin;
    END IF;

    INSERT INTO ip_records (event, ballot, sealed_ip)
    SELECT g.event, p_ballot, g.sealed_ip
    FROM unnest(p_kind, p_event, p_sealed_ip, v_status) AS g (kind, event, sealed_ip, status)
    WHERE g.kind = 'vote' AND g.status = 'stored';

    -- (3) Returns by another method, and what must not be counted.
    INSERT INTO returns (ballot, uin, method, received_us, recorded_us, counted, shard, entry)
    SELECT p_ballot, g.uin, g.kind, g.received_us, g.at_us, g.counted, p_shard, g.entry
    FROM unnest(p_entry, p_kind, p_counted, p_uin, p_at_us, p_received_us, v_status)
        AS g (entry, kind, counted, uin, at_us, received_us, status)
    WHERE g.kind <> 'vote' AND g.status = 'stored';

    INSERT INTO quarantine (ballot, shard, entry, reason, reference, uin, credential_digest, accepted_us, record)
    SELECT p_ballot, p_shard, g.entry, g.status, g.reference, g.uin, g.digest, g.at_us, g.record
    FROM unnest(p_entry, p_uin, p_reference, p_digest, p_at_us, p_record, v_status, v_fresh)
        AS g (entry, uin, reference, digest, at_us, record, status, fresh)
    WHERE g.fresh AND g.status <> 'stored';

    INSERT INTO events (ballot, kind, actor, detail)
    SELECT p_ballot, 'quarantined', 'worker', jsonb_build_object('shard', p_shard, 'entry', g.entry, 'reason', g.status)
    FROM unnest(p_entry, v_status, v_fresh) AS g (entry, status, fresh)
    WHERE g.fresh AND g.status <> 'stored';

    -- (4) The same sealed bytes under two credentials: an alarm, never a reason to refuse either.
    WITH given AS MATERIALIZED (
        SELECT g.*, p_ballot AS ballot
        FROM unnest(p_entry, p_kind, p_digest, v_digest256, v_status) AS g (entry, kind, digest, sealed_sha256, status)
    )
    SELECT array_agg(DISTINCT g.entry) INTO v_equal
    FROM given AS g
    CROSS JOIN LATERAL (SELECT 1 FROM votes AS x
        WHERE x.ballot = g.ballot AND x.sealed_sha256 = g.sealed_sha256 AND x.credential_digest <> g.digest LIMIT 1) AS twin
    WHERE g.kind = 'vote' AND g.status = 'stored';
    INSERT INTO events (ballot, kind, actor, detail)
    SELECT p_ballot, 'equal_sealed', 'worker', jsonb_build_object('shard', p_shard, 'entry', e)
    FROM unnest(v_equal) AS e;

    -- (5) Turnout as stored, and how far this shard has come.
    INSERT INTO turnout AS t (ballot, minute_us, method, side, votes)
    SELECT p_ballot, g.at_us - g.at_us % 60000000, CASE g.kind WHEN 'vote' THEN 'electronic' ELSE g.kind END, 'stored', count(*)
    FROM unnest(p_kind, p_counted, p_at_us, v_status) AS g (kind, counted, at_us, status)
    WHERE g.status = 'stored' AND g.counted
    GROUP BY 2, 3
    ORDER BY 2, 3
    ON CONFLICT ON CONSTRAINT turnout_pkey DO UPDATE SET votes = t.votes + excluded.votes;

    SELECT e INTO STRICT v_last FROM unnest(p_entry) AS e ORDER BY entry_order(e) DESC LIMIT 1;
    UPDATE marks AS m
    SET entries = m.entries + (SELECT count(*) FROM unnest(v_fresh) AS f WHERE f),
        entry = CASE WHEN entry_order(v_last) > entry_order(m.entry) THEN v_last ELSE m.entry END
    WHERE m.ballot = p_ballot AND m.shard = p_shard AND m.side = 'stored';

    RETURN QUERY
    SELECT g.entry, g.status, g.fresh, g.status = 'stored' AND g.entry = ANY (coalesce(v_equal, '{}'))
    FROM unnest(p_entry, v_status, v_fresh) WITH ORDINALITY AS g (entry, status, fresh, ord)
    ORDER BY g.ord;
END
$$;

-- Workers of the version before go on while others are replaced: the functions as they call them. What they store has no number,
-- which the gate's stream still has while the entry is there.
CREATE FUNCTION ballot.store_votes(
    p_ballot text, p_shard integer, p_entry text[], p_uin bytea[], p_reference text[], p_digest bytea[], p_at_us bigint[],
    p_channel text[], p_credential bytea[], p_nonce bytea[], p_sealed bytea[], p_signature bytea[], p_event bytea[],
    p_sealed_ip bytea[]
) RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT ballot.store_votes(
        p_ballot, p_shard, p_entry, p_uin, p_reference, p_digest, p_at_us, p_channel, p_credential, p_nonce, p_sealed,
        p_signature, p_event, p_sealed_ip,
        array_fill(NULL::bigint, ARRAY[cardinality(p_entry)]))
$$;
CREATE FUNCTION ballot.store_batch(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_judged text[], p_counted boolean[], p_uin bytea[],
    p_reference text[], p_digest bytea[], p_at_us bigint[], p_received_us bigint[], p_channel text[], p_credential bytea[],
    p_nonce bytea[], p_sealed bytea[], p_signature bytea[], p_event bytea[], p_sealed_ip bytea[], p_record bytea[]
) RETURNS TABLE (entry text, status text, fresh boolean, equal_sealed boolean)
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT * FROM ballot.store_batch(
        p_ballot, p_shard, p_entry, p_kind, p_judged, p_counted, p_uin, p_reference, p_digest, p_at_us, p_received_us,
        p_channel, p_credential, p_nonce, p_sealed, p_signature, p_event, p_sealed_ip, p_record,
        array_fill(NULL::bigint, ARRAY[cardinality(p_entry)]))
$$;

REVOKE ALL ON FUNCTION ballot.store_votes(
    text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[],
    bigint[]
) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_votes(
    text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[],
    bigint[]
) TO ballot_worker;
REVOKE ALL ON FUNCTION ballot.store_votes(
    text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]
) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_votes(
    text, integer, text[], bytea[], text[], bytea[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]
) TO ballot_worker;
REVOKE ALL ON FUNCTION ballot.store_batch(
    text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
    bytea[], bytea[], bytea[], bytea[], bytea[], bigint[]
) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_batch(
    text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
    bytea[], bytea[], bytea[], bytea[], bytea[], bigint[]
) TO ballot_worker;
REVOKE ALL ON FUNCTION ballot.store_batch(
    text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
    bytea[], bytea[], bytea[], bytea[], bytea[]
) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_batch(
    text, integer, text[], text[], text[], boolean[], bytea[], text[], bytea[], bigint[], bigint[], text[], bytea[], bytea[],
    bytea[], bytea[], bytea[], bytea[], bytea[]
) TO ballot_worker;

-- The trimmer takes out of the queue what it need not keep any longer. It learns how far storing and turnout have come, and
-- nothing else here: no vote, no voter, no count.
CREATE ROLE ballot_trimmer LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_trimmer;
GRANT USAGE ON SCHEMA ballot TO ballot_trimmer;

CREATE FUNCTION ballot.trimmer_marks() RETURNS TABLE (ballot text, shard integer, side text, entry text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$ SELECT m.ballot, m.shard, m.side, m.entry FROM marks AS m ORDER BY m.ballot, m.shard, m.side $$;
REVOKE ALL ON FUNCTION ballot.trimmer_marks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.trimmer_marks TO ballot_trimmer;
