-- leave: visitors give back their place or slot, or an operator takes it.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 how long a pass of the visitors could still be valid, microseconds   2 the same for a ticket, if the
--       visitors hold tickets; 0: they may hold passes   3 the number of visitors   4… the visitors, then,
--       only for visitors with tickets, the device of each ticket ('': none)
-- Reply the state, then a string for each visitor: '1' held a slot, '0' held a place, '2' neither; also '2'
--       for the ticket of a device that does not hold the place, which stays as it is. 'behind' if the store
--       is older than what the caller knows.
--
-- Guarantee. No token of these visitors is valid from then on, and the slot is free at once. A release that was
-- not claimed gives back what it cost. A visitor with a ticket and no slot has spent the ticket. That is not
-- a revocation: only the store accepts tickets, so the replicas need not keep these visitors. While
-- `MAX_SPENT` spent tickets are kept, the ticket of a visitor unknown to the store is not kept: either it was
-- never returned or its visitor was absent, so it only gives a place in line.

local MAX_SPENT = 500000 -- 100 bytes each: a client needs two requests for one
local pass_us, ticket_us, leaving = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
if #ARGV ~= 3 + leaving and #ARGV ~= 3 + 2 * leaving then error('a device for each visitor') end

local s = load_state()
if not s then return { 'behind' } end

-- Ends the visitor's slot or place; returns which of them it was.
local function leave(visitor, is_holder)
  -- First the writes that a full store refuses, so that no slot is free while its pass is valid.
  local is_active = score(ACTIVE, visitor)
  local waited = ticket_us > 0 and not is_active and not score(UNCONFIRMED, visitor)
  if not waited then
    if call('ZADD', REVOKED, fmt(now + pass_us), visitor) == 1 then
      s.revocations = s.revocations + 1
    end
    call('ZREM', SPENT, visitor)
  elseif (score(REVOKED, visitor) or 0) <= now then
    local known = score(SPENT, visitor)
    if known or is_holder or score(QUEUE, visitor) or call('ZCARD', SPENT) < MAX_SPENT then
      call('ZADD', SPENT, fmt(math.max(known or 0, now + ticket_us)), visitor)
    end
  end
  local cost = is_active and call('HGET', DEADLINES, visitor)
  if cost then give_back(s, { cost }) end
  local place = call('ZREM', QUEUE, visitor)
  call('ZREM', LANE_POLLS, visitor)
  local slot = math.max(call('ZREM', ACTIVE, visitor), call('ZREM', UNCONFIRMED, visitor))
  call('HDEL', DEADLINES, visitor)
  call('HDEL', SESSIONS, visitor)
  if place == 1 then s.abandoned = s.abandoned + 1 end
  return (slot == 1 and '1') or (place == 1 and '0') or '2'
end

local results = {}
for i = 4, 3 + leaving do
  local holder = ticket_us > 0 and holder_of(s, ARGV[i]) or nil
  local is_elsewhere = holder and holder ~= ARGV[i + leaving]
  results[#results + 1] = is_elsewhere and '2' or leave(ARGV[i], holder)
end
s.level = capped(s.level)
save_state(s, true)
local reply = reply_with(s)
for i = 1, #results do reply[#reply + 1] = results[i] end
return reply
