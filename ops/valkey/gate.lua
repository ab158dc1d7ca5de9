#!lua name=ballot
-- The gate: the only place that decides whether a vote is taken, in one atomic step on the queue's own clock.
--
-- One ballot has S shards; each has nine keys that share a hash tag, always given in this order. What is packed is spelt
-- out, and read by everybody else, in ballot/gate_layout.py:
--   1 gate         hash  opens_us closes_us state last_us, the counters, and `number`, the last acceptance's (no personal data);
--                         `recovering` while `ballot recover` puts this shard back together: it takes no vote and no return then
--   2 credentials  hash  keyed digest (first 16 bytes) -> UIN (16) .. 'c' current | 'r' revoked .. channel (1)
--   3 voted        hash  UIN -> 'e' .. identity (16) .. accepted_us (7 bytes) .. reference (10 bytes)
--                            or 'p' | 'w' .. received_us (7 bytes)
--   4 references   hash  reference (10 bytes) -> 'a' accepted | 's' stored | 'h' held
--   5 votes        stream, never trimmed here
--   6 attempts     stream with a budget: tries with an issued credential that were not accepted votes; never trimmed here
--   7 unknown      hash  minute -> tries with a credential nobody was issued; 'tried' -> those with an issued one
--   8 unknown_tries stream with a budget: the latest of those tries
--   9 counted      hash  what is over a budget, by credential, outcome and minute -> number, first and last time, last
--                  address; moves to the attempts as one entry when its minute is over, or when the ballot is closed
-- All nine are given with every call, also where one is not used: while a slot moves key by key, a call that has only some
-- of its keys here must be refused before it writes anything.
--
-- Rules kept throughout:
--   * A clock step never reopens a ballot: now is the larger of the clock and the last time seen, and the
--     state only ever moves scheduled -> open -> closed.
--   * Arguments are checked whole before anything is written, and all checks of a vote come before its first write,
--     because a function that fails half-way is not undone.
--   * Every loop is bounded by the number of rows, and that is bounded here.
--   * A refusal takes the same steps whatever its reason, so that its time does not tell whether a credential was issued.
--   * A caller outside the library (an edge that was broken into) could write these keys directly; the issue register
--     and the signatures, which workers check, are the second wall.

-- The number of what is packed here; another one whenever any of it changes. A ballot keeps the number it was set up with, and
-- code of another number neither replaces this one while it is open (runtime/preparation.py) nor reads or writes it.
local LAYOUT = '1'

local VOTES_MAX = 1024        -- an edge sends at most 256; the margin is for replays by hand
local ROWS_MAX = 10000        -- codes, UINs and returns the desk may send at once: about 10 ms of the queue's time
local UNKNOWN_MINUTES_MAX = 1500  -- a day and an hour
local WRAPPED_BYTES_MAX = 131072  -- twice the largest request body
local SEALED_IP_BYTES_MAX = 128
local DIGEST_KEPT = 16        -- 128 bits of a keyed digest: nobody can look for two that agree

-- Budgets of one shard, in bytes; ballot/gate_layout.py repeats them for the desk, which asks for the memory.
local ENTRY_BYTES = 256       -- no entry of the two streams of tries takes more
local ATTEMPTS_MAX = 16777216 / ENTRY_BYTES
local UNKNOWN_TRIES_MAX = 4194304 / ENTRY_BYTES
local COUNTED_BYTES = 512     -- no field of the hash of counts takes more
local COUNT_HEAD = 18         -- bytes of a count before the address: number (4), first and last time (7 each)
local COUNTED_MAX = 4194304 / COUNTED_BYTES
local MOVED_MAX = 500         -- counts moved to the stream by one call: about 3 ms
local LISTED_TRIES = 1000     -- tries of one credential that get an entry each; further ones are counted by the minute
local REMEMBERED = 50000      -- credentials, twice, whose tries are remembered: about 10 MB of the queue

local function whole(number)
  return string.format('%.0f', number)
end

local function digits16(number)
  return string.format('%016.0f', number)
end

local function clock_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function fault(text)
  return redis.error_reply('ARGUMENT ' .. text)
end

-- A time or a number as decimal text, or nil: Lua's tonumber would also take hexadecimal, exponents and blanks.
local function decimal(text)
  if text and #text <= 16 and string.match(text, '^%d+$') then
    return tonumber(text)
  end
  return nil
end

-- References: 16 symbols in groups of four with hyphens, as voters see them; kept as the 10 bytes they stand for.
local SYMBOLS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
local HYPHEN = 45
local value_of, pair_of

-- Made at the first call: while functions are loaded there is no string library.
local function symbols()
  value_of, pair_of = {}, {}
  for high = 0, 31 do
    value_of[string.byte(SYMBOLS, high + 1)] = high
    for low = 0, 31 do
      pair_of[high * 32 + low] = string.sub(SYMBOLS, high + 1, high + 1) .. string.sub(SYMBOLS, low + 1, low + 1)
    end
  end
  return value_of
end

-- The 10 bytes of a reference, or nil when it is none.
local function packed_reference(text)
  if #text ~= 19 then
    return nil
  end
  local a, b, c, d, h1, e, f, g, h, h2, i, j, k, l, h3, m, n, o, p = string.byte(text, 1, 19)
  local V = value_of or symbols()
  a, b, c, d, e, f, g, h = V[a], V[b], V[c], V[d], V[e], V[f], V[g], V[h]
  i, j, k, l, m, n, o, p = V[i], V[j], V[k], V[l], V[m], V[n], V[o], V[p]
  if h1 ~= HYPHEN or h2 ~= HYPHEN or h3 ~= HYPHEN or not (a and b and c and d and e and f and g and h)
    or not (i and j and k and l and m and n and o and p) then
    return nil
  end
  return struct.pack('>I5I5', ((((((a * 32 + b) * 32 + c) * 32 + d) * 32 + e) * 32 + f) * 32 + g) * 32 + h,
    ((((((i * 32 + j) * 32 + k) * 32 + l) * 32 + m) * 32 + n) * 32 + o) * 32 + p)
end

local function written_reference(bytes, from)
  if not pair_of then
    symbols()
  end
  local high, low = struct.unpack('>I5I5', bytes, from)
  local parts = {}
  for index, number in ipairs({ high, low }) do
    local first, second = math.floor(number / 1048576), number % 1048576
    parts[index] = pair_of[math.floor(first / 1024)] .. pair_of[first % 1024] .. '-'
      .. pair_of[math.floor(second / 1024)] .. pair_of[second % 1024]
  end
  return parts[1] .. '-' .. parts[2]
end

-- The values of many fields in as few commands as Lua's stack allows: a command costs as much as twenty fields of one.
local FIELDS_MAX = 2000
local function values_of(key, fields)
  if #fields <= FIELDS_MAX then
    return redis.call('HMGET', key, unpack(fields))
  end
  local values = {}
  for first = 1, #fields, FIELDS_MAX do
    local part = redis.call('HMGET', key, unpack(fields, first, math.min(first + FIELDS_MAX - 1, #fields)))
    for i = 1, #part do
      values[first + i - 1] = part[i]
    end
  end
  return values
end

-- Sets pairs of field and value.
local function set_all(key, pairs_of)
  for first = 1, #pairs_of, FIELDS_MAX do
    redis.call('HSET', key, unpack(pairs_of, first, math.min(first + FIELDS_MAX - 1, #pairs_of)))
  end
end

-- The fault in the shape of a call, or nil: nine keys, a whole number of rows, not too many of them.
local function shape_fault(keys, args, width, rows_max)
  if #keys ~= 9 then
    return fault('nine keys are needed: gate, credentials, voted, references, votes, attempts, unknown, unknown_tries, counted')
  end
  if #args == 0 or #args % width ~= 0 then
    return fault('a whole number of rows of ' .. width .. ' is needed')
  end
  if #args / width > rows_max then
    return fault('at most ' .. rows_max .. ' rows a call')
  end
  return nil
end

-- The window as of now, or nil when this ballot was never armed; least_step_us forces time forward past the last time seen.
local function window(gate_key, least_step_us)
  local fields = redis.call('HMGET', gate_key, 'opens_us', 'closes_us', 'state', 'last_us', 'accepted', 'voted_e', 'repeated',
    'counting', 'number')
  if not fields[1] then
    return nil
  end
  local seen = {
    opens_us = tonumber(fields[1]),
    closes_us = tonumber(fields[2]),
    state = fields[3],
    now_us = math.max(clock_us(), tonumber(fields[4]) + (least_step_us or 0)),
    accepted = tonumber(fields[5]),
    voted_e = tonumber(fields[6]),
    repeated = tonumber(fields[7]),
    counting = tonumber(fields[8] or '0') or 0,
    number = math.max(decimal(fields[9]) or 0, tonumber(fields[5])),
  }
  seen.now = whole(seen.now_us)
  seen.minute = math.floor(seen.now_us / 60000000)
  if seen.state ~= 'closed' then
    if seen.now_us >= seen.closes_us then
      seen.state = 'closed'
    elseif seen.now_us >= seen.opens_us then
      seen.state = 'open'
    end
  end
  return seen
end

local function latch(gate_key, seen)
  redis.call('HSET', gate_key, 'last_us', seen.now, 'state', seen.state)
end

-- How often a credential was tried since this server started: by the gate's memory alone, because it decides only how a try
-- is logged. Whoever has not tried for as long as 50,000 others did starts anew.
local recent, earlier, remembered = {}, {}, 0
local function tries_of(digest)
  local count = recent[digest]
  if not count then
    count = earlier[digest] or 0
    remembered = remembered + 1
    if remembered > REMEMBERED then
      recent, earlier, remembered = {}, recent, 1
    end
  end
  recent[digest] = count + 1
  return count + 1
end

-- Counts a try that is over a budget: number, first and last time, and the last one's address. With a credential nobody was
-- issued the same is done to one field, so that it takes as long.
local function count_try(keys, seen, issued, kind, outcome, digest, sealed_ip)
  local key = issued and keys[9] or keys[7]
  local field = issued and table.concat({ whole(seen.minute), kind, outcome, digest }, ':') or 'over'
  local before = redis.call('HGET', key, field)
  local number, first_us = 0, seen.now_us
  if before and #before >= COUNT_HEAD then
    number, first_us = struct.unpack('>I4I7', before)
  elseif redis.call('HLEN', key) >= COUNTED_MAX then
    seen.unlisted = (seen.unlisted or 0) + 1  -- of these only the number is known
    return
  elseif issued and seen.counting == 0 then
    seen.counting = seen.minute
    redis.call('HSET', keys[1], 'counting', whole(seen.minute))
  end
  redis.call('HSET', key, field, struct.pack('>I4I7I7', number + 1, first_us, seen.now_us) .. sealed_ip)
end

-- Logs a try: with an entry of its own within the budgets, else with a count. The same for both kinds of credential.
local function attempt(keys, seen, issued, kind, outcome, digest, sealed_ip)
  if seen.full == nil then
    seen.full = redis.call('XLEN', keys[6]) >= ATTEMPTS_MAX
    seen.tried, seen.unknown = 0, 0
  end
  if issued then
    seen.tried = seen.tried + 1
  else
    seen.unknown = seen.unknown + 1
  end
  if seen.full or tries_of(digest) > LISTED_TRIES then
    count_try(keys, seen, issued, kind, outcome, digest, sealed_ip)
    return
  end
  -- The first limit is never reached: a full log of attempts is not trimmed.
  redis.call('XADD', issued and keys[6] or keys[8], 'MAXLEN', '~', issued and 2 * ATTEMPTS_MAX or UNKNOWN_TRIES_MAX, '*',
    'k', kind, 'o', outcome, 'd', digest, 'ip', sealed_ip, 't', seen.now)
end

-- The count that a field of that hash and its value stand for, or nil when none of ours wrote them.
local KINDS = { vote = true, access = true }
local function count_of(field, value)
  local minute, kind, outcome, digest = string.match(field, '^(%d+):(%l+):([%l_]+):(.*)$')
  if not minute or not KINDS[kind] or #digest ~= 32 or #value < COUNT_HEAD or #value > COUNT_HEAD + SEALED_IP_BYTES_MAX then
    return nil
  end
  local number, first_us, last_us = struct.unpack('>I4I7I7', value)
  return tonumber(minute), { 'k', kind, 'o', outcome, 'd', digest, 'ip', string.sub(value, COUNT_HEAD + 1),
    't', whole(last_us), 'n', whole(number), 'f', whole(first_us) }
end

-- Moves counts whose minute is over to the log, or all of them; those beyond a bounded number are moved by a later call.
-- A field that is no count is taken out, and only that there was one is kept.
local function move_some(keys, seen, all)
  if redis.call('XLEN', keys[6]) >= ATTEMPTS_MAX then
    return
  end
  local found = redis.call('HSCAN', keys[9], '0', 'COUNT', MOVED_MAX)
  local fields = found[2]
  for i = 1, #fields, 2 do
    local minute, entry = count_of(fields[i], fields[i + 1])
    if not minute then
      redis.call('HINCRBY', keys[7], 'unlisted', 1)
    elseif all or minute < seen.minute then
      redis.call('XADD', keys[6], '*', unpack(entry))
    end
    if not minute or all or minute < seen.minute then
      redis.call('HDEL', keys[9], fields[i])
    end
  end
  if found[1] == '0' then
    seen.counting = redis.call('EXISTS', keys[9]) == 1 and seen.minute or 0  -- what stays is of this minute
    redis.call('HSET', keys[1], 'counting', whole(seen.counting))
  end
end

-- The same, at the end of a call and whatever it finds: what the call has decided and written must be answered, and what
-- could not be moved stays where it is.
local function move_counts(keys, seen, all)
  if all or (seen.counting > 0 and seen.counting < seen.minute) then
    pcall(move_some, keys, seen, all)
  end
end

-- The numbers of a call's tries: with issued credentials in all, with unknown ones by the minute, for a day. In one hash, so
-- that both take as long.
local function count_tries(keys, seen)
  if seen.full == nil then
    return
  end
  if seen.unlisted then
    redis.call('HINCRBY', keys[7], 'unlisted', seen.unlisted)
  end
  if seen.tried > 0 then
    redis.call('HINCRBY', keys[7], 'tried', seen.tried)
  end
  if seen.unknown > 0 then
    local total = redis.call('HINCRBY', keys[7], whole(seen.minute), seen.unknown)
    if total == seen.unknown and redis.call('HLEN', keys[7]) > UNKNOWN_MINUTES_MAX then
      local minutes = {}
      for _, field in ipairs(redis.call('HKEYS', keys[7])) do
        minutes[#minutes + 1] = tonumber(field)
      end
      table.sort(minutes)
      for i = 1, #minutes - UNKNOWN_MINUTES_MAX do
        redis.call('HDEL', keys[7], whole(minutes[i]))
      end
    end
  end
end

-- The answer of both voter-facing functions: the window first, then one row an item.
local function answers(seen)
  if not seen then
    return { '0', '0', '' }
  end
  return { whole(seen.opens_us), whole(seen.closes_us), seen.state }
end

local NOT_FOUND = { 'not_found', '', '', '' }
local NOT_OPEN = { 'not_open', '', '', '' }
local NOT_ACCEPTED = { 'not_accepted', '', '', '' }
local READY = { 'ready', '', '', '' }

-- What the gate has on each credential in args (every `width`-th argument), and on the UIN it was issued to. One nobody was
-- issued is looked up just as far.
local function looked_up(keys, args, width)
  local kept, uins, rows = {}, {}, 0
  for i = 1, #args, width do
    rows = rows + 1
    kept[rows] = string.sub(args[i], 1, DIGEST_KEPT)
  end
  local credentials = values_of(keys[2], kept)
  for row = 1, rows do
    uins[row] = string.sub(credentials[row] or kept[row], 1, 16)
  end
  return credentials, uins, values_of(keys[3], uins)
end

-- The references of those rows that may be about to be accepted, and which of them are in use.
local function used_references(keys, seen, references, credentials, marks)
  local asked = {}
  if seen.state == 'open' then
    for row = 1, #references do
      local credential = credentials[row]
      if credential and not marks[row] and string.sub(credential, 17, 17) == 'c' then
        asked[#asked + 1] = references[row]
      end
    end
  end
  local used = {}
  if #asked > 0 then
    local states = values_of(keys[4], asked)
    for i = 1, #asked do
      used[asked[i]] = states[i]
    end
  end
  return used
end

-- Why a credential may not vote now, as two words: what the voter is told, and what the attempt log keeps. Nil when it may.
-- The window comes before the credential, so that a closed ballot tells nothing about credentials.
local function refusal(seen, credential, mark)
  if seen.state ~= 'open' then
    return NOT_OPEN, 'not_open'
  end
  if not credential then
    return NOT_ACCEPTED, 'unknown'
  end
  if string.sub(credential, 17, 17) ~= 'c' then
    return NOT_ACCEPTED, 'revoked'
  end
  if mark then
    return NOT_ACCEPTED, string.sub(mark, 1, 1) == 'e' and 'used' or 'already_voted'
  end
  return nil
end

-- Casts up to 1024 votes; the order for each is: the same vote again, the window, the credential, the voter, and then it is in.
-- Rows: digest, identity, reference, wrapped record, sealed SHA-256, sealed IP address.
-- Answer: opens_us, closes_us, state, then a row each: outcome, reference, accepted_us, sealed SHA-256, where the outcome
-- is accepted, repeated, not_accepted, not_open, not_found, or taken (the reference is in use: draw another, nothing was done).
-- An accepted one has a fifth, the number of its acceptance in this shard: 1, 2, 3 and so on, none given twice and none left
-- out. It is what the books count by when the queue was lost: every number up to the last must then have a vote. `number` is
-- apart from `accepted` because recovery sets one beyond all that can have been given, the other to what the books need; it
-- is never below `accepted`, also after votes that a gate of the version before took in without a number.
local function cast(keys, args)
  local wrong = shape_fault(keys, args, 6, VOTES_MAX)
  if wrong then
    return wrong
  end
  local references = {}
  for i = 1, #args, 6 do
    local reference = packed_reference(args[i + 2])
    references[#references + 1] = reference
    if #args[i] ~= 32 or #args[i + 1] ~= 16 or not reference or #args[i + 4] ~= 32
      or #args[i + 3] == 0 or #args[i + 3] > WRAPPED_BYTES_MAX or #args[i + 5] > SEALED_IP_BYTES_MAX then
      return fault('a vote is digest (32), identity (16), reference (19), record, sealed SHA-256 (32), sealed IP')
    end
  end
  local seen = window(keys[1])
  local reply = answers(seen)
  if not seen then
    for _ = 1, #args, 6 do
      reply[#reply + 1] = NOT_FOUND
    end
    return reply
  end
  local credentials, uins, marks = looked_up(keys, args, 6)
  local used = used_references(keys, seen, references, credentials, marks)
  local accepted_us = struct.pack('>I7', seen.now_us)
  local taken_in, new_marks, new_references, repeated = {}, {}, {}, 0
  local marked = {}
  for row = 1, #references do
    local i = row * 6 - 5
    local digest, credential, uin, told = args[i], credentials[row], uins[row], nil
    local mark = marks[row] or marked[uin]
    local same = string.sub(mark or digest, 1, 17) == 'e' .. args[i + 1]
    if same and mark and credential then
      -- The same vote again, whatever the time is and even if its code was replaced since: the same answer. What is
      -- written is also what makes a retry wait for the disk, and so for the original vote.
      attempt(keys, seen, true, 'vote', 'repeated', digest, args[i + 5])
      repeated = repeated + 1
      told = { 'repeated', written_reference(mark, 25), whole(struct.unpack('>I7', mark, 18)), args[i + 4] }
    else
      local refused, inner = refusal(seen, credential, mark)
      if refused then
        told = refused
        attempt(keys, seen, credential, 'vote', inner, digest, args[i + 5])
      elseif used[references[row]] then
        told = { 'taken', '', '', '' }
      else
        used[references[row]] = 'a'
        marked[uin] = 'e' .. args[i + 1] .. accepted_us .. references[row]
        new_marks[#new_marks + 1], new_marks[#new_marks + 2] = uin, marked[uin]
        new_references[#new_references + 1], new_references[#new_references + 2] = references[row], 'a'
        taken_in[#taken_in + 1] = row
        told = { 'accepted', args[i + 2], seen.now, args[i + 4], seen.number + #taken_in }
      end
    end
    reply[#reply + 1] = told
  end
  set_all(keys[4], new_references)
  set_all(keys[3], new_marks)
  for place, row in ipairs(taken_in) do
    local i = row * 6 - 5
    redis.call('XADD', keys[5], '*', 'k', 'v', 'r', args[i + 3], 'd', args[i], 'ref', args[i + 2],
      't', seen.now, 'u', uins[row], 'c', string.sub(credentials[row], 18, 18), 'n', whole(seen.number + place))
  end
  if #taken_in > 0 or repeated > 0 then
    redis.call('HSET', keys[1], 'last_us', seen.now, 'state', seen.state, 'accepted', whole(seen.accepted + #taken_in),
      'voted_e', whole(seen.voted_e + #taken_in), 'repeated', whole(seen.repeated + repeated),
      'number', whole(seen.number + #taken_in))
  else
    latch(keys[1], seen)
  end
  count_tries(keys, seen)
  move_counts(keys, seen)
  return reply
end

-- Says for up to 1024 credentials whether a vote would be taken now, uses nothing up, and logs each try of an issued one.
-- Rows: digest, sealed IP address. Answer as for cast, with the outcomes ready, not_accepted, not_open, not_found.
local function access(keys, args)
  local wrong = shape_fault(keys, args, 2, VOTES_MAX)
  if wrong then
    return wrong
  end
  for i = 1, #args, 2 do
    if #args[i] ~= 32 or #args[i + 1] > SEALED_IP_BYTES_MAX then
      return fault('a request is digest (32), sealed IP')
    end
  end
  local seen = window(keys[1])
  local reply = answers(seen)
  if not seen then
    for _ = 1, #args, 2 do
      reply[#reply + 1] = NOT_FOUND
    end
    return reply
  end
  local credentials, _, marks = looked_up(keys, args, 2)
  for row = 1, #args / 2 do
    local digest, sealed_ip = args[row * 2 - 1], args[row * 2]
    local refused, inner = refusal(seen, credentials[row], marks[row])
    attempt(keys, seen, credentials[row], 'access', inner or 'ready', digest, sealed_ip)
    reply[#reply + 1] = refused or READY
  end
  latch(keys[1], seen)
  count_tries(keys, seen)
  move_counts(keys, seen)
  return reply
end

-- What a shard has from its first call on. `revoked` counts codes that were revoked, one revoked twice twice: the record has no
-- more, so a copy of this shard that is from before a revocation is seen. One set up by a version that did not count has none.
local function set_up(gate_key)
  if redis.call('HSETNX', gate_key, 'layout', LAYOUT) == 1 then
    redis.call('HSETNX', gate_key, 'revoked', '0')
  end
end

-- Arms this shard with its opening and closing time; the same again is harmless (0), other times are refused.
local function arm(keys, args)
  local wrong = shape_fault(keys, args, 2, 1)
  if wrong then
    return wrong
  end
  local opens_us, closes_us = decimal(args[1]), decimal(args[2])
  if not opens_us or not closes_us or opens_us >= closes_us then
    return fault('opens_us and closes_us are needed, the first before the second')
  end
  local armed = redis.call('HMGET', keys[1], 'opens_us', 'closes_us')
  if armed[1] then
    if tonumber(armed[1]) == opens_us and tonumber(armed[2]) == closes_us then
      return 0
    end
    return redis.error_reply('ARMED with other times: ' .. armed[1] .. ' ' .. armed[2])
  end
  set_up(keys[1])
  redis.call('HSET', keys[1], 'opens_us', whole(opens_us), 'closes_us', whole(closes_us), 'state', 'scheduled',
    'last_us', '0', 'accepted', '0', 'repeated', '0', 'released', '0', 'voted_e', '0', 'voted_p', '0', 'voted_w', '0', 'counting', '0')
  return 1
end

-- Adds issued credentials and answers how many are new; a digest that belongs to another voter refuses the whole call.
-- Rows: digest, UIN, channel (one byte). An existing one is left as it is, so a resumed issue never revives a revoked code.
local function issue(keys, args)
  local wrong = shape_fault(keys, args, 3, ROWS_MAX)
  if wrong then
    return wrong
  end
  local kept = {}
  for i = 1, #args, 3 do
    if #args[i] ~= 32 or #args[i + 1] ~= 16 or #args[i + 2] ~= 1 then
      return fault('a code is digest (32), UIN (16), channel (1)')
    end
    kept[#kept + 1] = string.sub(args[i], 1, DIGEST_KEPT)
  end
  local existing = values_of(keys[2], kept)
  local holder, added = {}, {}
  for row = 1, #kept do
    local digest, uin = kept[row], args[row * 3 - 1]
    local held_by = existing[row] and string.sub(existing[row], 1, 16) or holder[digest]
    if held_by and held_by ~= uin then
      return redis.error_reply('CONFLICT row ' .. row .. ': this credential was issued to another voter')
    end
    if not held_by then
      holder[digest] = uin
      added[#added + 1], added[#added + 2] = digest, uin .. 'c' .. args[row * 3]
    end
  end
  set_up(keys[1])
  set_all(keys[2], added)
  return #added / 2
end

-- Revokes credentials at once and answers when, then 1 or 0 each for whether it was ever issued.
-- That time is later than every acceptance before it and no vote of these codes is accepted after it, so that
-- "accepted_us < revoked_us" is exact even while the server's clock stands still or runs backwards.
local function revoke(keys, args)
  local wrong = shape_fault(keys, args, 1, ROWS_MAX)
  if wrong then
    return wrong
  end
  for i = 1, #args do
    if #args[i] ~= 32 then
      return fault('a digest has 32 bytes')
    end
  end
  local seen = window(keys[1], 1)
  local reply = { whole(seen and seen.now_us or clock_us()) }
  local issued = 0
  for i = 1, #args do
    local kept = string.sub(args[i], 1, DIGEST_KEPT)
    local existing = redis.call('HGET', keys[2], kept)
    if existing then
      redis.call('HSET', keys[2], kept, string.sub(existing, 1, 16) .. 'r' .. string.sub(existing, 18, 18))
    end
    issued = issued + (existing and 1 or 0)
    reply[#reply + 1] = existing and 1 or 0
  end
  if issued > 0 and redis.call('HEXISTS', keys[1], 'revoked') == 1 then
    redis.call('HINCRBY', keys[1], 'revoked', issued)
  end
  if seen then
    latch(keys[1], seen)
  end
  return reply
end

-- Answers what each UIN's mark is, '' when it has not voted; reads only.
local function voted(keys, args)
  local wrong = shape_fault(keys, args, 1, ROWS_MAX)
  if wrong then
    return wrong
  end
  local reply = {}
  for i = 1, #args do
    reply[i] = redis.call('HGET', keys[3], args[i]) or ''
  end
  return reply
end

local METHOD_OF = { e = 'electronic', p = 'postal', w = 'workplace' }
local LETTER_OF = { postal = 'p', workplace = 'w' }

-- Marks voters who returned by another method; the first recorded here counts, whatever the envelope says.
-- Rows: UIN, postal or workplace, received_us. Answer a row each: recorded, repeated or lost, and the method that counts.
-- Repeated is the same paper again: by the same method, received at the same time. Any other is a second paper, and lost.
-- A lost one is written to the stream once (the gate remembers it), a repeated one not at all.
local function returned(keys, args)
  local wrong = shape_fault(keys, args, 3, ROWS_MAX)
  if wrong then
    return wrong
  end
  for i = 1, #args, 3 do
    if #args[i] ~= 16 or not LETTER_OF[args[i + 1]] or not decimal(args[i + 2]) then
      return fault('a return is UIN (16), postal or workplace, received_us')
    end
  end
  local seen = window(keys[1])
  if not seen then
    return redis.error_reply('UNARMED this ballot was never opened')
  end
  local now = whole(seen.now_us)
  local reply = {}
  for i = 1, #args, 3 do
    local uin, method, received = args[i], args[i + 1], args[i + 2]
    local letter = LETTER_OF[method]
    local paper = letter .. struct.pack('>I7', tonumber(received))
    local mark = redis.call('HGET', keys[3], uin)
    local by = mark and string.sub(mark, 1, 1) or letter
    local outcome, entry = 'repeated', nil
    if not mark then
      redis.call('HSET', keys[3], uin, paper)
      redis.call('HINCRBY', keys[1], 'voted_' .. letter, 1)
      outcome, entry = 'recorded', '1'
    elseif mark ~= paper then
      outcome = 'lost'
      if redis.call('HSETNX', keys[1], 'lost:' .. letter .. digits16(tonumber(received)) .. ':' .. uin, received) == 1 then
        entry = '0'
      end
    end
    if entry then
      redis.call('XADD', keys[5], '*', 'k', 'r', 'u', uin, 'm', method, 'rt', received, 't', now, 'won', entry)
    end
    reply[#reply + 1] = { outcome, METHOD_OF[by] }
  end
  latch(keys[1], seen)
  return reply
end

-- Takes a voter's mark away, only if it is the electronic vote with this reference; counted, so the books still balance.
-- Arguments: UIN, reference. Answers 1, or 0 when the mark is another one or none.
local function release(keys, args)
  local wrong = shape_fault(keys, args, 2, 1)
  if wrong then
    return wrong
  end
  local mark = redis.call('HGET', keys[3], args[1])
  if not mark or string.sub(mark, 1, 1) ~= 'e' or written_reference(mark, 25) ~= args[2] then
    return 0
  end
  redis.call('HDEL', keys[3], args[1])
  redis.call('HINCRBY', keys[1], 'released', 1)
  redis.call('HINCRBY', keys[1], 'voted_e', -1)
  return 1
end

-- Moves the closing time of a ballot that is not closed to a later instant than now; nothing reopens a closed one.
-- Answers 1 or 0, now_us, state, and the closing time before the call.
local function set_closes(keys, args)
  local wrong = shape_fault(keys, args, 1, 1)
  if wrong then
    return wrong
  end
  local closes_us = decimal(args[1])
  if not closes_us then
    return fault('closes_us is needed')
  end
  local seen = window(keys[1])
  if not seen then
    return redis.error_reply('UNARMED this ballot was never opened')
  end
  latch(keys[1], seen)
  local changed = 0
  if seen.state ~= 'closed' and closes_us > seen.now_us then
    redis.call('HSET', keys[1], 'closes_us', whole(closes_us))
    changed = 1
  end
  return { changed, whole(seen.now_us), seen.state, whole(seen.closes_us) }
end

local function description(keys, seen)
  local counters = redis.call('HMGET', keys[1], 'accepted', 'repeated', 'released', 'voted_e', 'voted_p', 'voted_w')
  local last_id = '0-0'
  if redis.call('EXISTS', keys[5]) == 1 then
    local stream = redis.call('XINFO', 'STREAM', keys[5])
    for i = 1, #stream, 2 do
      if stream[i] == 'last-generated-id' then
        last_id = stream[i + 1]
      end
    end
  end
  local reply = { '0', '0', 'unarmed', whole(clock_us()) }
  if seen then
    reply = { whole(seen.opens_us), whole(seen.closes_us), seen.state, whole(seen.now_us) }
  end
  for i = 1, 6 do
    reply[#reply + 1] = counters[i] or '0'
  end
  reply[#reply + 1] = whole(redis.call('HLEN', keys[2]))
  reply[#reply + 1] = last_id
  reply[#reply + 1] = whole(redis.call('XLEN', keys[5]))
  reply[#reply + 1] = whole(redis.call('HLEN', keys[9]))
  return reply
end

-- Describes this shard and writes nothing; state is 'unarmed', with zero times, before the ballot is armed.
-- Answer: opens_us closes_us state now_us accepted repeated released voted_e voted_p voted_w credentials votes_last_id votes_length
-- counted, the counts of tries that are not in the log of attempts yet.
local function state(keys)
  if #keys ~= 9 then
    return fault('nine keys are needed')
  end
  return description(keys, window(keys[1]))
end

-- Describes this shard like ballot_state and keeps what was seen: a state reported closed then stays closed, whatever the clock does.
-- Once closed, it moves the counts of this very minute too: a desk that repeats it until none are left has all tries so far.
local function latched(keys)
  if #keys ~= 9 then
    return fault('nine keys are needed')
  end
  local seen = window(keys[1])
  if seen then
    latch(keys[1], seen)
    move_counts(keys, seen, seen.state == 'closed')
  end
  return description(keys, seen)
end

-- The function, refused for a ballot that was set up with another layout. What is `taking` votes, returns or marks is refused
-- while the shard is recovered too, before anything is read or written: an edge that slept may call late.
local function of_this_layout(callback, taking)
  return function(keys, args)
    if #keys == 9 then
      local kept = redis.call('HMGET', keys[1], 'layout', 'opens_us', 'recovering')
      if kept[3] and taking then
        return redis.error_reply('RECOVERING this shard is being put back together; nothing was done')
      end
      if (kept[1] or kept[2]) and kept[1] ~= LAYOUT then
        return redis.error_reply('LAYOUT this ballot was set up by another version: ' .. (kept[1] or 'none') .. ', not ' .. LAYOUT)
      end
    end
    return callback(keys, args)
  end
end

redis.register_function('ballot_cast', of_this_layout(cast, true))
redis.register_function('ballot_access', of_this_layout(access, true))
redis.register_function('ballot_arm', of_this_layout(arm))
redis.register_function('ballot_issue', of_this_layout(issue))
redis.register_function('ballot_revoke', of_this_layout(revoke))
redis.register_function('ballot_return', of_this_layout(returned, true))
redis.register_function('ballot_release', of_this_layout(release, true))
redis.register_function('ballot_set_closes', of_this_layout(set_closes))
redis.register_function('ballot_latch', of_this_layout(latched))
redis.register_function{ function_name = 'ballot_voted', callback = of_this_layout(voted), flags = { 'no-writes' } }
redis.register_function{ function_name = 'ballot_state', callback = of_this_layout(state), flags = { 'no-writes' } }
