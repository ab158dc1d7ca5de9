-- Complaints and what became of each: insert-only, text and notes sealed to the desk's complaints key. No vote, no credential, no
-- voter's number: a complaint belongs to no row of any other table, and may name a ballot that was never set up.

CREATE SCHEMA complaints;

-- One row a complaint, whatever its number: two that share one (its 60 bits can be aimed at) are both kept.
CREATE TABLE complaints.complaints (
    sha256 bytea PRIMARY KEY,
    number text NOT NULL CHECK (number ~ '^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$'),
    sealed bytea NOT NULL CHECK (octet_length(sealed) = 5232),
    ballot text CHECK (ballot ~ '^[a-z0-9-]{1,40}$'),
    route text NOT NULL CHECK (route IN ('web', 'phone', 'post')),
    received_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    CHECK (sha256 = sha256(sealed))
);
-- Sealed bytes look random: trying to compress them only costs time.
ALTER TABLE complaints.complaints ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX complaints_number ON complaints.complaints (number);
CREATE INDEX complaints_received ON complaints.complaints (received_at, sha256);

-- What became of it, in order; `read` is each time that somebody opened it, which changes no state.
CREATE TABLE complaints.history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    complaint bytea NOT NULL REFERENCES complaints.complaints,
    state text NOT NULL CHECK (state IN ('received', 'in-hand', 'answered', 'closed', 'read')),
    actor text NOT NULL CHECK (actor ~ '^[^[:cntrl:]]{1,64}$'),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    note bytea CHECK (octet_length(note) = 5232)
);
ALTER TABLE complaints.history ALTER COLUMN note SET STORAGE EXTERNAL;
CREATE INDEX history_complaint ON complaints.history (complaint, id);

-- The second wall, for whoever has more rights than any role of ours.
CREATE FUNCTION complaints.are_kept() RETURNS trigger
LANGUAGE plpgsql
SET search_path = complaints, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'complaints and their history are only ever added to'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON complaints.complaints
    FOR EACH STATEMENT EXECUTE FUNCTION complaints.are_kept();
CREATE TRIGGER are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON complaints.history
    FOR EACH STATEMENT EXECUTE FUNCTION complaints.are_kept();

-- Stores complaints of one route with the first line of their history; tells how many were new. The same one again changes
-- nothing: its first time of receipt stays.
CREATE FUNCTION complaints.store(
    p_route text, p_number text[], p_sealed bytea[], p_ballot text[], p_received_ms bigint[]
) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = complaints, pg_temp
AS $$
    WITH stored AS (
        INSERT INTO complaints (sha256, number, sealed, ballot, route, received_at)
        SELECT sha256(sealed), number, sealed, ballot, p_route, to_timestamp(received_ms / 1000.0)
        FROM unnest(p_number, p_sealed, p_ballot, p_received_ms) AS given (number, sealed, ballot, received_ms)
        ON CONFLICT (sha256) DO NOTHING
        RETURNING sha256
    ), noted AS (
        INSERT INTO history (complaint, state, actor)
        SELECT sha256, 'received', CASE p_route WHEN 'web' THEN 'page' ELSE 'desk' END FROM stored
        RETURNING id
    )
    SELECT count(*)::integer FROM noted
$$;

-- All that the storing process may do.
CREATE FUNCTION complaints.store_lodged(p_number text[], p_sealed bytea[], p_ballot text[], p_received_ms bigint[])
RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = complaints, pg_temp
AS $$ SELECT store('web', p_number, p_sealed, p_ballot, p_received_ms) $$;

-- Adds a line to a history: its place and its time are the database's, whoever calls.
CREATE FUNCTION complaints.add_line(p_complaint bytea, p_state text, p_actor text, p_note bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = complaints, pg_temp
AS $$ INSERT INTO history (complaint, state, actor, note) VALUES (p_complaint, p_state, p_actor, p_note) $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA complaints FROM PUBLIC;

-- `ballot complaints serve`: stores, and reads nothing back.
CREATE ROLE ballot_complaints LOGIN;
GRANT CONNECT ON DATABASE userdb TO ballot_complaints;
GRANT USAGE ON SCHEMA complaints TO ballot_complaints;
GRANT EXECUTE ON FUNCTION complaints.store_lodged TO ballot_complaints;

-- The desk reads, enters what came by phone or post, and adds to the history.
GRANT USAGE ON SCHEMA complaints TO ballot_people;
GRANT SELECT ON complaints.complaints, complaints.history TO ballot_people;
GRANT EXECUTE ON FUNCTION complaints.store, complaints.add_line TO ballot_people;
