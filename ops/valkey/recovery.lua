#!lua name=ballot_recovery
-- What `ballot recover` does at a shard of the gate: puts back what the voter database knows and this copy of the queue forgot.
--
-- Keys are a shard's nine, as in gate.lua, and so is what is packed. Each function may be called again with the same rows, and
-- between its calls the gate may be in use: a row is compared and written in one step. Rules kept throughout:
--   * Nothing is taken from the gate that it has: a mark or a credential that says something else is left as it is and named in
--     the answer; a revoked code never becomes current, a closed shard never opens, no count and no number gets smaller.
--   * One exception: a release that is on record takes away the mark of that very vote, as the desk does when it releases.
--   * Arguments are checked whole before anything is written; every loop is bounded by the number of rows.

-- As in gate.lua: a shard that was set up with another layout is neither read nor written.
local LAYOUT = '1'
local ROWS_MAX = 10000
local FIELDS_MAX = 2000

local function whole(number)
  return string.format('%.0f', number)
end

local function decimal(text)
  if text and #text <= 16 and string.match(text, '^%d+$') then
    return tonumber(text)
  end
  return nil
end

local function fault(text)
  return redis.error_reply('ARGUMENT ' .. text)
end

local function with(first, second, others)
  local reply = { first, second }
  for i = 1, #others do
    reply[i + 2] = others[i]
  end
  return reply
end

local function rows_fault(args, width)
  if #args == 0 or #args % width ~= 0 or #args / width > ROWS_MAX then
    return fault('whole rows of ' .. width .. ' are needed, at most ' .. ROWS_MAX)
  end
  return nil
end

local function values_of(key, fields)
  local values = {}
  for first = 1, #fields, FIELDS_MAX do
    local part = redis.call('HMGET', key, unpack(fields, first, math.min(first + FIELDS_MAX - 1, #fields)))
    for i = 1, #part do
      values[first + i - 1] = part[i]
    end
  end
  return values
end

local function set_all(key, pairs_of)
  for first = 1, #pairs_of, FIELDS_MAX do
    redis.call('HSET', key, unpack(pairs_of, first, math.min(first + FIELDS_MAX - 1, #pairs_of)))
  end
end

-- Closes this shard to every caller that takes a vote, a return or a mark, before anything of it is looked at. Argument: when.
local function begin(keys, args)
  if #args ~= 1 or not decimal(args[1]) then
    return fault('when the recovery began')
  end
  redis.call('HSET', keys[1], 'recovering', args[1])
  return 1
end

-- Opens it again, when everything is there.
local function finish(keys)
  redis.call('HDEL', keys[1], 'recovery_lost')
  return redis.call('HDEL', keys[1], 'recovering')
end

-- Credentials of the register. One argument: rows of digest as kept (16), UIN (16), flag ('c' or 'r'), channel, put together,
-- because a million arguments cost their sender more than all the rest.
-- Answer: how many were added, how many became revoked, then the number of each row whose digest is another voter's here.
local CREDENTIAL_BYTES = 34
local function credentials(keys, args)
  local rows = args[1] or ''
  if #args ~= 1 or #rows == 0 or #rows % CREDENTIAL_BYTES ~= 0 or #rows / CREDENTIAL_BYTES > ROWS_MAX then
    return fault('whole rows of digest (16), UIN (16), flag and channel (2), at most ' .. ROWS_MAX)
  end
  local kept = {}
  for at = 1, #rows, CREDENTIAL_BYTES do
    kept[#kept + 1] = string.sub(rows, at, at + 15)
    if not string.match(string.sub(rows, at + 32, at + 32), '[cr]') then
      return fault('a credential is current or revoked')
    end
  end
  local existing = values_of(keys[2], kept)
  local set, added, revoked, conflicts = {}, 0, 0, {}
  for row = 1, #kept do
    local at = (row - 1) * CREDENTIAL_BYTES
    local uin, value, is = string.sub(rows, at + 17, at + 32), string.sub(rows, at + 33, at + 34), existing[row]
    if not is then
      added = added + 1
      set[#set + 1], set[#set + 2] = kept[row], uin .. value
    elseif string.sub(is, 1, 16) ~= uin then
      conflicts[#conflicts + 1] = row
    elseif string.sub(value, 1, 1) == 'r' and string.sub(is, 17, 17) ~= 'r' then
      revoked = revoked + 1
      set[#set + 1], set[#set + 2] = kept[row], uin .. 'r' .. string.sub(is, 18, 18)
    end
  end
  redis.call('HSETNX', keys[1], 'layout', LAYOUT)
  set_all(keys[2], set)
  return with(added, revoked, conflicts)
end

-- Votes and returns on record. One argument: rows of UIN (16), what the reference's state must be (1: 's' stored, 'h' held, 'a'
-- waiting in the stream, '-' no reference; the strongest holds), the mark's length (1), the mark as the gate packs it, and the
-- reference as kept (10) unless there is none.
-- A mark or a reference of what is stored that had to be added is noted in the gate's `recovery_lost`, until `finish`.
-- Of a vote that is not stored nobody may know the identity any more: a mark of the same time and reference is then the same.
-- Answer: how many marks were added, how many references were added or changed, then pairs of a row's number and the mark that
-- its voter has instead.
local STRENGTH = { a = 1, h = 2, s = 3 }
local function marks(keys, args)
  local rows = #args == 1 and args[1] or ''
  local uins, references, wanted, wanted_states, at = {}, {}, {}, {}, 1
  while at <= #rows do
    local state, length = string.sub(rows, at + 16, at + 16), string.byte(rows, at + 17) or 0
    local mark = string.sub(rows, at + 18, at + 17 + length)
    local reference = STRENGTH[state] and string.sub(rows, at + 18 + length, at + 27 + length) or ''
    local e = string.sub(mark, 1, 1) == 'e' and #mark == 34 and string.sub(mark, 25) == reference
    local other = string.match(mark, '^[pw]') and #mark == 8 and reference == ''
    if not (length == 0 or e or other) or not (STRENGTH[state] and #reference == 10 or state == '-') or #uins == ROWS_MAX then
      return fault('rows of UIN (16), state (1), length (1), mark, reference (10), at most ' .. ROWS_MAX)
    end
    local row = #uins + 1
    uins[row], references[row], wanted[row] = string.sub(rows, at, at + 15), reference, mark
    wanted_states[row] = state
    at = at + 18 + length + #reference
  end
  if #uins == 0 then
    return fault('a row at least')
  end
  local existing, states = values_of(keys[3], uins), values_of(keys[4], references)
  local set, set_states, added, changed, conflicts, given, lost = {}, {}, 0, 0, {}, {}, false
  for row = 1, #uins do
    local mark, state, is = wanted[row], wanted_states[row], existing[row] or given[uins[row]]
    if mark ~= '' and not is then
      added = added + 1
      lost = lost or state == 's' or state == '-'
      given[uins[row]] = mark
      set[#set + 1], set[#set + 2] = uins[row], mark
    elseif mark ~= '' and is ~= mark
      and not (state ~= 's' and #is == 34 and string.sub(is, 1, 1) .. string.sub(is, 18) == 'e' .. string.sub(mark, 18)) then
      conflicts[#conflicts + 1] = row
      conflicts[#conflicts + 1] = is
    end
    if state ~= '-' and (STRENGTH[states[row] or ''] or 0) < STRENGTH[state] then
      changed = changed + 1
      lost = lost or state == 's' and not states[row]
      set_states[#set_states + 1], set_states[#set_states + 2] = references[row], state
    end
  end
  if lost then
    redis.call('HSET', keys[1], 'recovery_lost', '1')
  end
  set_all(keys[3], set)
  set_all(keys[4], set_states)
  return with(added, changed, conflicts)
end

-- Releases on record. Rows: UIN (16), reference as kept (10). Answers how many marks were taken away.
local function releases(keys, args)
  local wrong = rows_fault(args, 2)
  if wrong then
    return wrong
  end
  for i = 1, #args, 2 do
    if #args[i] ~= 16 or #args[i + 1] ~= 10 then
      return fault('a release is UIN (16), reference (10)')
    end
  end
  local taken = 0
  for i = 1, #args, 2 do
    local mark = redis.call('HGET', keys[3], args[i])
    if mark and #mark == 34 and string.sub(mark, 1, 1) == 'e' and string.sub(mark, 25) == args[i + 1] then
      taken = taken + redis.call('HDEL', keys[3], args[i])
    end
  end
  return taken
end

-- Returns on record that lost to an earlier vote, so that the same paper is not written down again. Rows: letter ('p' or 'w'),
-- received_us, UIN (16). Answers how many were not remembered.
local function lost_returns(keys, args)
  local wrong = rows_fault(args, 3)
  if wrong then
    return wrong
  end
  for i = 1, #args, 3 do
    if not string.match(args[i], '^[pw]$') or not decimal(args[i + 1]) or #args[i + 2] ~= 16 then
      return fault('a lost return is letter, received_us, UIN (16)')
    end
  end
  local added = 0
  for i = 1, #args, 3 do
    local field = 'lost:' .. args[i] .. string.format('%016.0f', tonumber(args[i + 1])) .. ':' .. args[i + 2]
    added = added + redis.call('HSETNX', keys[1], field, args[i + 1])
  end
  return added
end

-- The window and the counters, once the marks are there. Arguments: opens_us and closes_us of record ('0' for a ballot that was
-- never opened), the last time that anything was accepted or recorded here, how many votes were released, how many postal and
-- workplace returns count, the largest number of an acceptance that is proved, the number to go on behind: none that may have
-- been given is given again; how many codes were revoked, also before the opening. `jumped_from` and `jumped_to` keep the two
-- numbers, so that the same merge run again jumps no further.
-- Answer: state, closes_us, accepted, released, number as they are now, and 1 if anything of it was written.
local COUNTERS = { 'accepted', 'repeated', 'released', 'voted_e', 'voted_p', 'voted_w', 'number', 'last_us', 'counting' }
local function shard(keys, args)
  local numbers = {}
  for i = 1, #args do
    numbers[i] = decimal(args[i])
  end
  if #args ~= 9 or #numbers ~= 9 then
    return fault('opens_us, closes_us, last_us, released, postal, workplace, number, number to go on behind, revoked')
  end
  local opens_us, closes_us, last_us, released, postal, workplace, number, behind, revoked = unpack(numbers)
  local is, before = {}, redis.call('HMGET', keys[1], unpack(COUNTERS))
  for i, name in ipairs(COUNTERS) do
    is[name] = decimal(before[i]) or 0
  end
  if (decimal(redis.call('HGET', keys[1], 'revoked')) or -1) < revoked then
    redis.call('HSET', keys[1], 'revoked', whole(revoked))
  end
  local window = redis.call('HMGET', keys[1], 'opens_us', 'closes_us', 'state', 'jumped_from', 'jumped_to')
  if opens_us == 0 then
    return { 'unarmed', '0', whole(is.accepted), whole(is.released), whole(is.number), 0 }
  end
  local state = window[3] or 'scheduled'
  if state == 'closed' then
    opens_us, closes_us = decimal(window[1]) or opens_us, decimal(window[2]) or closes_us
  end
  local now = {
    repeated = is.repeated,
    counting = is.counting,
    last_us = math.max(is.last_us, last_us),
    released = math.max(is.released, released),
    voted_p = math.max(is.voted_p, postal),
    voted_w = math.max(is.voted_w, workplace),
  }
  now.voted_e = math.max(0, redis.call('HLEN', keys[3]) - now.voted_p - now.voted_w)
  now.accepted = math.max(is.accepted, now.voted_e + now.released)
  if behind > 0 then
    now.number = math.max(number, behind)
  else
    now.number = math.max(is.number, number, now.accepted)
  end
  local set = {}
  local function want(name, value, old)
    if value ~= old then
      set[#set + 1], set[#set + 2] = name, value
    end
  end
  want('opens_us', whole(opens_us), window[1])
  want('closes_us', whole(closes_us), window[2])
  want('state', state, window[3])
  for i, name in ipairs(COUNTERS) do
    want(name, whole(now[name]), before[i])
  end
  if behind > 0 then
    want('jumped_from', whole(number), window[4])
    want('jumped_to', whole(now.number), window[5])
  end
  redis.call('HSETNX', keys[1], 'layout', LAYOUT)
  if #set > 0 then
    redis.call('HSET', keys[1], unpack(set))
  end
  return { state, whole(closes_us), whole(now.accepted), whole(now.released), whole(now.number), #set > 0 and 1 or 0 }
end

-- A page of the stream of votes, without what is sealed. Arguments: where to begin, how many entries at most.
-- Answer: how many there were, the last one's id, then for each: id, kind, reference, time, UIN, method, won, number ('' for none).
local FIELDS = { 'k', 'ref', 't', 'u', 'm', 'won', 'n' }
local function entries(keys, args)
  local count = decimal(args[2])
  if #args ~= 2 or not count or count < 1 or count > ROWS_MAX then
    return fault('where to begin, and a number of entries')
  end
  local page = redis.call('XRANGE', keys[5], args[1], '+', 'COUNT', count)
  local reply = { #page, #page > 0 and page[#page][1] or '' }
  for _, entry in ipairs(page) do
    local found = {}
    for i = 1, #entry[2], 2 do
      found[entry[2][i]] = entry[2][i + 1]
    end
    reply[#reply + 1] = entry[1]
    for _, name in ipairs(FIELDS) do
      reply[#reply + 1] = found[name] or ''
    end
  end
  return reply
end

local function of_this_layout(callback)
  return function(keys, args)
    if #keys ~= 9 then
      return fault('nine keys are needed')
    end
    local kept = redis.call('HMGET', keys[1], 'layout', 'opens_us')
    if (kept[1] or kept[2]) and kept[1] ~= LAYOUT then
      return redis.error_reply('LAYOUT this ballot was set up by another version: ' .. (kept[1] or 'none') .. ', not ' .. LAYOUT)
    end
    return callback(keys, args)
  end
end

redis.register_function('ballot_recover_begin', of_this_layout(begin))
redis.register_function('ballot_recover_finish', of_this_layout(finish))
redis.register_function('ballot_recover_credentials', of_this_layout(credentials))
redis.register_function('ballot_recover_marks', of_this_layout(marks))
redis.register_function('ballot_recover_releases', of_this_layout(releases))
redis.register_function('ballot_recover_lost', of_this_layout(lost_returns))
redis.register_function('ballot_recover_shard', of_this_layout(shard))
redis.register_function{ function_name = 'ballot_recover_entries', callback = of_this_layout(entries), flags = { 'no-writes' } }
