-- userdb: who is on the roll and how to reach them; never a vote, never a credential. Contact details are AES-256-GCM sealed.

CREATE SCHEMA people;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE CONNECT ON DATABASE userdb FROM PUBLIC;

-- One row a voter a ballot. `member` is HMAC-SHA-256 of the member id, to find a row; `sealed` holds id, name and contact details.
CREATE TABLE people.voters (
    ballot text NOT NULL,
    uin bytea NOT NULL CHECK (octet_length(uin) = 16),
    member bytea NOT NULL CHECK (octet_length(member) = 32),
    sealed bytea NOT NULL,
    roll_sha256 bytea NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ballot, uin),
    UNIQUE (ballot, member)
);

-- What was handed to the dispatch house: UIN, channel and time; neither code nor destination.
CREATE TABLE people.dispatches (
    ballot text NOT NULL,
    uin bytea NOT NULL,
    channel text NOT NULL,
    batch integer NOT NULL,
    dispatched_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (ballot, uin) REFERENCES people.voters (ballot, uin)
);

-- The desk's role on this cluster: another role and another password than on voterdb; no running service has one here.
CREATE ROLE ballot_people LOGIN;
GRANT CONNECT ON DATABASE userdb TO ballot_people;
GRANT USAGE ON SCHEMA people TO ballot_people;
GRANT SELECT, INSERT ON people.voters, people.dispatches TO ballot_people;
