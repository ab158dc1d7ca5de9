-- The attempts on record of one ballot ($1), from $2 to $3 by their last moment: counts only, no credential and no voter leaves.

-- query: outcomes
SELECT CASE WHEN grouping(hour) = 1 THEN NULL ELSE hour END AS hour, kind, outcome, sum(count)::bigint AS attempts,
 count(DISTINCT credential_digest) AS codes
 FROM (SELECT at_us / 3600000000 AS hour, kind, outcome, count, credential_digest FROM ballot.attempts
  WHERE ballot = $1 AND at_us >= $2 AND at_us < $3) AS listed
 GROUP BY GROUPING SETS ((kind, outcome), (hour, kind, outcome)) ORDER BY 1 NULLS FIRST, 2, 3

-- query: totals
SELECT coalesce(sum(count), 0)::bigint AS attempts, count(DISTINCT credential_digest) AS codes FROM ballot.attempts
 WHERE ballot = $1 AND at_us >= $2 AND at_us < $3

-- query: never
WITH tried AS (
 SELECT r.uin, count(DISTINCT a.credential_digest) AS codes, sum(a.count)::bigint AS attempts, max(a.at_us) AS last_us,
  bool_or(a.outcome = 'ready') AS ready, bool_or(a.outcome = 'revoked') AS revoked, bool_and(a.outcome = 'not_open') AS only_outside
  FROM ballot.attempts a JOIN ballot.register r ON r.ballot = a.ballot AND r.credential_digest = a.credential_digest
  WHERE a.ballot = $1 AND a.at_us >= $2 AND a.at_us < $3 GROUP BY r.uin
), never AS (
 SELECT t.*, CASE
   WHEN EXISTS (SELECT 1 FROM ballot.quarantine q WHERE q.ballot = $1 AND q.uin = t.uin) THEN 'put_aside'
   WHEN t.ready THEN 'ready'
   WHEN t.only_outside AND t.last_us < $4 THEN 'before'
   WHEN t.only_outside THEN 'after'
   WHEN t.revoked THEN 'revoked'
   ELSE 'other' END AS why,
  EXISTS (SELECT 1 FROM unnest($5::bigint[], $6::bigint[]) AS outage (from_us, to_us)
   WHERE t.last_us >= outage.from_us AND t.last_us <= outage.to_us) AS near_outage
  FROM tried t
  WHERE NOT EXISTS (SELECT 1 FROM ballot.votes v WHERE v.ballot = $1 AND v.uin = t.uin)
   AND NOT EXISTS (SELECT 1 FROM ballot.returns b WHERE b.ballot = $1 AND b.uin = t.uin AND b.counted)
)
SELECT last_us / 3600000000 AS hour, why, count(*) AS voters, sum(codes)::bigint AS codes, sum(attempts)::bigint AS attempts,
 count(*) FILTER (WHERE near_outage) AS near_outage
 FROM never GROUP BY 1, 2 ORDER BY 1, 2
