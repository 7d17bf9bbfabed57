-- poll: waiting visitors ask where they stand. The heartbeat, the return, and the claim.
--
-- ARGV  1 abandon_after, microseconds   2 life of a claimed slot   3 recovery window
--       4… visitor, arrival by their token, 't' or 'p' (a ticket, a pass) or 's' (a replica asks
--       for one it stamped: a place, but neither heartbeat nor claim), visitor, …
-- Reply the state, then three strings a visitor: '1' admitted, '0' waiting or '2' gone (left,
--       revoked, ticket spent), arrival, people ahead; 'empty' when the store holds no state.
--
-- Guarantee. One who waits is not swept for `abandon_after`. One who was released holds the slot
-- from now on. One who is unknown (was away, was stamped without the store, or the store lost
-- everything) comes back to their own place by arrival: to the head if it was released meanwhile.
-- Polling twice is polling once.

local wait_us, slot_us, window = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local arrivals = {}
for i = 4, #ARGV, 3 do arrivals[i] = number(ARGV[i + 1]) end

local s = load_state()
if not s then return { 'empty' } end
local changed = false

local answers = {}
for i = 4, #ARGV, 3 do
  local visitor, arrival = ARGV[i], arrivals[i]
  local code, ahead = '0', 0
  local rank = redis.call('ZRANK', QUEUE, visitor)
  if rank then
    if ARGV[i + 2] ~= 's' then redis.call('ZADD', SEEN, fmt(present + wait_us), visitor) end
    ahead = rank
  elseif score(ACTIVE, visitor) then
    code = '1'
    if ARGV[i + 2] ~= 's' then
      redis.call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
      -- One who comes with a pass was counted when they were let through on arrival.
      if redis.call('ZREM', SEEN, visitor) == 1 and ARGV[i + 2] == 't' then
        s.admitted = s.admitted + 1
        changed = true
      end
    end
  elseif (score(REVOKED, visitor) or score(SPENT, visitor) or 0) > now then
    code = '2'
  else
    -- A ticket from before this store was born: others like it are on their way. (An epoch in the
    -- future is no birth but a clock that is behind; join has seen to the recovery.)
    if arrival < s.epoch and s.epoch <= now and now < s.epoch + window
      and s.recovering_until < s.epoch + window then
      s.recovering_until = s.epoch + window
    end
    -- Stamped by a clock that runs ahead, or newer than what the store remembers: nobody who
    -- arrives from now on comes before them.
    if arrival > s.last then s.last = arrival end
    redis.call('ZADD', QUEUE, fmt(arrival), visitor)
    redis.call('ZADD', SEEN, fmt(present + wait_us), visitor)
    ahead = redis.call('ZRANK', QUEUE, visitor)
    changed = true
  end
  answers[#answers + 1] = code
  answers[#answers + 1] = fmt(arrival)
  answers[#answers + 1] = fmt(ahead)
end
if changed or s.was_unattended then save_state(s, changed) end
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
