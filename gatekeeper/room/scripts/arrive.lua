-- arrive: newcomers receive a free slot at once, or a place at the end of the queue.
--
-- ARGV  1 burst   2 max_active (0: no limit)   3 confirm_timeout, microseconds: how long a place is
--       held until the newcomer's next request   4 the same for a slot   5 how long a spent ticket
--       is remembered   6… visitors
-- Reply the state, then for each visitor the turn, and the number of visitors ahead of one with a
--       place or 'in' for one with a slot; 'behind' when the store is older than what the caller
--       knows (join, then call again).
--
-- Guarantee. The turn of a newcomer is the arrival. Arrivals are unique and rise in the order of
-- the calls. A slot is given only while the queue is empty, within rate, burst, grants and
-- max_active. A visitor who is known already keeps what they have: no second place, no second slot.

local burst, max_active = number(ARGV[1]), number(ARGV[2])
local place_us, slot_us, spent_us = number(ARGV[3]), number(ARGV[4]), number(ARGV[5])

local s = load_state()
if not s then return { 'behind' } end
refill(s, burst)

local waiting = call('ZCARD', QUEUE)
local gate, due = admission_gate(s, burst, false)
local free = 0
if due > 0 and waiting == 0 then
  free = free_slots(max_active)
  if free < #ARGV - 5 and expire_slots(s, 100, spent_us) > 0 then free = free_slots(max_active) end
  if gate == 'open' then free = UNLIMITED end
end

local turns = call('ZMSCORE', QUEUE, unpack_(ARGV, 6))
local slots = call('ZMSCORE', ACTIVE, unpack_(ARGV, 6))
local given, places, admitted, deadlines = {}, {}, {}, {}
local place_until, slot_until = tenths(present + place_us), tenths(present + slot_us)
local standings = {}
for i = 6, #ARGV do
  local visitor, at = ARGV[i], 2 * i - 11
  local twin, turn, standing = given[visitor], nil, 'in'
  if twin then  -- twice in this batch
    turn, standing = standings[twin], standings[twin + 1]
  elseif turns[i - 5] then
    turn, standing = fmt(tonumber(turns[i - 5])), call('ZRANK', QUEUE, visitor)
  elseif slots[i - 5] then
    turn = fmt(s.last)
  else
    s.last = math.max(s.last + 1, now)
    s.arrived = s.arrived + 1
    turn = fmt(s.last)
    if due > 0 and free > 0 and waiting == 0 then
      due, free = due - 1, free - 1
      if gate == 'rate' then pay(s, 1) end
      s.admitted = s.admitted + 1
      add_pair(admitted, fmt(now + slot_us), visitor)
      add_pair(deadlines, visitor, slot_until)
    else
      standing = waiting
      waiting = waiting + 1
      add_pair(places, turn, visitor)
      add_pair(deadlines, visitor, place_until)
    end
    given[visitor] = at
  end
  standings[at], standings[at + 1] = turn, standing
end
for_all('ZADD', ACTIVE, admitted)
for_all('ZADD', QUEUE, places)
for_all('HSET', DEADLINES, deadlines)
save_state(s, true)
local reply = reply_with(s)
for i = 1, #standings do reply[#reply + 1] = standings[i] end
return reply
