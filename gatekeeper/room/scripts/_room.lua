-- Shared by every script of the room: loaded in front of each, so one EVALSHA carries both.
--
-- KEYS  1 queue     ZSET visitor -> arrival, microseconds
--       2 deadlines HASH visitor -> by when to be seen again, in tenths of a second of `present`
--       3 active    ZSET visitor -> expiry of the slot
--       4 revoked   ZSET visitor -> when no token of theirs can be valid any more
--       5 spent     ZSET visitor -> when the ticket that bought their slot, or with which they
--                   left, has surely expired
--       6 replicas  ZSET replica -> when it last called
--       7 state     HASH
--
-- ARGV  begins with the epoch and the version of the newest state that the caller knows this store to
--       have said (0 0: it knows none). They are taken off here, and the scripts count from there.
--
-- A visitor is in at most one of queue, active, spent and revoked. In the queue without a deadline is
-- as if it had passed. In active with one, whatever it says: expected to claim (released) or to come
-- back with the cookie (let through at once). In active without one: admitted and proven.
--
-- Cost. With a million waiting every look into a set misses the processor's caches, and each command
-- costs about as much again. So commands take many visitors at a time wherever they can, and a
-- heartbeat is one field of a hash: moving a member of a ZSET by its deadline cost three times that.
--
-- Numbers. DragonflyDB runs Lua 5.4 and hands scores as numbers, Redis and Valkey run 5.1 and hand
-- strings. So what comes in goes through tonumber, what goes out through fmt, products are made
-- of floats, and every score stays below 2^53. The bucket's level counts billionths of an
-- admission, so that flooring it at every call loses nothing that matters.

local QUEUE, DEADLINES, ACTIVE, REVOKED, SPENT, REPLICAS, STATE =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local call = redis.call
local UNIT = 1e9
local unpack_ = table.unpack or unpack

-- Arguments are read by this before the first write: what a script wrote stays when it fails.
-- Lua 5.1 takes 'nan' and 'inf' for numbers, and neither ever leaves a bucket it got into.
local function number(text)
  local n = tonumber(text)
  if not n or n - n ~= 0 then error('not a number') end
  return n
end

local known_epoch, known_version = number(table.remove(ARGV, 1)), number(table.remove(ARGV, 1))

local function fmt(n) return string.format('%.0f', n) end

local function score(key, member)
  local s = call('ZSCORE', key, member)
  if s then return tonumber(s) end
  return nil
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- No pacer sleeps for so long. When none has called for longer, the store or every replica was away
-- and nobody could be seen: `present`, the clock of the deadlines, stood still. And replicas may hold
-- visitors whom they stamped meanwhile and who come before all newcomers, so that for RETURN, in
-- which every replica calls, nobody is let in.
local LONGEST_PAUSE, RETURN = 3000000, 2000000
local present = now

local FIELDS = { 'epoch', 'version', 'mode', 'rate', 'level', 'filled_at', 'watermark', 'last',
  'grants', 'arrived', 'released', 'admitted', 'abandoned', 'recovering_until', 'revocations',
  'origin_epoch', 'origin_version', 'configured_rate', 'attended_at', 'unattended', 'message',
  'walked', 'walked_at', 'said', 'claims_until' }
local TEXTS = { mode = true, rate = true, configured_rate = true, message = true, said = true }

local stored = {}

-- The state as a table of numbers and of TEXTS, or nil in a store that is empty or knows less than
-- its caller: it was emptied, rolled back, or failed over to a copy that lagged. What it would give
-- out now, it may have given out before. To `join` alone it shows itself as it is: '' joins, 'start'
-- is a replica that starts and so has stamped nobody.
local function load_state(joins)
  local raw = call('HMGET', STATE, unpack_(FIELDS))
  if not raw[1] then return nil end
  local s = {}
  for i = 1, #FIELDS do
    local field, value = FIELDS[i], raw[i]
    if TEXTS[field] then
      s[field] = value or ''
    else
      s[field] = tonumber(value or '0') or 0
    end
    if value then stored[field] = s[field] end
  end
  if not joins and known_epoch > 0
    and (s.epoch ~= known_epoch or s.version < known_version) then
    return nil
  end
  -- The store's clock may have stepped back behind what it once told: time never does.
  if now < s.filled_at then now = s.filled_at end
  local pause = now - s.attended_at
  if pause > LONGEST_PAUSE then
    s.attended_at, s.unattended, s.was_unattended = now, s.unattended + pause, true
    if joins ~= 'start' and s.recovering_until < now + RETURN then s.recovering_until = now + RETURN end
  end
  present = now - s.unattended
  return s
end

-- Write back what is not as it was stored; `changed` says that the others should hear of it.
local function save_state(s, changed)
  if changed then s.version = s.version + 1 end
  local flat = {}
  for i = 1, #FIELDS do
    local field = FIELDS[i]
    local value = s[field]
    if value ~= stored[field] then
      flat[#flat + 1] = field
      if not TEXTS[field] then value = fmt(value) end
      flat[#flat + 1] = value
    end
  end
  if #flat > 0 then call('HSET', STATE, unpack_(flat)) end
end

-- A deadline as it is stored, and whether one that was read has passed.
local function tenths(us) return fmt(math.ceil(us / 100000)) end

local function has_passed(deadline)
  return (tonumber(deadline or 0) or 0) * 100000 <= present
end

-- Add `first`, `second` to a flat list of pairs, as variadic commands take them.
local function add_pair(pairs_, first, second)
  pairs_[#pairs_ + 1] = first
  pairs_[#pairs_ + 1] = second
end

-- One command for a whole list of members or pairs, which may be empty; its reply, or 0.
local function for_all(command, key, list)
  if #list == 0 then return 0 end
  return call(command, key, unpack_(list))
end

-- What an operator has set since the epoch began is newer than all that replicas knew before it.
local function has_said(s, word)
  return string.find(s.said, fmt(s.epoch) .. word .. ' ', 1, true) ~= nil
end

local function say(s, word)
  if has_said(s, word) then return end
  if not string.find(s.said, fmt(s.epoch), 1, true) then s.said = '' end
  s.said = s.said .. fmt(s.epoch) .. word .. ' '
end

local function rate_of(s) return (tonumber(s.rate) or 0) + 0.0 end

-- Admissions that fell due since the last call go into the bucket, up to `burst`.
local function refill(s, burst)
  local rate = rate_of(s)
  local elapsed = (now - s.filled_at) + 0.0
  s.filled_at = now
  if rate <= 0 then
    s.level = 0
    return
  end
  local level = s.level + math.floor(elapsed * rate * 1000 / 60)
  local most = burst * UNIT
  if level > most then level = most end
  s.level = level
end

local function whole(level) return math.floor(level / UNIT) end

-- End the slots whose pass or claim window ended, at most `most`; returns how many.
-- `spent_us` > 0: remember that these visitors used their ticket, for so long. That is no
-- revocation: a pass of theirs that is still valid (the store missed its use) keeps counting.
local function expire_slots(s, most, spent_us)
  local ended = call('ZRANGEBYSCORE', ACTIVE, '-inf', fmt(now), 'LIMIT', 0, fmt(most))
  if #ended == 0 then return 0 end
  local deadlines = call('HMGET', DEADLINES, unpack_(ended))
  local unclaimed, claimed, spent = {}, {}, {}
  for i = 1, #ended do
    if deadlines[i] then
      unclaimed[#unclaimed + 1] = ended[i]
    else
      claimed[#claimed + 1] = ended[i]
      add_pair(spent, fmt(now + spent_us), ended[i])
    end
  end
  for_all('HDEL', DEADLINES, unclaimed)
  for_all('ZREM', ACTIVE, unclaimed)
  s.abandoned = s.abandoned + #unclaimed
  -- Last what a full store refuses.
  if spent_us > 0 then for_all('ZADD', SPENT, spent) end
  for_all('ZREM', ACTIVE, claimed)
  return #ended
end

-- How many more may hold a slot; huge when there is no limit.
local function free_slots(max_active)
  if max_active <= 0 then return 1e15 end
  local free = max_active - call('ZCARD', ACTIVE)
  if free < 0 then return 0 end
  return free
end

-- After a loss: how many may still come for the slot that was theirs before it.
local function claims_left(s)
  return now < s.recovering_until and math.max(s.claims_until - s.admitted, 0) or 0
end

-- Every reply begins with the state as the replicas know it.
local function reply_with(s)
  local waiting = call('ZCARD', QUEUE)
  local expected = math.max(call('HLEN', DEADLINES) - waiting, 0) + claims_left(s)
  return { fmt(s.epoch), fmt(s.version), s.mode, s.rate, s.message, fmt(s.watermark), fmt(s.last),
    fmt(s.grants), fmt(s.arrived), fmt(s.released), fmt(s.admitted), fmt(s.abandoned),
    fmt(s.recovering_until), fmt(s.revocations), fmt(waiting), fmt(call('ZCARD', ACTIVE)),
    fmt(expected), fmt(call('ZCARD', REPLICAS)), fmt(now) }
end
