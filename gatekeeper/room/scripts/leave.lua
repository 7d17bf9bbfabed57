-- leave: visitors give back their place or slot, or have it taken.
--
-- ARGV  1 how long their tokens could still be valid, microseconds   2… visitors
-- Reply the state, then a string a visitor: '1' held a slot, '0' a place, '2' neither; 'empty'
--       when the store holds no state.
--
-- Guarantee. From now on no token of theirs is honoured, and the slot is free at once.

local valid_us = number(ARGV[1])

local s = load_state()
if not s then return { 'empty' } end
local answers = {}
for i = 2, #ARGV do
  local visitor = ARGV[i]
  -- First what a full store refuses: no slot is given back whose pass would still count.
  if redis.call('ZADD', REVOKED, fmt(now + valid_us), visitor) == 1 then
    s.revocations = s.revocations + 1
  end
  local waited = redis.call('ZREM', QUEUE, visitor)
  local held = redis.call('ZREM', ACTIVE, visitor)
  redis.call('ZREM', SEEN, visitor)
  redis.call('ZREM', SPENT, visitor)
  if waited == 1 then s.abandoned = s.abandoned + 1 end
  answers[#answers + 1] = (held == 1 and '1') or (waited == 1 and '0') or '2'
end
save_state(s, true)
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
