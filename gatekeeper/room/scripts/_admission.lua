-- How a room admits: its events, the bucket, slots, and the recovery from a loss. Loaded in front of
-- every script, after `_room.lua`.
--
-- Recovery. Until `recovering_until` the queue fills again by the polls of its visitors, and any of
-- them may still be missing. `advance` releases some before that: those of whom every visitor ahead
-- had the time to poll. Each replica that served the room before the loss reports up to which turn
-- that is so for its own visitors, and `to_report` of them must; 0: no loss, or of unknown extent.
-- The reports are `reports`, "replica time turn;" for each. `slots_before` plus `released` is at
-- least the number of slots held, also by visitors whom the store does not know yet; -UNLIMITED: no
-- loss.
--
-- Claims of before the loss. A visitor who was released and had not claimed enters at once: others
-- of the same release may have entered already. The store lost who these are, but of a visitor at or
-- below the watermark it is known by the ticket whether they have returned to a turn that had passed
-- them, and wait for the next admission. A visitor that has not was released after `owed_from`, or too
-- long ago to claim; a visitor that has was released again only at or below `again_through`, and only if
-- they came back before that, when fewer than `again_at` had been released in all. Until `admitted`
-- is `claims_until` (0: nothing is owed) such a claim is paid; a visitor who was absent, and comes
-- within that span, cannot be distinguished and takes one, so claims beyond are taken from the bucket in
-- advance, at most a burst. `releases` keeps these bounds while a store is whole (`advance`).

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

-- The admissions due between `from` and now, in units of the level.
local function due_since(s, from)
  local own = (tonumber(s.rate) or 0) + 0.0
  local due = (now - from) * own
  for first, last, _, rate in string.gmatch(s.windows, '(%d+) (%d+) (%a) (%d[%d.e+-]*);') do
    local length = math.min(now, tonumber(last)) - math.max(from, tonumber(first))
    if length > 0 then due = due + length * (tonumber(rate) - own) end
  end
  return math.floor(due * 1000 / 60)
end

-- The number of visitors in the queue at a provisional turn.
local function undrawn(s)
  if s.events == '' then return 0 end
  return call('ZCOUNT', QUEUE, fmt(PROVISIONAL), '+inf')
end

-- Without events there is no draw: visitors at provisional turns return to their arrivals.
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

local function refill(s) set_level(s, level_of(s)) end

local function whole(level) return math.floor(level / UNIT) end

-- Takes `count` admissions: from the bucket first, then from what the operator granted. Returns how
-- many of them came from the bucket.
local function pay(s, count)
  refill(s)
  local by_rate = math.min(count, math.max(whole(s.level), 0))
  s.level = s.level - by_rate * UNIT
  s.grants = s.grants - (count - by_rate)
  return by_rate
end

-- The cost of a release, encoded in the deadline of an active visitor.
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

-- Ends the slots whose pass or claim window has expired, at most `max_each` of each kind; returns how
-- many. It remembers for `spent_us` that these visitors used their ticket. That is no revocation: a
-- pass of theirs that is still valid (the store missed its use) keeps counting.
local function expire_slots(s, max_each, spent_us)
  local unconfirmed = math.min(call('ZCOUNT', UNCONFIRMED, '-inf', fmt(now)), max_each)
  if unconfirmed > 0 then call('ZREMRANGEBYRANK', UNCONFIRMED, 0, fmt(unconfirmed - 1)) end
  local ended = call('ZRANGEBYSCORE', ACTIVE, '-inf', fmt(now), 'LIMIT', 0, fmt(max_each))
  if #ended == 0 then return unconfirmed end
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
    -- Counted outside of the state, for reports only. A full store forgets it.
    redis.pcall('HINCRBY', STATE, 'no_shows', fmt(#unclaimed))
    give_back(s, costs)
    note_missed(s, unclaimed)
  end
  -- Last, because a full store refuses it.
  for_all('ZADD', SPENT, spent)
  for_all('ZREM', ACTIVE, claimed)
  for_all('HDEL', SESSIONS, claimed)
  return unconfirmed + #ended
end

-- How many more visitors may claim or be released; UNLIMITED when there is no limit.
local function free_slots()
  if max_active <= 0 then return UNLIMITED end
  return math.max(max_active - call('ZCARD', ACTIVE), 0)
end

-- How many of these no visitor holds of whom the store may not know yet: after a loss, visitors who
-- are inside are counted again as they use their passes.
local function unheld_slots(s)
  local free = free_slots()
  if max_active <= 0 or now >= s.recovering_until then return free end
  return math.max(math.min(free, max_active - s.slots_before - s.released), 0)
end

-- Confirmed and unconfirmed slots.
local function count_slots() return call('ZCARD', ACTIVE) + call('ZCARD', UNCONFIRMED) end

-- Gives up the oldest unconfirmed slots where confirmed visitors need them.
local function yield_unconfirmed()
  if max_active <= 0 then return end
  local excess = count_slots() - max_active
  if excess > 0 then call('ZREMRANGEBYRANK', UNCONFIRMED, 0, fmt(excess - 1)) end
end

-- How the phase admits, by the table of `policy/phase.py`: 'open', every visitor, without rate and
-- slots; 'closed', none; 'rate', as many as `admission_gate` returns.
local function phase_gate(s)
  if s.mode == 'open' then return 'open' end
  if s.mode ~= 'auto' then return 'closed' end
  local phase = window_of(s)
  return (phase and phase ~= 'r' or undrawn(s) > 0) and 'closed' or 'rate'
end

-- How many admissions are due by the rate: the whole ones in the bucket, and those that the operator
-- granted.
local function due_by_rate(s) return math.max(whole(level_of(s)), 0) + s.grants end

-- The gate now, and how many admissions are due. While the store recovers from a loss it is closed,
-- and the bucket is that of early releases (`advance`).
local function admission_gate(s)
  if now < s.recovering_until then return 'closed', 0 end
  local gate = phase_gate(s)
  if gate == 'open' then return 'open', UNLIMITED end
  if gate ~= 'rate' then return 'closed', 0 end
  return 'rate', due_by_rate(s)
end

-- A bucket of one admission keeps none for a visitor who is about to confirm, having arrived less than
-- ABOUT_TO_CONFIRM ago. At SLOW a minute or fewer the next admission is a second away, or more.
local ABOUT_TO_CONFIRM, SLOW = 2000000, 60

local function may_need_the_last(s)
  return burst < 2 and rate_of(s) <= SLOW and now - s.last < ABOUT_TO_CONFIRM
end

-- Whether a newcomer may go straight through, with `waiting` visitors in the queue and `slots`
-- held: no admission of confirmed visitors is spent on an unconfirmed one. Half the bucket is kept
-- for them, at least one whole admission where it holds two, and all that the operator granted; the
-- only admission of a slow bucket while a visitor may be about to confirm. Returns the gate, 'open'
-- or 'rate', or false.
local function has_room(s, waiting, slots)
  local gate = admission_gate(s)
  if gate == 'open' then return gate end
  local level = level_of(s)
  return gate == 'rate' and waiting == 0 and level >= math.min(burst, 2) * UNIT
    and level * 2 > burst * UNIT and not may_need_the_last(s)
    and (max_active <= 0 or slots < max_active) and gate
end

-- After a loss: how many visitors may still claim a slot that was theirs before it.
local function claims_left(s)
  return now < s.recovering_until and math.max(s.claims_until - s.admitted, 0) or 0
end

-- Every reply begins with the state as the replicas know it.
local function reply_with(s)
  local waiting, slots = call('ZCARD', QUEUE), count_slots()
  local expected = math.max(call('HLEN', DEADLINES) - waiting, 0) + claims_left(s)
  local counts_all = s.counts_from > 0 and now >= s.counts_from
  return { fmt(s.epoch), fmt(s.version), s.mode, s.rate, s.message, s.overrides, s.events,
    fmt(s.watermark), fmt(s.last), fmt(s.grants), fmt(s.arrived), fmt(s.released),
    fmt(s.admitted), fmt(s.abandoned), fmt(s.recovering_until), fmt(s.revocations), fmt(waiting),
    fmt(slots), fmt(expected), fmt(call('ZCOUNT', REPLICAS, fmt(now - REPLICA_EXPIRES_AFTER), '+inf')),
    counts_all and fmt(call('ZCARD', REPLICAS)) or '0', fmt(undrawn(s)), fmt(now),
    has_room(s, waiting, slots) and '1' or '0', fmt(s.owed_from), fmt(s.again_through),
    fmt(s.again_at) }
end
