-- advance: release what is due from the head of the line, after sweeping those who left.
--
-- ARGV  1 replica ('' for an operator, who is none)   2 burst   3 max_active (0: no limit)   4 claim_within, microseconds
--       5 how long a spent ticket is remembered   6 most releases   7 most swept
-- Reply the state, then how many were released; 'empty' when the store holds no state.
--
-- Guarantee. Releases strictly by arrival, never beyond rate, burst, grants and slots, and never
-- someone whose deadline has passed. The watermark only rises. Any number of replicas may call it
-- at any time: what one took is gone for the others.

local replica, burst, max_active = ARGV[1], number(ARGV[2]), number(ARGV[3])
local claim_us, spent_us = number(ARGV[4]), number(ARGV[5])
local most_released, most_swept = number(ARGV[6]), number(ARGV[7])
local REPLICA_FORGOTTEN_AFTER = 5000000

local s = load_state()
if not s then return { 'empty' } end
refill(s, burst)
-- Removals first: at maxmemory they still work, and make room.
redis.call('ZREMRANGEBYSCORE', REPLICAS, '-inf', fmt(now - REPLICA_FORGOTTEN_AFTER))
redis.call('ZREMRANGEBYSCORE', REVOKED, '-inf', fmt(now))
redis.call('ZREMRANGEBYSCORE', SPENT, '-inf', fmt(now))

local swept = expire_slots(s, most_swept, spent_us)
local unseen = redis.call('ZRANGEBYSCORE', SEEN, '-inf', fmt(present), 'LIMIT', 0, most_swept)
for i = 1, #unseen do
  redis.call('ZREM', SEEN, unseen[i])
  if redis.call('ZREM', QUEUE, unseen[i]) == 1 or redis.call('ZREM', ACTIVE, unseen[i]) == 1 then
    s.abandoned = s.abandoned + 1
    swept = swept + 1
  end
end

if replica ~= '' then
  redis.call('ZADD', REPLICAS, fmt(now), replica)
  s.attended_at = now
end

local due = 0
if now >= s.recovering_until then
  if s.mode == 'auto' then
    due = math.min(whole(s.level) + s.grants, free_slots(max_active), most_released)
  elseif s.mode == 'open' then
    due = most_released
  end
end

-- Ghosts at the head that the sweep has not come to are passed over, at most `most_swept`, too:
-- a flood of them must not make one call block the store for all.
local released, passed_over = 0, 0
while released < due and passed_over < most_swept do
  local heads = redis.call('ZRANGE', QUEUE, 0, 99, 'WITHSCORES')
  if #heads == 0 then break end
  for i = 1, #heads, 2 do
    if released >= due then break end
    local visitor, arrival = heads[i], tonumber(heads[i + 1])
    redis.call('ZREM', QUEUE, visitor)
    if (score(SEEN, visitor) or 0) <= present then
      redis.call('ZREM', SEEN, visitor)
      s.abandoned = s.abandoned + 1
      passed_over = passed_over + 1
    else
      redis.call('ZADD', SEEN, fmt(present + claim_us), visitor)
      redis.call('ZADD', ACTIVE, fmt(now + claim_us), visitor)
      if arrival > s.watermark then s.watermark = arrival end
      released = released + 1
    end
  end
end
if s.mode == 'auto' then
  local by_rate = math.min(released, whole(s.level))
  s.level = s.level - by_rate * UNIT
  s.grants = s.grants - (released - by_rate)
end
s.released = s.released + released
save_state(s, released > 0 or swept + passed_over > 0)
local reply = reply_with(s)
reply[#reply + 1] = fmt(released)
return reply
