-- Shared part of every script of a room: loaded in front of each, so that one EVALSHA carries both.
--
-- KEYS  1 queue        ZSET visitor -> turn, microseconds; equal turns are ordered by visitor id
--       2 deadlines    HASH visitor -> deadline of the next poll, in tenths of a second of `present`
--       3 active       ZSET visitor -> expiry of the slot
--       4 revoked      ZSET visitor -> when the last of their tokens has expired
--       5 spent        ZSET visitor -> when the ticket that they claimed a slot with, or left with,
--                      has expired
--       6 replicas     ZSET replica -> time of its last call
--       7 state        HASH
--       8 unconfirmed  ZSET visitor -> expiry of the slot of a visitor that went straight through and
--                      has not returned the pass yet
--       9 missed       ZSET visitor -> minus the time of their first unclaimed release, or from the
--                      second on their new turn at the end of the line
--      10 sessions     HASH visitor with a claimed slot -> absolute end of the session
--      11 lanes        HASH visitor at a provisional turn -> lane; one for each invitation
--      12 holders      HASH visitor whose place belongs to one device -> 'device expiry': the expiry of
--                      the invitation that the device claimed with, microseconds; 0: of none
--      13 held_until   ZSET visitor in `holders` -> when no other ticket or invitation of theirs is
--                      valid any more
--      14 lane_polls   ZSET visitor of a lane -> the lane's number, then the deadline (`poll`)
--
-- ARGV  begins with the epoch and the version of the newest state that the caller has received from
--       this store (0 0: none), burst, and max_active (0: no limit). They are removed here; the
--       scripts count their arguments after them.
--
-- `windows` of the state are the events of the room: "from until phase rate;" for each span of time,
-- the phase as one letter (b before, p prequeue of a draw, q prequeue, r running, e ended), the rate
-- '-' where the room's own counts. `events` are the same for the replicas; no script reads them.
--
-- In the prequeue of a draw a visitor's turn is provisional: PROVISIONAL plus the arrival. No visitor
-- is released while one is left; `draw` moves them to the turns that they drew.
--
-- The ticket is the place of a visitor who has not returned it: the store holds confirmed visitors
-- alone, and `unconfirmed` slots. Releases and claims count the slots in `active`; where both
-- together would pass max_active, the oldest unconfirmed slots are given up.
--
-- A visitor is in at most one of queue, active, spent and revoked. A queue entry without a deadline
-- counts as one whose deadline has passed. An active visitor with a deadline was released and has
-- yet to claim: the deadline is 0 where the release cost nothing, -1 where it cost a grant, and any
-- other where it cost an admission of the rate. An active visitor without one is admitted.
--
-- Cost. With a million waiting, every lookup in a set misses the processor's caches, and each
-- command costs about as much again. Commands therefore take many visitors at a time wherever they
-- can, and a heartbeat is one field of a hash: moving a member of a ZSET by its deadline cost three
-- times that.
--
-- Numbers. DragonflyDB runs Lua 5.4 and passes scores as numbers; Redis and Valkey run 5.1 and pass
-- strings. Input goes through tonumber, output through fmt, products are made of floats, and every
-- score stays below 2^53. The bucket's level counts billionths of an admission, so that rounding
-- down at every call loses nothing that matters.

local QUEUE, DEADLINES, ACTIVE, REVOKED, SPENT, REPLICAS, STATE, UNCONFIRMED, MISSED =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local SESSIONS, LANES, HOLDERS, HELD_UNTIL, LANE_POLLS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local call = redis.call
local UNIT = 1e9
local UNLIMITED = 1e15
local PROVISIONAL = 4e15
local unpack_ = table.unpack or unpack

-- Reads an argument. To be called before the first write: a script that fails keeps its earlier
-- writes. Lua 5.1 reads 'nan' and 'inf' as numbers, and neither ever leaves a bucket that it got
-- into.
local function number(text)
  local n = tonumber(text)
  if not n or n - n ~= 0 then error('not a number') end
  return n
end

local function next_number() return number(table.remove(ARGV, 1)) end

local known_epoch, known_version = next_number(), next_number()
local burst, max_active = next_number(), next_number()

local function fmt(n) return string.format('%.0f', n) end

local function score(key, member)
  local s = call('ZSCORE', key, member)
  if s then return tonumber(s) end
  return nil
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- A pacer never pauses longer than LONGEST_PAUSE. After a longer pause the store or every replica
-- was unreachable, and no heartbeat could arrive: `present`, the clock of the deadlines, stood
-- still. The replicas may also hold visitors whom they stamped meanwhile and whose turn is before
-- all newcomers. For RETURN, in which every replica calls, no visitor is therefore admitted.
local LONGEST_PAUSE, RETURN, ATTENDED_KEPT_MS = 3000000, 2000000, 3600000
local present = now

-- `reached` is the highest turn of which any visitor was released; the watermark is below it while
-- other visitors of that turn still wait.
local FIELDS = { 'epoch', 'version', 'mode', 'rate', 'level', 'filled_at', 'watermark', 'last',
  'grants', 'arrived', 'released', 'admitted', 'abandoned', 'recovering_until', 'revocations',
  'origin_epoch', 'origin_version', 'configured_rate', 'attended_at', 'unattended', 'message',
  'sweep_index', 'swept_at', 'operator_set', 'claims_until', 'reached', 'overrides',
  'configured_message', 'events', 'windows', 'has_holders' }
local TEXTS = { mode = true, rate = true, configured_rate = true, message = true,
  operator_set = true, overrides = true, configured_message = true, events = true,
  windows = true }

local stored = {}

-- The state as a table of numbers and of TEXTS, or nil when the store is empty or older than what
-- its caller knows: it was emptied, rolled back, or failed over to a copy that lagged. What it
-- would admit now, it may have admitted before. Only `join` receives the state as it is: `joins` is
-- '' for a join and 'start' for the join of a replica that starts, and so has stamped no visitor.
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
  -- The store's clock may have stepped back; the time that the room has seen never does.
  if now < s.filled_at then now = s.filled_at end
  local pause = now - s.attended_at
  if pause > LONGEST_PAUSE then  -- a full store keeps the time of `advance` as an expiry alone
    local left_ms = call('PTTL', REPLICAS)
    if left_ms >= 0 then pause = math.min(pause, (ATTENDED_KEPT_MS - left_ms) * 1000) end
  end
  if pause > LONGEST_PAUSE then
    s.attended_at, s.unattended, s.was_unattended = now, s.unattended + pause, true
    if joins ~= 'start' then s.recovering_until = math.max(s.recovering_until, now + RETURN) end
  end
  present = now - s.unattended
  return s
end

-- Writes the fields that differ from what is stored. `changed`: the replicas have to receive the
-- state, so its version rises.
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

-- A deadline as it is stored, and whether a stored one has passed.
local function tenths(us) return fmt(math.ceil(us / 100000)) end

local function has_passed(deadline)
  return (tonumber(deadline or 0) or 0) * 100000 <= present
end

-- Adds `first`, `second` to a flat list of pairs, as variadic commands take them.
local function add_pair(pairs_, first, second)
  pairs_[#pairs_ + 1] = first
  pairs_[#pairs_ + 1] = second
end

-- One command for a whole list of members or pairs, which may be empty; returns its reply, or 0.
local function for_all(command, key, list)
  if #list == 0 then return 0 end
  return call(command, key, unpack_(list))
end

-- What the operator has set in this epoch is newer than all that replicas knew before it.
local function is_set_by_operator(s, setting)
  return string.find(s.operator_set, fmt(s.epoch) .. setting .. ' ', 1, true) ~= nil
end

local function note_operator_set(s, setting)
  if is_set_by_operator(s, setting) then return end
  if not string.find(s.operator_set, fmt(s.epoch), 1, true) then s.operator_set = '' end
  s.operator_set = s.operator_set .. fmt(s.epoch) .. setting .. ' '
end

-- The letter of the window that the room is in and its own rate, each nil where there is none.
local function window_of(s)
  if s.windows == '' then return nil end
  for from, until_, phase, rate in string.gmatch(s.windows, '(%d+) (%d+) (%a) (%S+);') do
    if tonumber(from) <= now and now < tonumber(until_) then return phase, tonumber(rate) end
  end
end

local function rate_of(s)
  local _, rate = window_of(s)
  return (rate or tonumber(s.rate) or 0) + 0.0
end

-- What fell due between `from` and now, in units of the level.
local function due_since(s, from)
  local own = (tonumber(s.rate) or 0) + 0.0
  local due = (now - from) * own
  for first, last, _, rate in string.gmatch(s.windows, '(%d+) (%d+) (%a) (%d[%d.e+-]*);') do
    local length = math.min(now, tonumber(last)) - math.max(from, tonumber(first))
    if length > 0 then due = due + length * (tonumber(rate) - own) end
  end
  return math.floor(due * 1000 / 60)
end

-- How many visitors are in the queue at a provisional turn.
local function undrawn(s)
  if s.events == '' then return 0 end
  return call('ZCOUNT', QUEUE, fmt(PROVISIONAL), '+inf')
end

-- Without events no draw is to come: visitors at provisional turns return to their arrivals.
local function end_draws(s)
  if s.events ~= '' then return end
  repeat
    local visitors = call('ZRANGEBYSCORE', QUEUE, fmt(PROVISIONAL), '+inf', 'LIMIT', 0, 1000)
    local places = {}
    if #visitors > 0 then
      local turns = call('ZMSCORE', QUEUE, unpack_(visitors))
      for i = 1, #visitors do add_pair(places, fmt(tonumber(turns[i]) - PROVISIONAL), visitors[i]) end
    end
    for_all('ZADD', QUEUE, places)
  until #visitors == 0
  call('DEL', LANES)
end

-- A level without what is more than `burst` whole admissions; admissions that were given back may
-- have left the fraction of the next one on top of them.
local function capped(level) return math.min(level, burst * UNIT + level % UNIT) end

-- The bucket's level now: with the admissions that fell due since it was filled, up to `burst`.
local function level_of(s)
  local rate = rate_of(s)
  if rate <= 0 then return 0 end
  if s.filled_at == now then return s.level end
  local level = s.level + due_since(s, s.filled_at)
  return math.min(level, math.max(burst * UNIT, capped(s.level)))
end

local function refill(s)
  s.level, s.filled_at = level_of(s), now
end

local function whole(level) return math.floor(level / UNIT) end

-- Takes `count` admissions: from the bucket first, then from what the operator granted. Returns how
-- many of them came from the bucket.
local function pay(s, count)
  refill(s)
  local by_rate = math.min(count, whole(s.level))
  s.level = s.level - by_rate * UNIT
  s.grants = s.grants - (count - by_rate)
  return by_rate
end

-- What a release cost, as the deadline of an active visitor says it.
local FREE, BY_GRANT = '0', '-1'

-- Gives back what these unclaimed releases cost, of the rate's admissions at most `burst`. The caller
-- may release others for it at once, and then caps the level. 
local function give_back(s, deadlines)
  -- A store that fell back to a copy lists releases that were claimed or given back since.
  if now < s.recovering_until then return end
  local by_rate = 0
  for i = 1, #deadlines do
    local deadline = tonumber(deadlines[i]) or 0
    if deadline > 0 then
      by_rate = by_rate + 1
    elseif deadline < 0 then
      s.grants = s.grants + 1
    end
  end
  refill(s)
  if rate_of(s) > 0 then s.level = s.level + math.min(by_rate, burst) * UNIT end
end

-- Notes that these visitors did not claim their release: from the second time on they have a turn
-- at the end of the line. A full store forgets it.
local function note_missed(s, visitors)
  local misses, marks = call('ZMSCORE', MISSED, unpack_(visitors)), {}
  for i = 1, #visitors do
    if misses[i] then
      s.last = math.max(s.last + 1, now)
      add_pair(marks, fmt(s.last), visitors[i])
    else
      add_pair(marks, fmt(-now), visitors[i])
    end
  end
  redis.pcall('ZADD', MISSED, unpack_(marks))
end

-- Ends the slots whose pass or claim window has expired, at most `most` of each kind; returns how
-- many. It remembers for `spent_us` that these visitors used their ticket. That is no revocation: a
-- pass of theirs that is still valid (the store missed its use) keeps counting.
local function expire_slots(s, most, spent_us)
  local guesses = math.min(call('ZCOUNT', UNCONFIRMED, '-inf', fmt(now)), most)
  if guesses > 0 then call('ZREMRANGEBYRANK', UNCONFIRMED, 0, fmt(guesses - 1)) end
  local ended = call('ZRANGEBYSCORE', ACTIVE, '-inf', fmt(now), 'LIMIT', 0, fmt(most))
  if #ended == 0 then return guesses end
  local deadlines = call('HMGET', DEADLINES, unpack_(ended))
  local unclaimed, costs, claimed, spent = {}, {}, {}, {}
  for i = 1, #ended do
    if deadlines[i] then
      unclaimed[#unclaimed + 1] = ended[i]
      costs[#costs + 1] = deadlines[i]
    else
      claimed[#claimed + 1] = ended[i]
      add_pair(spent, fmt(now + spent_us), ended[i])
    end
  end
  for_all('HDEL', DEADLINES, unclaimed)
  for_all('ZREM', ACTIVE, unclaimed)
  s.abandoned = s.abandoned + #unclaimed
  if #unclaimed > 0 then
    -- Counted beside the state: it decides nothing. A full store forgets it.
    redis.pcall('HINCRBY', STATE, 'no_shows', fmt(#unclaimed))
    give_back(s, costs)
    note_missed(s, unclaimed)
  end
  -- Last, because a full store refuses it.
  for_all('ZADD', SPENT, spent)
  for_all('ZREM', ACTIVE, claimed)
  for_all('HDEL', SESSIONS, claimed)
  return guesses + #ended
end

-- How many more visitors may claim or be released; UNLIMITED when there is no limit.
local function free_slots()
  if max_active <= 0 then return UNLIMITED end
  return math.max(max_active - call('ZCARD', ACTIVE), 0)
end

-- Confirmed and unconfirmed slots.
local function count_slots() return call('ZCARD', ACTIVE) + call('ZCARD', UNCONFIRMED) end

-- Gives up the oldest unconfirmed slots where confirmed visitors need them.
local function yield_unconfirmed()
  if max_active <= 0 then return end
  local excess = count_slots() - max_active
  if excess > 0 then call('ZREMRANGEBYRANK', UNCONFIRMED, 0, fmt(excess - 1)) end
end

-- Whom the phase admits, by the table of `policy/phase.py`: 'open', every visitor whatever the rate
-- and the slots; 'closed', none; 'rate', as many as `admission_gate` says.
local function phase_gate(s)
  if s.mode == 'open' then return 'open' end
  if s.mode ~= 'auto' then return 'closed' end
  local phase = window_of(s)
  return (phase and phase ~= 'r' or undrawn(s) > 0) and 'closed' or 'rate'
end

-- The same now, and how many admissions are due: with 'rate', the whole admissions in the bucket and
-- those that the operator granted. `returning` asks for a visitor at or below the watermark whom the
-- store does not know as released. While the store recovers from a loss the bucket is theirs alone,
-- and the gate is closed to newcomers and to the queue; at any other time it is closed to them.
local function admission_gate(s, returning)
  local is_recovering = now < s.recovering_until
  if is_recovering ~= returning then return 'closed', 0 end
  local gate = phase_gate(s)
  if gate == 'open' and not returning then return 'open', UNLIMITED end
  if gate ~= 'rate' then return 'closed', 0 end
  local by_rate = whole(level_of(s))
  return 'rate', returning and by_rate or by_rate + s.grants
end

-- Whether a newcomer may go straight through, with `waiting` visitors in the queue and `slots`
-- held: no admission that a confirmed visitor may need is spent on a guess. Half the bucket is kept
-- for them, at least one whole admission where it holds two, and all that the operator granted.
-- Returns the gate, 'open' or 'rate', or false.
local function has_room(s, waiting, slots)
  local gate = admission_gate(s, false)
  if gate == 'open' then return gate end
  local level = level_of(s)
  return gate == 'rate' and waiting == 0 and level >= math.min(burst, 2) * UNIT
    and level * 2 > burst * UNIT and (max_active <= 0 or slots < max_active) and gate
end

-- After a loss: how many visitors may still claim a slot that was theirs before it.
local function claims_left(s)
  return now < s.recovering_until and math.max(s.claims_until - s.admitted, 0) or 0
end

-- Every reply begins with the state as the replicas know it.
local function reply_with(s)
  local waiting, slots = call('ZCARD', QUEUE), count_slots()
  local expected = math.max(call('HLEN', DEADLINES) - waiting, 0) + claims_left(s)
  return { fmt(s.epoch), fmt(s.version), s.mode, s.rate, s.message, s.overrides, s.events,
    fmt(s.watermark), fmt(s.last), fmt(s.grants), fmt(s.arrived), fmt(s.released),
    fmt(s.admitted), fmt(s.abandoned), fmt(s.recovering_until), fmt(s.revocations), fmt(waiting),
    fmt(slots), fmt(expected), fmt(call('ZCARD', REPLICAS)), fmt(undrawn(s)), fmt(now),
    has_room(s, waiting, slots) and '1' or '0' }
end
