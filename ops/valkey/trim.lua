#!lua name=trimming
-- Trimming a votes stream: in one step with a look at who still needs what is in it. Valkey has no trimming that respects several
-- consumer groups, and a look that came before the trimming would not see a group that was rewound in between.

local ENTRIES_MAX = 1000  -- entries taken out by one call: about a millisecond of the queue's time
local NEEDED_GROUP = 'workers'

local function fault(text)
  return redis.error_reply('ARGUMENT ' .. text)
end

-- An id as two decimal texts: as numbers, the largest would lose their last digits.
local function parts(id)
  return string.match(id, '^(%d+)%-(%d+)$')
end

local function less(one, other)
  if #one ~= #other then
    return #one < #other
  end
  return one < other
end

local function earlier(one, other)
  local one_ms, one_sequence = parts(one)
  local other_ms, other_sequence = parts(other)
  if one_ms ~= other_ms then
    return less(one_ms, other_ms)
  end
  return less(one_sequence, other_sequence)
end

local function by_name(list)
  local found = {}
  for i = 1, #list, 2 do
    found[list[i]] = list[i + 1]
  end
  return found
end

-- Takes out entries that are below `below` (an id, from what the voter database has), acknowledged by every group, and older than
-- `age_ms` by this server's clock; at most ENTRIES_MAX, and whole nodes of the stream only, so a few may stay.
-- Answers how many were taken out, below which id, and what that id came from: 'given', 'group' or 'age'. Without the workers'
-- group nothing was read yet, and nothing is taken out ('unread').
-- It may run while memory is full: it is what makes room.
local function trim(keys, args)
  if #keys ~= 1 or #args ~= 2 then
    return fault('one key and two arguments are needed: stream; below, age_ms')
  end
  local below, held_by = args[1], 'given'
  local ms = parts(below)
  if not ms or #below > 41 or string.match(below, '^0%d') or string.match(below, '%-0%d') or not string.match(args[2], '^%d+$')
    or #args[2] > 15 then
    return fault('below is an id such as 1-0, age_ms a number')
  end
  if redis.call('EXISTS', keys[1]) == 0 then
    return { 0, '0-0', 'unread' }
  end
  local read = false
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', keys[1])) do
    local group = by_name(each)
    read = read or group['name'] == NEEDED_GROUP
    local needed = group['last-delivered-id']
    if group['pending'] > 0 then
      local oldest = redis.call('XPENDING', keys[1], group['name'])[2]
      if oldest and earlier(oldest, needed) then
        needed = oldest
      end
    end
    if earlier(needed, below) then
      below, held_by = needed, 'group'
    end
  end
  if not read then
    return { 0, '0-0', 'unread' }
  end
  local time = redis.call('TIME')
  local young = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(args[2])
  local youngest = string.format('%.0f-0', math.max(0, young))
  if earlier(youngest, below) then
    below, held_by = youngest, 'age'
  end
  return { redis.call('XTRIM', keys[1], 'MINID', '~', below, 'LIMIT', ENTRIES_MAX), below, held_by }
end

redis.register_function{ function_name = 'ballot_trim', callback = trim, flags = { 'allow-oom' } }
