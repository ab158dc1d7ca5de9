-- voterdb: sealed votes by unique identifying number (UIN); no name or contact detail ever enters this cluster.
-- Everything is insert-only: a change of state is a new row in a table of its own.
-- Times are microseconds since the Unix epoch (UTC) where they come from the queue's clock, timestamptz where from this server's.

CREATE SCHEMA ballot;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- One row a ballot, fixed at `create` (INTERFACES: the definition never changes afterwards).
CREATE TABLE ballot.ballots (
    ballot text PRIMARY KEY CHECK (ballot ~ '^[a-z0-9-]{1,40}$'),
    kind text NOT NULL,
    definition bytea NOT NULL,
    definition_sha256 bytea NOT NULL CHECK (octet_length(definition_sha256) = 32),
    shards integer NOT NULL CHECK (shards IN (1, 2, 4, 8, 16, 32)),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The public halves of a ballot's keys, made by the key holders' ceremony.
CREATE TABLE ballot.ballot_keys (
    ballot text PRIMARY KEY REFERENCES ballot.ballots,
    public_key bytea NOT NULL,
    result_key bytea NOT NULL CHECK (octet_length(result_key) = 32),
    threshold integer NOT NULL CHECK (threshold >= 1),
    shares integer NOT NULL CHECK (shares >= threshold),
    registered_at timestamptz NOT NULL DEFAULT now()
);

-- Each time k holders proved that their shares open a test vote; the proof is signed by the result key.
CREATE TABLE ballot.rehearsals (
    ballot text NOT NULL REFERENCES ballot.ballot_keys,
    statement bytea NOT NULL,
    signature bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- Life cycle: armed (with the frozen, signed document), extended, closing. The newest row of a kind holds.
CREATE TABLE ballot.lifecycle (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ballot text NOT NULL REFERENCES ballot.ballots,
    kind text NOT NULL CHECK (kind IN ('armed', 'extended', 'closing')),
    opens_us bigint NOT NULL,
    closes_us bigint NOT NULL,
    document bytea,
    document_signature bytea,
    at timestamptz NOT NULL DEFAULT now()
);

-- The electorate by UIN: who is entitled, and in which shard of the gate they live.
CREATE TABLE ballot.electorate (
    ballot text NOT NULL REFERENCES ballot.ballots,
    uin bytea NOT NULL CHECK (octet_length(uin) = 16),
    entered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, uin)
);

-- The issue register: which credential (as keyed digest) was issued to which UIN, by which channel.
CREATE TABLE ballot.register (
    ballot text NOT NULL,
    credential_digest bytea NOT NULL CHECK (octet_length(credential_digest) = 32),
    uin bytea NOT NULL,
    shard integer NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'post', 'probe')),
    batch integer NOT NULL,
    position integer NOT NULL,
    issued_us bigint NOT NULL,
    PRIMARY KEY (ballot, credential_digest),
    UNIQUE (ballot, batch, position),
    FOREIGN KEY (ballot, uin) REFERENCES ballot.electorate (ballot, uin)
);
CREATE INDEX register_uin ON ballot.register (ballot, uin);

-- Revocations carry the gate's time: an earlier accepted vote stays good, a later one cannot exist.
CREATE TABLE ballot.revocations (
    ballot text NOT NULL,
    credential_digest bytea NOT NULL,
    revoked_us bigint NOT NULL,
    batch integer NOT NULL,
    position integer NOT NULL,
    PRIMARY KEY (ballot, credential_digest),
    UNIQUE (ballot, batch, position),
    FOREIGN KEY (ballot, credential_digest) REFERENCES ballot.register (ballot, credential_digest)
);

-- RFC 6962 roots over each batch of issues and revocations, signed by the desk. The desk keeps its own copy outside this cluster.
CREATE TABLE ballot.register_roots (
    ballot text NOT NULL REFERENCES ballot.ballots,
    batch integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('issue', 'revoke')),
    leaves integer NOT NULL,
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    signature bytea NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, batch)
);

-- The vote exactly as cast (requirement A-31): one a UIN, for ever. No IP address here (A-23.b): `event` joins ip_records.
CREATE TABLE ballot.votes (
    ballot text NOT NULL,
    uin bytea NOT NULL,
    reference text NOT NULL CHECK (reference ~ '^[0-9A-Z]{4}(-[0-9A-Z]{4}){3}$'),
    accepted_us bigint NOT NULL,
    credential_digest bytea NOT NULL,
    channel text NOT NULL,
    credential bytea NOT NULL,
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    signature bytea NOT NULL,
    sealed_sha256 bytea NOT NULL,
    event bytea NOT NULL UNIQUE CHECK (octet_length(event) = 16),
    shard integer NOT NULL,
    entry text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, uin),
    UNIQUE (ballot, reference),
    FOREIGN KEY (ballot, credential_digest) REFERENCES ballot.register (ballot, credential_digest)
);
CREATE INDEX votes_sealed_sha256 ON ballot.votes (ballot, sealed_sha256);

-- IP addresses (requirement A-23): own table, own key, kept at least 12 months; `sealed_ip` is AES-256-GCM with the key id inside.
CREATE TABLE ballot.ip_records (
    event bytea PRIMARY KEY CHECK (octet_length(event) = 16),
    ballot text NOT NULL,
    sealed_ip bytea NOT NULL,
    purpose text NOT NULL DEFAULT 'audit and investigation',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    keep_until timestamptz NOT NULL DEFAULT now() + interval '13 months'
);

-- Returns by post or at the workplace, as decided by the gate (first recorded counts); losers are kept with `counted` false.
CREATE TABLE ballot.returns (
    ballot text NOT NULL,
    uin bytea NOT NULL,
    method text NOT NULL CHECK (method IN ('postal', 'workplace')),
    received_us bigint NOT NULL,
    recorded_us bigint NOT NULL,
    counted boolean NOT NULL,
    shard integer NOT NULL,
    entry text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, shard, entry),
    FOREIGN KEY (ballot, uin) REFERENCES ballot.electorate (ballot, uin)
);
CREATE UNIQUE INDEX returns_counted ON ballot.returns (ballot, uin) WHERE counted;

-- What failed a worker's check: never counted, never lost. `record` is the queue entry as it came.
CREATE TABLE ballot.quarantine (
    ballot text NOT NULL,
    shard integer NOT NULL,
    entry text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('unreadable', 'bad_signature', 'not_in_register', 'conflict')),
    reference text,
    uin bytea,
    credential_digest bytea,
    accepted_us bigint,
    record bytea NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, shard, entry)
);
CREATE INDEX quarantine_uin ON ballot.quarantine (ballot, uin);

-- A quarantined vote whose voter the desk released, so that a new code can be used.
CREATE TABLE ballot.releases (
    ballot text NOT NULL,
    shard integer NOT NULL,
    entry text NOT NULL,
    uin bytea NOT NULL,
    reference text NOT NULL,
    released_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, shard, entry),
    FOREIGN KEY (ballot, shard, entry) REFERENCES ballot.quarantine (ballot, shard, entry)
);

-- Every attempt with an issued credential that was not an accepted vote (requirement A-42.b): digest and outcome, IP sealed.
CREATE TABLE ballot.attempts (
    ballot text NOT NULL,
    shard integer NOT NULL,
    entry text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    credential_digest bytea NOT NULL,
    sealed_ip bytea NOT NULL,
    at_us bigint NOT NULL,
    PRIMARY KEY (ballot, shard, entry)
);

-- Events for the audit log: one line an act; `detail` holds no code, choice or contact detail.
CREATE TABLE ballot.events (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ballot text,
    kind text NOT NULL,
    actor text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_ballot ON ballot.events (ballot, seq);

-- Turnout by minute and method: `accepted` from the stream's second reader, `stored` by the storing function. Never choices.
CREATE TABLE ballot.turnout (
    ballot text NOT NULL,
    minute_us bigint NOT NULL,
    method text NOT NULL CHECK (method IN ('electronic', 'postal', 'workplace')),
    side text NOT NULL CHECK (side IN ('accepted', 'stored')),
    votes bigint NOT NULL,
    PRIMARY KEY (ballot, minute_us, method, side)
);

-- How far the turnout reader and the storing function have come in each shard's stream.
CREATE TABLE ballot.marks (
    ballot text NOT NULL,
    shard integer NOT NULL,
    side text NOT NULL CHECK (side IN ('turnout', 'stored')),
    entry text NOT NULL,
    entries bigint NOT NULL,
    PRIMARY KEY (ballot, shard, side)
);

-- The availability record (requirement A-42.a.vi): intervals without overlap, one row each, written when the interval ends.
CREATE TABLE ballot.availability (
    monitor text NOT NULL,
    started_us bigint NOT NULL,
    ended_us bigint NOT NULL CHECK (ended_us > started_us),
    state text NOT NULL CHECK (state IN ('up', 'slow', 'down', 'unknown')),
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (monitor, started_us)
);
