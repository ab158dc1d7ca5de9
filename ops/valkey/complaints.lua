#!lua name=complaints
-- The complaints: one stream, apart from every ballot, so that a complaint is taken while ballots are closed, before any was
-- published, and whether or not a worker vouches for the queue. What is in it is sealed to the desk. An entry is taken out as
-- soon as it is stored in userdb (scrutineer/serving.py); names are spelt in ballot/handoff.py.

-- The budget, in bytes and so in entries: one always has the same sealed length, and no more memory than this.
local BUDGET_BYTES = 67108864
local ENTRY_BYTES = 8192
local ENTRIES_MAX = BUDGET_BYTES / ENTRY_BYTES

local SEALED_BYTES = 5232     -- ballot/complaint.py: 4,096 of text, 1,120 of encapsulated key, 16 of tag
local BALLOT_BYTES_MAX = 40

local function fault(text)
  return redis.error_reply('ARGUMENT ' .. text)
end

-- Appends one complaint: the sealed bytes, and the ballot its sender names or an empty text. Answers 'recorded', or 'full' or
-- 'exhausted' and nothing is written. The time of receipt is a field, by this server's clock: who appends past this function may
-- choose an entry's id, and all later ones follow it; once the greatest possible id was used, there is none ('exhausted'). The
-- same complaint again is appended again, so that whoever waits for its replicas waits for this very write; the store has it once.
local function complain(keys, args)
  if #keys ~= 1 or #args ~= 2 then
    return fault('one key and two arguments are needed: stream; sealed, ballot')
  end
  local sealed, ballot = args[1], args[2]
  if #sealed ~= SEALED_BYTES then
    return fault('a sealed complaint has ' .. SEALED_BYTES .. ' bytes')
  end
  if #ballot > BALLOT_BYTES_MAX or not string.match(ballot, '^[a-z0-9-]*$') then
    return fault('this is not the id of a ballot')
  end
  if redis.call('XLEN', keys[1]) >= ENTRIES_MAX then
    return 'full'
  end
  local now = redis.call('TIME')
  local at_ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
  local added = redis.pcall('XADD', keys[1], '*', 's', sealed, 'b', ballot, 't', at_ms)
  if type(added) == 'table' and added.err then
    if string.find(added.err, 'exhausted', 1, true) then
      return 'exhausted'
    end
    return added
  end
  return 'recorded'
end

redis.register_function('ballot_complain', complain)
