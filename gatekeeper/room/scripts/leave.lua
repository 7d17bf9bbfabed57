-- leave: visitors give back their place or slot, or have it taken.
--
-- ARGV  1 how long a pass of theirs could still be valid, microseconds   2 how long a ticket, when
--       they came with one; 0: they may hold a pass   3… visitors
-- Reply the state, then a string a visitor: '1' held a slot, '0' a place, '2' neither; 'behind'
--       when the store knows less than the caller.
--
-- Guarantee. From now on no token of theirs is honoured, and the slot is free at once. Who came
-- with a ticket and holds no slot has spent it, and is no revocation: tickets are honoured by the
-- store alone, so nobody else has to remember those who come and go.

local pass_us, ticket_us = number(ARGV[1]), number(ARGV[2])

local s = load_state()
if not s then return { 'behind' } end
local answers = {}
for i = 3, #ARGV do
  local visitor = ARGV[i]
  -- First what a full store refuses: no slot is given back whose pass would still count.
  local waited = ticket_us > 0 and not score(ACTIVE, visitor)
  if not waited then
    if call('ZADD', REVOKED, fmt(now + pass_us), visitor) == 1 then
      s.revocations = s.revocations + 1
    end
    call('ZREM', SPENT, visitor)
  elseif (score(REVOKED, visitor) or 0) <= now then
    local spent = math.max(score(SPENT, visitor) or 0, now + ticket_us)
    call('ZADD', SPENT, fmt(spent), visitor)
  end
  local place = call('ZREM', QUEUE, visitor)
  local slot = call('ZREM', ACTIVE, visitor)
  call('HDEL', DEADLINES, visitor)
  if place == 1 then s.abandoned = s.abandoned + 1 end
  answers[#answers + 1] = (slot == 1 and '1') or (place == 1 and '0') or '2'
end
save_state(s, true)
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
