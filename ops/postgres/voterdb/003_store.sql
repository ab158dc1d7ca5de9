-- What a worker may do: execute these functions and nothing else. Each runs as the owner, with a fixed search path.
-- Storing is set-based and idempotent: a batch delivered again changes nothing and is told what happened the first time.

-- Sealed bytes look random: trying to compress them only costs time.
ALTER TABLE ballot.votes ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE ballot.quarantine ALTER COLUMN record SET STORAGE EXTERNAL;

-- The order of stream entries: "1690000000000-12" as two numbers.
CREATE FUNCTION ballot.entry_order(p_entry text) RETURNS numeric[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN string_to_array(p_entry, '-')::numeric[];

-- Stores one batch of one ballot and one shard; one row back for each entry, in the order given:
--   stored            now in votes (or returns), exactly as cast
--   redelivered       the same vote (UIN, reference, digest, sealed bytes) or return was there already
--   unreadable, bad_signature, not_in_register, conflict
--                     in quarantine with the raw record; `p_judged` carries what the worker found itself
-- `fresh` is false when an earlier call had handled the entry. `equal_sealed` tells that another credential's stored vote
-- has the same sealed bytes: a copied ciphertext, stored all the same (it will not open) and recorded as an event.
--
-- The shard's mark is locked first, so calls for one shard follow one another and what is read here stays true until
-- commit. Calls for other shards cannot hold this UIN as long as the register is right; if it is not, votes_pkey decides.
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
    p_record bytea[]
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
            signature, sealed_sha256, event, shard, entry)
        SELECT p_ballot, g.uin, g.reference, g.at_us, g.digest, g.channel, g.credential, g.nonce, g.sealed,
            g.signature, g.sealed_sha256, g.event, p_shard, g.entry
        FROM unnest(p_entry, p_kind, p_uin, p_reference, p_digest, p_at_us, p_channel, p_credential, p_nonce, p_sealed,
                p_signature, p_event, v_digest256, v_status)
            AS g (entry, kind, uin, reference, digest, at_us, channel, credential, nonce, sealed,
                signature, event, sealed_sha256, status)
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

-- Attempts that were not accepted votes (requirement A-42.b). Tells how many were new; the key is the stream entry itself,
-- so the only thing that can be there already is the same attempt.
CREATE FUNCTION ballot.store_attempts(
    p_ballot text, p_shard integer, p_entry text[], p_kind text[], p_outcome text[], p_digest bytea[], p_sealed_ip bytea[],
    p_at_us bigint[]
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    WITH inserted AS (
        INSERT INTO attempts (ballot, shard, entry, kind, outcome, credential_digest, sealed_ip, at_us)
        SELECT p_ballot, p_shard, g.entry, g.kind, g.outcome, g.digest, g.sealed_ip, g.at_us
        FROM unnest(p_entry, p_kind, p_outcome, p_digest, p_sealed_ip, p_at_us)
            AS g (entry, kind, outcome, digest, sealed_ip, at_us)
        ON CONFLICT ON CONSTRAINT attempts_pkey DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM inserted
$$;

-- Adds what lies between two entries of a shard's stream to the turnout, exactly once: only if the last call ended where
-- this one begins. Tells whether it did; if not, the reader asks for its mark again.
CREATE FUNCTION ballot.turnout_add(
    p_ballot text, p_shard integer, p_from text, p_to text, p_entries bigint, p_minute_us bigint[], p_method text[],
    p_votes bigint[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF NOT entry_order(p_to) > entry_order(p_from) THEN
        RAISE EXCEPTION 'turnout goes forward: % does not follow %', p_to, p_from;
    END IF;
    INSERT INTO marks AS m (ballot, shard, side, entry, entries) VALUES (p_ballot, p_shard, 'turnout', '0-0', 0)
        ON CONFLICT ON CONSTRAINT marks_pkey DO NOTHING;
    UPDATE marks AS m SET entry = p_to, entries = m.entries + p_entries
    WHERE m.ballot = p_ballot AND m.shard = p_shard AND m.side = 'turnout' AND m.entry = p_from;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO turnout AS t (ballot, minute_us, method, side, votes)
    SELECT p_ballot, g.minute_us, g.method, 'accepted', sum(g.votes)
    FROM unnest(p_minute_us, p_method, p_votes) AS g (minute_us, method, votes)
    GROUP BY 2, 3
    ORDER BY 2, 3
    ON CONFLICT ON CONSTRAINT turnout_pkey DO UPDATE SET votes = t.votes + excluded.votes;
    RETURN true;
END
$$;

-- How far storing and turnout have come in every shard, for the trust check and the turnout reader; `electronic` is the
-- ballot's stored electronic votes, which its gate must have accepted.
CREATE FUNCTION ballot.worker_marks()
RETURNS TABLE (ballot text, shard integer, side text, entry text, entries bigint, electronic bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
    SELECT m.ballot, m.shard, m.side, m.entry, m.entries, coalesce((
        SELECT sum(t.votes) FROM turnout AS t
        WHERE t.ballot = m.ballot AND t.side = 'stored' AND t.method = 'electronic'), 0)::bigint
    FROM marks AS m
    ORDER BY m.ballot, m.shard, m.side
$$;

-- One line in the audit log by a worker; the kinds are listed so that a worker cannot write another's.
CREATE FUNCTION ballot.worker_event(p_ballot text, p_kind text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$
BEGIN
    IF p_kind NOT IN ('fuse', 'trust_given', 'trust_refused', 'attempt_unreadable', 'document_refused') THEN
        RAISE EXCEPTION 'a worker writes no event of kind %', p_kind;
    END IF;
    INSERT INTO events (ballot, kind, actor, detail) VALUES (p_ballot, p_kind, 'worker', p_detail);
END
$$;

-- At most one turnout reader: true for the connection that holds the place, until it disconnects.
CREATE FUNCTION ballot.worker_turnout_place() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = ballot, pg_temp
AS $$ SELECT pg_try_advisory_lock(7126401853) $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ballot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ballot.store_batch, ballot.store_attempts, ballot.turnout_add, ballot.worker_marks,
    ballot.worker_event, ballot.worker_turnout_place TO ballot_worker;
