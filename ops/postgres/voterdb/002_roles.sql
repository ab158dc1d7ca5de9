-- Verbs by role. Passwords are set by the runtime from secret files, never here.
-- Nobody but the owner can update or delete; TRUNCATE likewise. No role here exists on the userdb cluster.

REVOKE CONNECT ON DATABASE voterdb FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ballot FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The worker stores through one function (003) and reads nothing else.
CREATE ROLE ballot_worker LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_worker;
GRANT USAGE ON SCHEMA ballot TO ballot_worker;

-- The desk: a person's command. Reads, and adds rows to what the desk decides; never to votes, IP records or quarantine.
CREATE ROLE ballot_desk LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_desk;
GRANT USAGE ON SCHEMA ballot TO ballot_desk;
GRANT SELECT ON ALL TABLES IN SCHEMA ballot TO ballot_desk;
REVOKE SELECT ON ballot.ip_records FROM ballot_desk;
GRANT INSERT ON ballot.ballots, ballot.ballot_keys, ballot.rehearsals, ballot.lifecycle, ballot.electorate, ballot.register,
    ballot.revocations, ballot.register_roots, ballot.releases, ballot.events TO ballot_desk;

-- The monitor writes availability intervals and events, and may read its own intervals back.
CREATE ROLE ballot_monitor LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_monitor;
GRANT USAGE ON SCHEMA ballot TO ballot_monitor;
GRANT INSERT, SELECT ON ballot.availability TO ballot_monitor;
GRANT INSERT ON ballot.events TO ballot_monitor;

-- The checker reads the books from the outside; no IP address.
CREATE ROLE ballot_checker LOGIN;
GRANT CONNECT ON DATABASE voterdb TO ballot_checker;
GRANT USAGE ON SCHEMA ballot TO ballot_checker;
GRANT SELECT ON ALL TABLES IN SCHEMA ballot TO ballot_checker;
REVOKE SELECT ON ballot.ip_records FROM ballot_checker;
GRANT SELECT (event, ballot) ON ballot.ip_records TO ballot_checker;
