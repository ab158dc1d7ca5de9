-- What does not fit: one query a promise, each answering (where, what) for every vote that breaks it.
-- A header line `-- kind: <Kind>` or `-- note: <name>` begins a query, a semicolon ends it. Read by findings.py.
-- A query over all votes first looks along two indexes that hold all it asks for, side by side, and only then fetches what to
-- say of the few it found: a million looks into tables, here and there, take a hundred times as long (scratch.py has the indexes).
-- CROSS JOIN keeps all votes on the left, walked once: they have no index by entry.

-- view
CREATE VIEW held AS
    SELECT reference FROM votes
    UNION ALL SELECT reference FROM quarantine
    UNION ALL SELECT reference FROM entries WHERE kind = 'vote';

-- view
CREATE TABLE held_returns AS
    SELECT q.* FROM quarantine q
      WHERE EXISTS (SELECT 1 FROM entries e WHERE e.shard = q.shard AND e.entry = q.entry AND e.kind = 'return')
      OR (q.reference IS NULL AND q.digest IS NULL AND q.reason <> 'unreadable');

-- view
CREATE TABLE held_votes AS
    SELECT q.* FROM quarantine q
      WHERE NOT EXISTS (SELECT 1 FROM held_returns h WHERE h.shard = q.shard AND h.entry = q.entry);

-- view
CREATE TABLE used_unstored AS
    SELECT q.digest FROM held_votes q WHERE q.digest IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.shard = q.shard AND s.entry = q.entry)
    UNION SELECT e.digest FROM entries e WHERE e.kind = 'vote' AND NOT e.late AND e.digest IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
      AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- view
CREATE TABLE crossed AS
    SELECT v.reference, v.uin AS stored_uin, m.uin AS marked_uin, v.accepted_us AS stored_us, m.accepted_us AS marked_us,
      v.identity AS stored_identity, m.identity AS marked_identity
    FROM votes v JOIN marks m ON m.reference = v.reference
    WHERE m.uin <> v.uin OR m.accepted_us <> v.accepted_us OR m.identity <> v.identity;

-- view
CREATE TABLE unregistered AS
    SELECT v.rowid AS id FROM votes v INDEXED BY votes_by_digest
      WHERE NOT EXISTS (SELECT 1 FROM register g
        WHERE g.kept = substr(v.digest, 1, 16) AND g.digest = v.digest AND g.uin = v.uin AND g.shard = v.shard
        AND g.channel = v.channel);

-- view
CREATE TABLE foreign_credentials AS
    SELECT c.rowid AS id FROM credentials c INDEXED BY credentials_by_kept
      WHERE NOT EXISTS (SELECT 1 FROM register g WHERE g.kept = c.kept AND g.uin = c.uin AND g.shard = c.shard);

-- view
CREATE TABLE unstored_numbers AS
    SELECT shard, number, reference FROM held_votes
    UNION SELECT e.shard, e.number, e.reference FROM entries e WHERE e.kind = 'vote'
      AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
      AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- view
CREATE VIEW numbers AS
    SELECT shard, number FROM votes WHERE number IS NOT NULL
    UNION ALL SELECT shard, number FROM unstored_numbers WHERE number IS NOT NULL;

-- view
CREATE TABLE first_numbered AS
    SELECT shard, min(place) AS place FROM votes WHERE number IS NOT NULL GROUP BY shard;

-- view
CREATE TABLE unnumbered AS
    SELECT s.shard, count(v.shard) AS votes FROM states s LEFT JOIN first_numbered f ON f.shard = s.shard
      LEFT JOIN votes v ON v.shard = s.shard AND v.number IS NULL AND (f.place IS NULL OR v.place < f.place) GROUP BY s.shard;

-- view
CREATE TABLE gaps AS
    SELECT s.shard, s.first, coalesce((SELECT min(n.number) FROM numbers n WHERE n.shard = s.shard AND n.number > s.first),
      t.number + 1) - 1 AS last
    FROM (SELECT shard, 1 + votes AS first FROM unnumbered
      UNION SELECT v.shard, v.number + 1 FROM votes v WHERE v.number IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM votes w WHERE w.shard = v.shard AND w.number = v.number + 1)
      UNION SELECT u.shard, u.number + 1 FROM unstored_numbers u WHERE u.number IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM votes w WHERE w.shard = u.shard AND w.number = u.number + 1)) s
    JOIN states t ON t.shard = s.shard AND s.first <= t.number
    WHERE NOT EXISTS (SELECT 1 FROM numbers n WHERE n.shard = s.shard AND n.number = s.first);

-- view
CREATE TABLE numbered AS
    SELECT shard, min(place) AS first_place FROM votes INDEXED BY votes_by_number WHERE number IS NOT NULL GROUP BY shard;

-- view
CREATE TABLE disorder AS
    SELECT b.*, (SELECT n.place FROM votes n WHERE n.shard = b.shard AND n.number > b.number ORDER BY n.number LIMIT 1) AS later,
      (SELECT n.place FROM votes p JOIN votes n ON n.shard = p.shard AND n.number < p.number WHERE p.rowid = b.before
        ORDER BY n.number DESC LIMIT 1) AS earlier
    FROM (SELECT rowid AS id, shard, number, place, lag(place) OVER neighbour AS before_place, lag(rowid) OVER neighbour AS before
      FROM votes INDEXED BY votes_by_number WHERE number IS NOT NULL
      WINDOW neighbour AS (PARTITION BY shard ORDER BY number, place)) b
    WHERE b.before_place >= b.place;

-- view
CREATE TABLE unexplained_gaps AS
    SELECT p.shard, p.first, coalesce((SELECT min(a.first) - 1 FROM accounted a
        WHERE a.shard = p.shard AND a.first > p.first AND a.first <= p.last), p.last) AS last
    FROM (SELECT shard, first, last FROM gaps
      UNION SELECT g.shard, a.last + 1, g.last FROM gaps g
        JOIN accounted a ON a.shard = g.shard AND a.last >= g.first AND a.last < g.last) p
    WHERE coalesce((SELECT a.last FROM accounted a WHERE a.shard = p.shard AND a.first <= p.first
      ORDER BY a.first DESC LIMIT 1), 0) < p.first;

-- view
CREATE TABLE vanished AS
    SELECT p.digest, p.shard, p.last_us, coalesce((SELECT max(g.at_us) FROM numbers_given_up g WHERE g.shard = p.shard), 0) > p.last_us AS before
    FROM repeated p
    WHERE NOT EXISTS (SELECT 1 FROM votes v WHERE v.digest = p.digest)
    AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.digest = p.digest)
    AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.digest = p.digest);

-- view
-- From when on more voters of a shard were told of votes that are gone than recoveries after that have lost.
CREATE TABLE overdrawn AS
    SELECT c.shard, min(c.last_us) AS since_us
    FROM (SELECT shard, last_us, count(*) OVER (PARTITION BY shard ORDER BY last_us DESC) AS told FROM vanished WHERE before) c
    WHERE c.told > (SELECT sum(g.last - g.first + 1) FROM numbers_given_up g WHERE g.shard = c.shard AND g.at_us > c.last_us)
    GROUP BY c.shard;

-- view
CREATE TABLE minutes AS
    SELECT accepted_us - accepted_us % 60000000 AS minute_us, v.again, coalesce(v.place <= t.place, 0) AS counted, count(*) AS votes
    FROM votes v LEFT JOIN counted_to t ON t.shard = v.shard GROUP BY 1, 2, 3;

-- view
CREATE TABLE turnout_stored AS
    SELECT minute_us, 'electronic' AS method, votes FROM minutes WHERE NOT again
    UNION ALL SELECT recorded_us - recorded_us % 60000000, method, 1 FROM returned WHERE counted AND NOT again;

-- view
CREATE TABLE turnout_accepted AS
    SELECT minute_us, 'electronic' AS method, votes FROM minutes WHERE counted
    UNION ALL SELECT recorded_us - recorded_us % 60000000, method, 1
      FROM returned r JOIN counted_to t ON t.shard = r.shard AND r.place <= t.place WHERE r.counted
    UNION ALL SELECT coalesce(q.at_us, q.accepted_us) - coalesce(q.at_us, q.accepted_us) % 60000000,
        CASE coalesce(q.kind, 'vote') WHEN 'vote' THEN 'electronic' ELSE q.kind END, 1
      FROM quarantine q JOIN counted_to t ON t.shard = q.shard AND q.place <= t.place
      WHERE coalesce(q.at_us, q.accepted_us) IS NOT NULL AND (q.kind IS NOT NULL OR q.reference IS NOT NULL)
    UNION ALL SELECT e.accepted_us - e.accepted_us % 60000000, CASE e.kind WHEN 'vote' THEN 'electronic' ELSE e.method END, 1
      FROM entries e JOIN counted_to t ON t.shard = e.shard AND e.place <= t.place
      WHERE e.accepted_us > 0 AND (e.kind = 'vote' OR e.won)
      AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
      AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry)
      AND NOT EXISTS (SELECT 1 FROM returned r WHERE r.shard = e.shard AND r.entry = e.entry);

-- kind: LOST
SELECT m.reference, 'marked as voted; neither stored, quarantined nor waiting' FROM marks m
  WHERE m.reference IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = m.reference);

-- kind: LOST
SELECT e.reference, 'acknowledged in the queue; neither stored nor quarantined' FROM entries e
  WHERE e.kind = 'vote' AND e.acknowledged
  AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
  AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- kind: LOST
SELECT r.reference, 'a reference the gate gave out; no vote has it' FROM refs r WHERE r.state <> 'corrupt' AND r.reference IN (
  SELECT x.reference FROM refs x INDEXED BY refs_by_reference
  WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = x.reference)
  AND NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = x.reference));

-- kind: LOST
SELECT c.reference, 'a receipt (line ' || c.line || '); no vote has its reference'
  || CASE WHEN c.reference IN (SELECT reference FROM given_up) THEN ', as the recovery of the queue put on record' ELSE '' END
  FROM receipts c
  WHERE NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = c.reference);

-- kind: LOST
SELECT 'credential ' || hex(p.digest), 'sent again and told that its vote was taken; there is no vote of it' FROM vanished p
  WHERE NOT p.before OR EXISTS (SELECT 1 FROM overdrawn o WHERE o.shard = p.shard AND p.last_us >= o.since_us);

-- kind: LOST
SELECT 'shard ' || g.shard || ' number ' || g.first || CASE WHEN g.last > g.first THEN ' to ' || g.last ELSE '' END,
  'an acceptance that the gate counted; no vote has its number' FROM unexplained_gaps g;

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

-- kind: LOST
SELECT 'UIN ' || hex(p.uin), 'a second paper by ' || p.method || ' that the gate remembers; it is not stored, quarantined or waiting'
  FROM papers p
  WHERE NOT EXISTS (SELECT 1 FROM returned r
    WHERE r.uin = p.uin AND r.method = p.method AND r.received_us = p.received_us AND NOT r.counted)
  AND NOT EXISTS (SELECT 1 FROM held_returns h WHERE h.uin = p.uin)
  AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.uin = p.uin AND e.kind = 'return' AND NOT e.acknowledged);

-- kind: DOUBLED
SELECT (SELECT min(w.reference) FROM votes w WHERE w.uin = d.uin), d.votes || ' votes stored for one voter'
  FROM (SELECT uin, count(*) AS votes FROM votes GROUP BY uin HAVING count(*) > 1) d;

-- kind: DOUBLED
SELECT reference, count(*) || ' votes stored under one reference' FROM votes
  GROUP BY reference HAVING count(*) > 1;

-- kind: DOUBLED
SELECT (SELECT min(w.reference) FROM votes w WHERE w.digest = d.digest), d.votes || ' votes stored by one credential'
  FROM (SELECT digest, count(*) AS votes FROM votes GROUP BY digest HAVING count(*) > 1) d;

-- kind: DOUBLED
SELECT (SELECT min(w.reference) FROM votes w WHERE w.shard = d.shard AND w.number = d.number),
  d.votes || ' votes stored with number ' || d.number || ' of shard ' || d.shard
  FROM (SELECT shard, number, count(*) AS votes FROM votes WHERE number IS NOT NULL GROUP BY shard, number HAVING count(*) > 1) d;

-- kind: DOUBLED
SELECT u.reference, 'has number ' || u.number || ' of shard ' || u.shard || ', as another vote has' FROM unstored_numbers u
  WHERE EXISTS (SELECT 1 FROM votes v WHERE v.shard = u.shard AND v.number = u.number)
  OR EXISTS (SELECT 1 FROM unstored_numbers w
    WHERE w.shard = u.shard AND w.number = u.number AND w.reference IS NOT u.reference);

-- kind: DOUBLED
SELECT v.reference, 'counted both electronically and by ' || r.method FROM returned r
  JOIN votes v ON r.uin = v.uin AND r.counted;

-- kind: DOUBLED
SELECT 'UIN ' || hex(uin), count(*) || ' returns counted for one voter' FROM returned WHERE counted
  GROUP BY uin HAVING count(*) > 1;

-- kind: DOUBLED
SELECT v.reference, 'both stored and quarantined' FROM votes v
  CROSS JOIN quarantine q ON q.shard = v.shard AND q.entry = v.entry;

-- kind: DOUBLED
SELECT 'shard ' || q.shard || ' entry ' || q.entry, 'a return both stored and quarantined' FROM returned r
  JOIN quarantine q ON q.shard = r.shard AND q.entry = r.entry;

-- kind: DOUBLED
SELECT min(e.reference), count(*) || ' votes in the queue for one voter' FROM entries e
  WHERE e.kind = 'vote' AND e.uin IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.reference = e.reference)
  GROUP BY e.uin HAVING count(*) > 1;

-- kind: DOUBLED
SELECT e.reference, 'in the queue again, as entry ' || e.entry FROM entries e
  JOIN held_votes q ON q.reference = e.reference AND e.kind = 'vote' AND (q.shard <> e.shard OR q.entry <> e.entry);

-- kind: DOUBLED
SELECT 'shard ' || shard || ' entry ' || entry, count(*) || ' rows of one entry in quarantine' FROM quarantine
  GROUP BY shard, entry HAVING count(*) > 1;

-- kind: DOUBLED
SELECT min(reference), count(*) || ' votes in quarantine under one reference' FROM held_votes WHERE reference IS NOT NULL
  GROUP BY reference HAVING count(*) > 1;

-- kind: DOUBLED
SELECT min(reference), count(*) || ' lines for one release' FROM releases GROUP BY shard, entry HAVING count(*) > 1;

-- kind: DOUBLED
SELECT 'UIN ' || hex(uin), count(*) || ' returns in the queue that count for one voter' FROM entries
  WHERE kind = 'return' AND won GROUP BY uin HAVING count(*) > 1;

-- kind: DOUBLED
SELECT 'credential ' || hex(digest), count(*) || ' lines of the register for one credential' FROM register
  GROUP BY kept, digest HAVING count(*) > 1;

-- kind: DOUBLED
SELECT 'UIN ' || hex(uin), count(*) || ' lines of the electorate for one voter' FROM electorate GROUP BY uin HAVING count(*) > 1;

-- kind: ALTERED
SELECT 'UIN ' || hex(uin), 'the gate''s mark of this voter is corrupt' FROM marks WHERE method = 'unknown';

-- kind: ALTERED
SELECT reference, 'corrupt: stands among the gate''s references and is none' FROM refs WHERE state = 'corrupt';

-- kind: ALTERED
SELECT r.reference, 'the gate tells its voter that it is stored; it is in quarantine' FROM held_votes q
  JOIN refs r ON r.reference = q.reference WHERE r.state = 's'
  AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = r.reference);

-- kind: ALTERED
SELECT r.reference, 'the gate tells its voter that it is held; it is stored' FROM refs r
  JOIN votes v ON v.reference = r.reference WHERE r.state = 'h';

-- kind: ALTERED
SELECT r.reference, 'the gate tells its voter a state that there is not: ' || r.state FROM refs r
  WHERE r.state NOT IN ('a', 's', 'h', 'corrupt');

-- kind: ALTERED
SELECT r.reference, 'the gate tells its voter that it waits; it is acknowledged in the queue' FROM refs r
  JOIN entries e ON e.reference = r.reference AND e.kind = 'vote' AND e.acknowledged WHERE r.state = 'a';

-- kind: ALTERED
SELECT r.reference, 'the gate tells its voter that it waits; it is stored and no longer in the queue' FROM refs r
  JOIN votes v ON v.reference = r.reference WHERE r.state = 'a' AND NOT v.again
  AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = v.shard AND e.entry = v.entry);

-- kind: ALTERED
SELECT reference, 'the stored sealed vote does not have the digest stored with it' FROM votes WHERE NOT intact;

-- kind: ALTERED
SELECT reference, 'the stored sealed vote is not the one the gate accepted' FROM crossed
  WHERE marked_identity <> stored_identity;

-- kind: ALTERED
SELECT reference, 'stored for another voter than the gate marked' FROM crossed WHERE marked_uin <> stored_uin;

-- kind: ALTERED
SELECT reference, 'stored with another acceptance time than the gate''s' FROM crossed WHERE marked_us <> stored_us;

-- kind: ALTERED
SELECT v.reference, 'stored otherwise than in the queue (voter, credential, time, number or entry)' FROM votes v
  JOIN entries e ON e.reference = v.reference AND e.kind = 'vote'
  WHERE e.uin <> v.uin OR e.digest <> v.digest OR e.accepted_us <> v.accepted_us OR e.entry <> v.entry
  OR e.number IS NOT v.number;

-- kind: ALTERED
SELECT v.reference, 'has no number; an earlier vote of shard ' || v.shard || ' has one' FROM numbered n
  JOIN votes v ON v.shard = n.shard AND v.number IS NULL AND v.place > n.first_place;

-- kind: ALTERED
SELECT v.reference, 'number and entry do not fit together: of its neighbours in shard ' || v.shard || ' they are in another order'
  FROM votes v WHERE v.rowid IN (
  SELECT id FROM disorder WHERE coalesce(before_place < later, 1) OR earlier >= place
  UNION SELECT before FROM disorder WHERE coalesce(earlier < place, 1) OR before_place >= later);

-- kind: ALTERED
SELECT v.reference, 'the entry that it was stored from has another reference, or is no vote' FROM votes v
  CROSS JOIN entries e ON v.shard = e.shard AND v.entry = e.entry WHERE e.reference IS NOT v.reference OR e.kind <> 'vote';

-- kind: ALTERED
SELECT CASE WHEN EXISTS (SELECT 1 FROM marks m WHERE m.reference = e.reference) THEN e.reference
    ELSE coalesce(q.reference, 'shard ' || q.shard || ' entry ' || q.entry) END,
  'quarantined otherwise than in the queue (voter, credential, time, number or reference)' FROM quarantine q
  JOIN entries e ON e.shard = q.shard AND e.entry = q.entry
  WHERE e.kind = 'vote' AND q.reason <> 'unreadable'
  AND (e.uin <> q.uin OR e.digest <> q.digest OR e.accepted_us <> q.accepted_us OR e.reference <> q.reference
    OR (e.number IS NOT q.number AND q.number IS NOT NULL));

-- kind: ALTERED
SELECT q.reference, 'quarantined for another voter, or with another time, than the gate''s mark' FROM held_votes q
  JOIN marks m ON m.reference = q.reference WHERE m.uin <> q.uin OR m.accepted_us <> q.accepted_us;

-- kind: ALTERED
SELECT s.reference, 'released for another voter, or under another reference, than was quarantined' FROM releases s
  JOIN quarantine q ON q.shard = s.shard AND q.entry = s.entry WHERE s.uin <> q.uin OR s.reference <> q.reference;

-- kind: ALTERED
SELECT e.reference, 'in the queue for another voter, or with another time, than the gate''s mark' FROM entries e
  JOIN marks m ON m.reference = e.reference WHERE e.kind = 'vote' AND (m.uin <> e.uin OR m.accepted_us <> e.accepted_us);

-- kind: ALTERED
SELECT 'shard ' || e.shard || ' entry ' || e.entry, 'a return stored otherwise than in the queue' FROM entries e
  JOIN returned r ON r.shard = e.shard AND r.entry = e.entry
  WHERE e.uin <> r.uin OR e.method <> r.method OR e.received_us <> r.received_us OR e.accepted_us <> r.recorded_us
  OR e.won <> r.counted OR e.kind <> 'return';

-- kind: ALTERED
SELECT 'shard ' || e.shard || ' entry ' || e.entry, 'a return in the queue with another time of receipt than the gate''s'
  FROM entries e JOIN marks m ON m.uin = e.uin AND m.method = e.method
  WHERE e.kind = 'return' AND e.won AND m.accepted_us <> e.received_us;

-- kind: ALTERED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'a counted return with another time of receipt than the gate''s'
  FROM returned r JOIN marks m ON m.uin = r.uin AND m.method = r.method
  WHERE r.counted AND m.accepted_us <> r.received_us;

-- kind: ALTERED
SELECT c.reference, 'the receipt (line ' || c.line || ') is for another sealed vote or time' FROM receipts c
  JOIN votes v ON v.reference = c.reference
  WHERE v.sealed_sha256 <> c.sealed_sha256 OR v.accepted_us <> c.accepted_us;

-- kind: ALTERED
SELECT c.reference, 'the receipt (line ' || c.line || ') is not what the gate accepted' FROM receipts c
  JOIN marks m ON m.reference = c.reference
  WHERE m.accepted_us <> c.accepted_us;

-- kind: UNEXPLAINED
SELECT v.reference, 'stored, but the gate has no such vote for any voter' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = v.reference);

-- kind: UNEXPLAINED
SELECT m.reference, 'marked as voted under a reference the gate does not know' FROM marks m
  WHERE m.reference IS NOT NULL AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.reference = m.reference);

-- kind: UNEXPLAINED
SELECT m.reference, 'more than one voter is marked as voted under this reference' FROM marks m
  WHERE m.reference IS NOT NULL GROUP BY m.reference HAVING count(*) > 1;

-- kind: UNEXPLAINED
SELECT v.reference, 'stored from an entry that is gone from the middle of the queue' FROM votes v
  JOIN spans s ON s.shard = v.shard AND s.first_place < v.place
  WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = v.shard AND e.entry = v.entry)
  AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.shard = v.shard AND g.first_place < v.place AND g.last_place >= v.place);

-- kind: UNEXPLAINED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'stored or held from an entry that is gone from the middle of the queue'
  FROM (SELECT shard, entry, place FROM returned UNION SELECT shard, entry, place FROM quarantine) r
  JOIN spans s ON s.shard = r.shard AND s.first_place < r.place
  WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = r.shard AND e.entry = r.entry)
  AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.shard = r.shard AND g.first_place < r.place AND g.last_place >= r.place);

-- kind: UNEXPLAINED
SELECT v.reference, 'stored from an entry that left the queue before it was acknowledged' FROM votes v
  JOIN acknowledged a ON a.shard = v.shard
  WHERE (v.place > a.place OR EXISTS (SELECT 1 FROM pending p WHERE p.shard = v.shard AND p.entry = v.entry))
  AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = v.shard AND e.entry = v.entry)
  AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.shard = v.shard AND g.first_place < v.place AND g.last_place >= v.place);

-- kind: UNEXPLAINED
SELECT 'shard ' || p.shard || ' entry ' || p.entry, 'left the queue before it was acknowledged' FROM pending p
  WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.shard = p.shard AND e.entry = p.entry)
  AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.shard = p.shard AND v.entry = p.entry);

-- kind: UNEXPLAINED
SELECT v.reference, 'stored from an entry later than any of the queue''s' FROM votes v
  LEFT JOIN states s ON s.shard = v.shard
  WHERE NOT v.again AND (s.shard IS NULL OR v.place > s.last_place);

-- kind: UNEXPLAINED
SELECT coalesce(v.reference, 'shard ' || d.shard || ' entry ' || d.entry), 'an entry deleted from the queue by hand'
  FROM deleted d LEFT JOIN votes v ON v.shard = d.shard AND v.entry = d.entry;

-- kind: UNEXPLAINED
SELECT e.reference, 'in the queue, but the voter is not marked and was not released' FROM entries e
  WHERE e.kind = 'vote' AND NOT e.late
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = e.reference)
  AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.reference = e.reference);

-- kind: UNEXPLAINED
SELECT 'shard ' || e.shard || ' entry ' || e.entry, 'a return in the queue of a voter whom the gate has not marked so'
  FROM entries e WHERE e.kind = 'return' AND e.won AND NOT e.late
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.uin = e.uin AND m.method = e.method);

-- kind: UNEXPLAINED
SELECT coalesce(q.reference, 'shard ' || q.shard || ' entry ' || q.entry), 'quarantined, but the voter is neither marked nor released'
  FROM held_votes q
  WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.reference = q.reference)
  AND NOT EXISTS (SELECT 1 FROM releases s WHERE s.shard = q.shard AND s.entry = q.entry);

-- kind: UNEXPLAINED
SELECT coalesce(s.reference, 'shard ' || s.shard || ' entry ' || s.entry), 'released, and was never in quarantine' FROM releases s
  WHERE NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = s.shard AND q.entry = s.entry);

-- kind: UNEXPLAINED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'a counted return of a voter whom the gate has not marked so' FROM returned r
  WHERE r.counted
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.uin = r.uin AND m.method = r.method);

-- kind: UNEXPLAINED
SELECT 'shard ' || r.shard || ' entry ' || r.entry, 'a second paper that the gate does not remember' FROM returned r
  WHERE NOT r.counted AND NOT r.again AND NOT EXISTS (SELECT 1 FROM papers p
    WHERE p.uin = r.uin AND p.method = r.method AND p.received_us = r.received_us);

-- kind: UNEXPLAINED
SELECT v.reference, 'has number ' || v.number || '; the gate of its shard has come to ' || s.number FROM votes v
  JOIN states s ON s.shard = v.shard WHERE NOT v.again AND (v.number > s.number OR v.number < 1);

-- kind: UNEXPLAINED
SELECT u.reference, 'has number ' || u.number || '; the gate of its shard has come to ' || s.number FROM unstored_numbers u
  JOIN states s ON s.shard = u.shard LEFT JOIN entries e ON e.reference = u.reference
  WHERE (u.number > s.number OR u.number < 1) AND e.late IS NOT 1;

-- kind: UNEXPLAINED
SELECT m.reference, 'an electronic vote; this ballot takes none' FROM marks m
  WHERE m.reference IS NOT NULL AND NOT :electronic;

-- kind: UNEXPLAINED
SELECT v.reference, 'counted; neither a receipt for it nor an attempt with it was handed in' FROM votes v
  WHERE :with_attempts
  AND NOT EXISTS (SELECT 1 FROM receipts c WHERE c.reference = v.reference)
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.sealed_sha256 = v.sealed_sha256);

-- kind: TURNOUT
SELECT 'turnout ' || coalesce(datetime(minute_us / 1000000, 'unixepoch'), minute_us) || ' ' || method,
  'counts ' || sum(told) || ' as stored; there are ' || sum(found)
  FROM (SELECT minute_us, method, votes AS told, 0 AS found FROM turnout WHERE side = 'stored'
  UNION ALL SELECT minute_us, method, 0, votes FROM turnout_stored)
  GROUP BY minute_us, method HAVING sum(told) <> sum(found);

-- kind: TURNOUT
SELECT 'turnout ' || coalesce(datetime(minute_us / 1000000, 'unixepoch'), minute_us) || ' ' || method,
  'counts ' || sum(told) || ' as accepted; there are ' || sum(found)
  FROM (SELECT minute_us, method, votes AS told, 0 AS found FROM turnout WHERE side = 'accepted'
  UNION ALL SELECT minute_us, method, 0, votes FROM turnout_accepted)
  GROUP BY minute_us, method HAVING sum(told) <> sum(found);

-- kind: WINDOW
SELECT DISTINCT reference, CASE WHEN accepted_us < :opens_us THEN 'accepted before opening' ELSE 'accepted after closing' END
  FROM (SELECT reference, accepted_us FROM votes WHERE accepted_us < :opens_us OR accepted_us >= :closes_us
  UNION ALL SELECT reference, accepted_us FROM marks
    WHERE reference IS NOT NULL AND (accepted_us < :opens_us OR accepted_us >= :closes_us)
  UNION ALL SELECT coalesce(reference, entry), accepted_us FROM held_votes
    WHERE accepted_us < :opens_us OR accepted_us >= :closes_us);

-- kind: ELECTORATE
SELECT v.reference, 'the voter is not in the electorate' FROM votes v WHERE v.uin IN (
  SELECT x.uin FROM votes x INDEXED BY votes_by_uin WHERE NOT EXISTS (SELECT 1 FROM electorate l WHERE l.uin = x.uin));

-- kind: ELECTORATE
SELECT coalesce(m.reference, 'UIN ' || hex(m.uin)), 'marked as voted; not in the electorate' FROM marks m WHERE m.uin IN (
  SELECT x.uin FROM marks x INDEXED BY marks_by_uin WHERE NOT EXISTS (SELECT 1 FROM electorate l WHERE l.uin = x.uin));

-- kind: ELECTORATE
SELECT 'UIN ' || hex(l.uin), 'in the electorate of an opened ballot, but never issued a code' FROM electorate l
  WHERE :all_have_codes AND NOT EXISTS (SELECT 1 FROM register g WHERE g.uin = l.uin);

-- kind: ELECTORATE
SELECT 'UIN ' || hex(g.uin), 'issued a code; not in the electorate' FROM register g INDEXED BY register_by_uin
  WHERE NOT EXISTS (SELECT 1 FROM electorate l WHERE l.uin = g.uin);

-- kind: REGISTER
SELECT v.reference, 'the credential was never issued' FROM unregistered x JOIN votes v ON v.rowid = x.id
  WHERE NOT v.again AND NOT EXISTS (SELECT 1 FROM register g WHERE g.kept = substr(v.digest, 1, 16) AND g.digest = v.digest);

-- kind: REGISTER
SELECT v.reference, 'the credential was issued to another voter, or for another shard' FROM unregistered x
  JOIN votes v ON v.rowid = x.id
  WHERE EXISTS (SELECT 1 FROM register g WHERE g.kept = substr(v.digest, 1, 16) AND g.digest = v.digest)
  AND NOT EXISTS (SELECT 1 FROM register g
    WHERE g.kept = substr(v.digest, 1, 16) AND g.digest = v.digest AND g.uin = v.uin AND g.shard = v.shard);

-- kind: REGISTER
SELECT v.reference, 'its code was issued by another channel than ' || v.channel FROM unregistered x
  JOIN votes v ON v.rowid = x.id
  WHERE EXISTS (SELECT 1 FROM register g
    WHERE g.kept = substr(v.digest, 1, 16) AND g.digest = v.digest AND g.uin = v.uin AND g.shard = v.shard);

-- kind: REGISTER
SELECT v.reference, 'the credential was revoked before the vote' FROM revocations k
  JOIN votes v ON k.digest = v.digest WHERE k.revoked_us <= v.accepted_us;

-- kind: REGISTER
SELECT 'credential ' || hex(k.digest), 'revoked, but never issued' FROM revocations k
  WHERE NOT EXISTS (SELECT 1 FROM register g WHERE g.kept = substr(k.digest, 1, 16) AND g.digest = k.digest);

-- kind: REGISTER
SELECT e.reference, 'waits in the queue with a credential that was not issued to this voter' FROM entries e
  WHERE e.kind = 'vote' AND e.early AND NOT EXISTS (SELECT 1 FROM register g
    WHERE g.kept = substr(e.digest, 1, 16) AND g.digest = e.digest AND g.uin = e.uin)
  AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
  AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry);

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'at the gate, but never issued' FROM foreign_credentials x
  JOIN credentials c ON c.rowid = x.id WHERE NOT EXISTS (SELECT 1 FROM register g WHERE g.kept = c.kept);

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'another voter''s at the gate than in the register' FROM foreign_credentials x
  JOIN credentials c ON c.rowid = x.id WHERE EXISTS (SELECT 1 FROM register g WHERE g.kept = c.kept);

-- kind: REGISTER
SELECT 'credential ' || hex(g.digest), 'issued, but not at the gate' FROM register g INDEXED BY register_by_kept
  WHERE NOT EXISTS (SELECT 1 FROM credentials c WHERE c.kept = g.kept);

-- kind: REGISTER
SELECT 'credential ' || hex(c.kept), 'revoked in the register, current at the gate' FROM revocations k
  JOIN credentials c ON c.kept = substr(k.digest, 1, 16) WHERE c.flag <> 'r';

-- note: copied
SELECT (SELECT min(w.reference) FROM votes w WHERE w.sealed_sha256 = d.sealed_sha256),
  d.votes || ' votes with the same sealed bytes; copies do not open and are set aside'
  FROM (SELECT sealed_sha256, count(*) AS votes FROM votes GROUP BY sealed_sha256 HAVING count(*) > 1) d;

-- note: revoking
SELECT 'credential ' || hex(c.kept), 'revoked at the gate and not in the register: a reissue was interrupted'
  FROM credentials c WHERE c.flag = 'r'
  AND NOT EXISTS (SELECT 1 FROM revocations k WHERE substr(k.digest, 1, 16) = c.kept);

-- note: releasing
SELECT s.reference, 'released on record, and the gate still has the mark: a reissue was interrupted' FROM releases s
  WHERE EXISTS (SELECT 1 FROM marks m WHERE m.reference = s.reference);

-- note: given up
SELECT reference, 'an edge gave it out; the recovery of the queue could not find its vote' FROM given_up
  WHERE NOT EXISTS (SELECT 1 FROM held h WHERE h.reference = given_up.reference);

-- note: numbers given up
SELECT 'shard ' || g.shard || ' number ' || g.first || CASE WHEN g.last > g.first THEN ' to ' || g.last ELSE '' END,
  'an acceptance that the recovery of the queue put on record as lost' FROM numbers_given_up g;

-- note: numbers jumped over
SELECT 'shard ' || s.shard || ' number ' || s.first || CASE WHEN s.last > s.first THEN ' to ' || s.last ELSE '' END,
  'never given, or lost with the queue: its recovery went on behind them, so that none comes twice' FROM skipped s;

-- note: without number
SELECT 'shard ' || shard, votes || ' votes have no number: taken in, or stored, by an earlier version' FROM unnumbered
  WHERE votes > 0;

-- note: receipts of held votes
SELECT c.reference, 'in quarantine: ' || q.reason
  || CASE WHEN EXISTS (SELECT 1 FROM releases s WHERE s.shard = q.shard AND s.entry = q.entry)
    THEN '; its voter was released' ELSE '' END
  FROM receipts c JOIN quarantine q ON q.reference = c.reference;

-- note: receipts handed in twice
SELECT reference, 'lines ' || group_concat(line, ', ') FROM receipts GROUP BY reference HAVING count(*) > 1;

-- note: unconfirmed attempts
SELECT v.reference, 'counted; no receipt was handed in for it' FROM votes v
  WHERE NOT EXISTS (SELECT 1 FROM receipts c WHERE c.reference = v.reference);
