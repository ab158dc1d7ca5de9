-- What does not fit: one query a promise, each answering (where, what) for every vote that breaks it.
-- A header line `-- kind: <Kind>` or `-- note: <name>` begins a query, a semicolon ends it. Read by findings.py.

-- view
CREATE VIEW held AS
    SELECT reference FROM votes
    UNION ALL SELECT reference FROM quarantine
    UNION ALL SELECT reference FROM entries WHERE kind = 'vote';

-- view
CREATE VIEW held_returns AS
    SELECT q.* FROM quarantine q
      WHERE EXISTS (SELECT 1 FROM entries e WHERE e.shard = q.shard AND e.entry = q.entry AND e.kind = 'return')
      OR (q.reference IS NULL AND q.digest IS NULL AND q.reason <> 'unreadable');

-- view
CREATE VIEW held_votes AS
    SELECT q.* FROM quarantine q
      WHERE NOT EXISTS (SELECT 1 FROM held_returns h WHERE h.shard = q.shard AND h.entry = q.entry);

-- kind: LOST
SELECT m.reference, 'marked as voted; neither stored, quarantined nor waiting' FROM marks m
  WHERE m.method = 'electronic' AND
  NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = m.reference);

-- kind: LOST
SELECT e.reference, 'acknowledged in the queue; neither stored nor quarantined' FROM entries e
  WHERE e.kind = 'vote' AND e.acknowledged
  AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
  AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- kind: LOST
SELECT r.reference, 'a reference the gate gave out; no vote has it' FROM refs r
  WHERE r.state <> 'corrupt' AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = r.reference)
  AND
  NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = r.reference);

-- kind: LOST
SELECT c.reference, 'a receipt (line ' || c.line || '); no vote has its reference' FROM receipts c
  WHERE
  NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = c.reference);

-- kind: LOST
SELECT 'shard ' || e.shard || ' entry ' || e.entry, 'a return acknowledged in the queue and not stored' FROM entries e
  WHERE e.kind = 'return' AND e.acknowledged
  AND NOT EXISTS (SELECT 1 FROM returned r WHERE r.shard = e.shard AND r.entry = e.entry)
  AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- kind: LOST
SELECT 'UIN ' || hex(m.uin), 'marked as returned by ' || m.method || '; no such return is counted, quarantined or waiting'
  FROM marks m WHERE m.method NOT IN ('electronic', 'unknown')
  AND NOT EXISTS (SELECT 1 FROM returned r WHERE r.uin = m.uin AND r.counted AND r.method = m.method)
  AND NOT EXISTS (SELECT 1 FROM held_returns h WHERE h.uin = m.uin)
  AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.uin = m.uin AND e.kind = 'return' AND e.won AND NOT e.acknowledged);

-- kind: DOUBLED
SELECT min(reference), count(*) || ' votes stored for one voter' FROM votes GROUP BY uin HAVING count(*) > 1;

-- kind: DOUBLED
SELECT reference, count(*) || ' votes stored under one reference' FROM votes
  GROUP BY reference HAVING count(*) > 1;

-- kind: DOUBLED
SELECT min(reference), count(*) || ' votes stored by one credential' FROM votes
  GROUP BY digest HAVING count(*) > 1;

-- kind: DOUBLED
SELECT v.reference, 'counted both electronically and by ' || r.method FROM votes v
  JOIN returned r ON r.uin = v.uin AND r.counted;

-- kind: DOUBLED
SELECT 'UIN ' || hex(uin), count(*) || ' returns counted for one voter' FROM returned WHERE counted
  GROUP BY uin HAVING count(*) > 1;

-- kind: DOUBLED
SELECT v.reference, 'both stored and quarantined' FROM votes v
  JOIN quarantine q ON q.shard = v.shard AND q.entry = v.entry;

-- kind: DOUBLED
SELECT min(e.reference), count(*) || ' votes in the queue for one voter' FROM entries e
  WHERE e.kind = 'vote' AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.reference = e.reference)
  GROUP BY e.uin HAVING count(*) > 1;

-- kind: ALTERED
SELECT 'UIN ' || hex(uin), 'the gate''s mark of this voter is corrupt' FROM marks WHERE method = 'unknown';

-- kind: ALTERED
SELECT reference, 'corrupt: stands among the gate''s references and is none' FROM refs WHERE state = 'corrupt';

-- kind: ALTERED
SELECT reference, 'the stored sealed vote does not have the digest stored with it' FROM votes
  WHERE actual_sha256 <> stated_sha256;

-- kind: ALTERED
SELECT v.reference, 'the stored sealed vote is not the one the gate accepted' FROM votes v
  JOIN marks m ON m.reference = v.reference WHERE m.identity <> v.identity;

-- kind: ALTERED
SELECT v.reference, 'stored for another voter than the gate marked' FROM votes v
  JOIN marks m ON m.reference = v.reference WHERE m.uin <> v.uin;

-- kind: ALTERED
SELECT v.reference, 'stored with another acceptance time than the gate''s' FROM votes v
  JOIN marks m ON m.reference = v.reference WHERE m.accepted_us <> v.accepted_us;

-- kind: ALTERED
SELECT v.reference, 'stored otherwise than in the queue (voter, credential, time or entry)' FROM votes v
  JOIN entries e ON e.reference = v.reference AND e.kind = 'vote'
  WHERE e.uin <> v.uin OR e.digest <> v.digest OR e.accepted_us <> v.accepted_us OR e.entry <> v.entry;

-- kind: ALTERED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'a counted return with another time of receipt than the gate''s'
  FROM returned r JOIN marks m ON m.uin = r.uin AND m.method = r.method
  WHERE r.counted AND m.accepted_us <> r.received_us;

-- kind: ALTERED
SELECT c.reference, 'the receipt (line ' || c.line || ') is for another sealed vote or time' FROM receipts c
  JOIN votes v ON v.reference = c.reference
  WHERE v.actual_sha256 <> c.sealed_sha256 OR v.accepted_us <> c.accepted_us;

-- kind: ALTERED
SELECT c.reference, 'the receipt (line ' || c.line || ') is not what the gate accepted' FROM receipts c
  JOIN marks m ON m.reference = c.reference
  WHERE m.accepted_us <> c.accepted_us;

-- kind: UNEXPLAINED
SELECT v.reference, 'stored, but the gate has no such vote for any voter' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = v.reference);

-- kind: UNEXPLAINED
SELECT m.reference, 'marked as voted under a reference the gate does not know' FROM marks m
  WHERE m.method = 'electronic' AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.reference = m.reference);

-- kind: UNEXPLAINED
SELECT v.reference, 'stored from an entry that is gone from the middle of the queue' FROM votes v
  JOIN spans s ON s.shard = v.shard AND s.first_place < v.place
  WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = v.shard AND e.entry = v.entry);

-- kind: UNEXPLAINED
SELECT coalesce(v.reference, 'shard ' || d.shard || ' entry ' || d.entry), 'an entry deleted from the queue by hand'
  FROM deleted d LEFT JOIN votes v ON v.shard = d.shard AND v.entry = d.entry;

-- kind: UNEXPLAINED
SELECT e.reference, 'in the queue, but the voter is not marked and was not released' FROM entries e
  WHERE e.kind = 'vote' AND NOT e.late
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = e.reference)
  AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.reference = e.reference);

-- kind: UNEXPLAINED
SELECT coalesce(q.reference, 'shard ' || q.shard || ' entry ' || q.entry), 'quarantined, but the voter is neither marked nor released'
  FROM held_votes q
  WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = q.reference)
  AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.shard = q.shard AND s.entry = q.entry);

-- kind: UNEXPLAINED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'a counted return of a voter whom the gate has not marked so' FROM returned r
  WHERE r.counted
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.uin = r.uin AND m.method = r.method);

-- kind: UNEXPLAINED
SELECT m.reference, 'an electronic vote; this ballot takes none' FROM marks m
  WHERE m.method = 'electronic' AND NOT :electronic;

-- kind: WINDOW
SELECT reference, CASE WHEN accepted_us < :opens_us THEN 'accepted before opening' ELSE 'accepted after closing' END
  FROM (SELECT reference, accepted_us FROM votes
  UNION SELECT reference, accepted_us FROM marks WHERE method = 'electronic'
  UNION SELECT coalesce(reference, entry), accepted_us FROM held_votes WHERE accepted_us IS NOT NULL)
  WHERE accepted_us < :opens_us OR accepted_us >= :closes_us;

-- kind: ELECTORATE
SELECT v.reference, 'the voter is not in the electorate' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM electorate l WHERE l.uin = v.uin);

-- kind: ELECTORATE
SELECT coalesce(m.reference, 'UIN ' || hex(m.uin)), 'marked as voted; not in the electorate' FROM marks m
  WHERE NOT EXISTS (SELECT 1 FROM electorate l WHERE l.uin = m.uin);

-- kind: ELECTORATE
SELECT 'UIN ' || hex(l.uin), 'in the electorate of an opened ballot, but never issued a code' FROM electorate l
  WHERE :all_have_codes AND NOT EXISTS (SELECT 1 FROM register g WHERE g.uin = l.uin);

-- kind: REGISTER
SELECT v.reference, 'the credential was never issued' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM register g WHERE g.digest = v.digest);

-- kind: REGISTER
SELECT v.reference, 'the credential was issued to another voter' FROM votes v
  JOIN register g ON g.digest = v.digest WHERE g.uin <> v.uin;

-- kind: REGISTER
SELECT v.reference, 'the credential was revoked before the vote' FROM votes v
  JOIN revocations k ON k.digest = v.digest WHERE k.revoked_us <= v.accepted_us;

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'at the gate, but never issued' FROM credentials c
  WHERE NOT EXISTS (SELECT 1 FROM register g WHERE g.digest = c.digest);

-- kind: REGISTER
SELECT 'credential ' || hex(g.digest), 'issued, but not at the gate' FROM register g
  WHERE NOT EXISTS (SELECT 1 FROM credentials c WHERE c.digest = g.digest);

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'another voter''s at the gate than in the register' FROM credentials c
  JOIN register g ON g.digest = c.digest WHERE g.uin <> c.uin OR g.shard <> c.shard;

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'revoked in the register, current at the gate' FROM credentials c
  JOIN revocations k ON k.digest = c.digest WHERE c.flag <> 'r';

-- note: copied
SELECT min(reference), count(*) || ' votes with the same sealed bytes; copies do not open and are set aside'
  FROM votes GROUP BY actual_sha256 HAVING count(*) > 1;

-- note: revoking
SELECT 'credential ' || hex(c.kept), 'revoked at the gate and not in the register: a reissue was interrupted'
  FROM credentials c WHERE c.flag = 'r'
  AND NOT EXISTS (SELECT 1 FROM revocations k WHERE k.digest = c.digest);

-- note: unconfirmed attempts
SELECT v.reference, 'counted; no receipt was handed in for it' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM receipts c WHERE c.reference = v.reference);
