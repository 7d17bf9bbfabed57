-- admit: an operator releases one visitor of the queue, regardless of the rate.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 claim_timeout, microseconds   2 the visitor
-- Reply the state, then a string: 'released' (by this call), 'held' (the visitor has a slot already),
--       'closed' (the room admits no visitor now), 'unknown' (not in the queue); 'behind' if the store
--       is older than what the caller knows.
--
-- Guarantee. The visitor holds a slot until the claim window ends, like a visitor released by `advance`. The
-- release costs no admission and no grant, and may exceed max_active. The watermark and all other places stay
-- the same. No visitor is released in the modes hold and ended, before and after an event, in its prequeue
-- and during its draw. Calling it twice has the effect of calling it once.

local claim_us, visitor = number(ARGV[1]), ARGV[2]
if not visitor or #ARGV ~= 2 then error('a claim_timeout and a visitor') end

local s = load_state()
if not s then return { 'behind' } end

local result = 'unknown'
if score(ACTIVE, visitor) or score(UNCONFIRMED, visitor) then
  result = 'held'
elseif score(QUEUE, visitor) then
  result = 'closed'
  if phase_gate(s) ~= 'closed' then
    result = 'released'
    -- First the writes that a full store refuses.
    call('ZADD', ACTIVE, fmt(now + claim_us), visitor)
    call('HSET', DEADLINES, visitor, FREE)
    call('ZREM', QUEUE, visitor)
    s.released = s.released + 1
    yield_unconfirmed()
    save_state(s, true)
  end
end
local reply = reply_with(s)
reply[#reply + 1] = result
return reply
