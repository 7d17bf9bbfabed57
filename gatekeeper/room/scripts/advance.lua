-- advance: release what is due from the head of the line, after sweeping those who left.
--
-- ARGV  1 replica ('' for an operator, who is none)   2 burst   3 max_active (0: no limit)   4 claim_timeout, microseconds
--       5 how long a spent ticket is remembered   6 most releases   7 most swept
-- Reply the state, then how many were released, then '1' when one call could not do all that is
--       due, else '0'; 'behind' when the store knows less than the caller.
--
-- Guarantee. Releases strictly by arrival, never beyond rate, burst, grants and slots, and never
-- someone whose deadline has passed. The watermark only rises. Any number of replicas may call it
-- at any time: what one took is gone for the others. However many ghosts there are, one call ends
-- with about `most swept` of them, and what is left is the next one's.

local replica, burst, max_active = ARGV[1], number(ARGV[2]), number(ARGV[3])
local claim_us, spent_us = number(ARGV[4]), number(ARGV[5])
local most_released, most_swept = number(ARGV[6]), number(ARGV[7])
local REPLICA_FORGOTTEN_AFTER = 5000000
-- All replicas together look at the whole line once in LAP, at every call at least at LEAST.
local LAP, LEAST = 20000000, 100
local CHUNK = 100

local s = load_state()
if not s then return { 'behind' } end
refill(s, burst)
local is_full = false
if replica ~= '' then
  local said = redis.pcall('ZADD', REPLICAS, fmt(now), replica)
  is_full = type(said) == 'table' and said.err ~= nil
  s.attended_at = now
end
-- Removals first: at maxmemory they still work, and make room.
call('ZREMRANGEBYSCORE', REPLICAS, '-inf', fmt(now - REPLICA_FORGOTTEN_AFTER))
call('ZREMRANGEBYSCORE', REVOKED, '-inf', fmt(now))
call('ZREMRANGEBYSCORE', SPENT, '-inf', fmt(now))

-- How many are to be released by this call.
local function count_due()
  if now < s.recovering_until then return 0 end
  if s.mode == 'open' then return most_released end
  if s.mode ~= 'auto' then return 0 end
  return math.min(whole(s.level) + s.grants, free_slots(max_active), most_released)
end

-- Walk on along the line, at the pace at which a lap takes LAP, and not so far where many are to be
-- released. Returns how many were swept, and whether more are due than one call may look at. A full
-- store does not keep how far we came, so there the clock says where to look.
local function walk()
  local waiting = call('ZCARD', QUEUE)
  local owed = math.min(now - s.walked_at, LAP) / LAP * waiting
  local stretch = math.floor(math.max(math.min(owed, most_swept - count_due()), LEAST))
  local from = s.walked
  if waiting <= stretch or from >= waiting then
    from = 0
  elseif is_full then
    from = math.floor(now / 1000) % waiting
  end
  local looked = call('ZRANGE', QUEUE, fmt(from), fmt(from + stretch - 1))
  local absent = {}
  if #looked > 0 then
    local deadlines = call('HMGET', DEADLINES, unpack_(looked))
    for i = 1, #looked do
      if has_passed(deadlines[i]) then absent[#absent + 1] = looked[i] end
    end
    for_all('HDEL', DEADLINES, absent)
    for_all('ZREM', QUEUE, absent)
  end
  s.abandoned = s.abandoned + #absent
  s.walked = from + #looked - #absent
  s.walked_at = now
  local behind = owed - #looked
  if behind > 0 then s.walked_at = now - math.floor(behind / (waiting - #absent) * LAP) end
  return #absent, owed > most_swept
end

local swept, is_behind = walk()
local most_ended = math.max(most_swept - swept, LEAST)
local ended = expire_slots(s, most_ended, spent_us)
is_behind = is_behind or ended == most_ended

local due = count_due()

-- Ghosts at the head that the walk has not come to are passed over, and not too many either.
local most_passed = math.max(most_ended - ended, LEAST)
local released, passed_over = 0, 0
local slot_until = fmt(now + claim_us)
while released < due and passed_over < most_passed do
  local heads = call('ZRANGE', QUEUE, 0, CHUNK - 1)
  if #heads == 0 then break end
  local deadlines = call('HMGET', DEADLINES, unpack_(heads))
  local ghosts, slots, taken, last = {}, {}, 0, nil
  for i = 1, #heads do
    if released >= due then break end
    taken = i
    if has_passed(deadlines[i]) then
      ghosts[#ghosts + 1] = heads[i]
    else
      last = heads[i]
      add_pair(slots, slot_until, last)
      released = released + 1
    end
  end
  if last then s.watermark = math.max(s.watermark, score(QUEUE, last)) end
  for_all('ZADD', ACTIVE, slots)
  for_all('HDEL', DEADLINES, ghosts)
  call('ZREMRANGEBYRANK', QUEUE, 0, taken - 1)
  s.abandoned = s.abandoned + #ghosts
  passed_over = passed_over + #ghosts
end
is_behind = is_behind or passed_over >= most_passed or released >= most_released
s.walked = math.max(s.walked - released - passed_over, 0)
if s.mode == 'auto' then
  local by_rate = math.min(released, whole(s.level))
  s.level = s.level - by_rate * UNIT
  s.grants = s.grants - (released - by_rate)
end
s.released = s.released + released
save_state(s, released + swept + ended + passed_over > 0)
local reply = reply_with(s)
reply[#reply + 1] = fmt(released)
reply[#reply + 1] = is_behind and '1' or '0'
return reply
