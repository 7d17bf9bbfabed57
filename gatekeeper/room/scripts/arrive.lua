-- arrive: newcomers take a free slot at once, or a place at the end of the line.
--
-- ARGV  1 burst   2 max_active (0: no limit)   3 confirm_timeout, microseconds: a place is held so
--       long until the newcomer asks again   4 the same for a slot   5 how long a spent ticket is
--       remembered   6… visitors
-- Reply the state, then for each visitor the arrival, and the number of people ahead of one who has
--       a place or 'in' for one who has a slot; 'behind' when the store knows less than the caller
--       (join, then call again).
--
-- Guarantee. Arrivals are unique and rise in the order of the calls. A slot is given only while
-- nobody waits, within rate, burst, grants and max_active. A visitor who is known already gets
-- what they have: no second place, no second slot.

local burst, max_active = number(ARGV[1]), number(ARGV[2])
local place_us, slot_us, spent_us = number(ARGV[3]), number(ARGV[4]), number(ARGV[5])

local s = load_state()
if not s then return { 'behind' } end
refill(s, burst)

local waiting = call('ZCARD', QUEUE)
local due = 0
if now >= s.recovering_until and waiting == 0 then
  if s.mode == 'auto' then
    due = whole(s.level) + s.grants
  elseif s.mode == 'open' then
    due = #ARGV
  end
end
local free = 0
if due > 0 then
  free = free_slots(max_active)
  if free < #ARGV - 5 and expire_slots(s, 100, spent_us) > 0 then free = free_slots(max_active) end
  if s.mode == 'open' then free = #ARGV end
end

local arrivals = call('ZMSCORE', QUEUE, unpack_(ARGV, 6))
local slots = call('ZMSCORE', ACTIVE, unpack_(ARGV, 6))
local given, places, entered, deadlines = {}, {}, {}, {}
local place_until, slot_until = tenths(present + place_us), tenths(present + slot_us)
local answers = {}
for i = 6, #ARGV do
  local visitor, at = ARGV[i], 2 * i - 11
  local twin, arrival, answer = given[visitor], nil, 'in'
  if twin then  -- twice in this batch
    arrival, answer = answers[twin], answers[twin + 1]
  elseif arrivals[i - 5] then
    arrival, answer = fmt(tonumber(arrivals[i - 5])), call('ZRANK', QUEUE, visitor)
  elseif slots[i - 5] then
    arrival = fmt(s.last)
  else
    s.last = math.max(s.last + 1, now)
    s.arrived = s.arrived + 1
    arrival = fmt(s.last)
    if due > 0 and free > 0 and waiting == 0 then
      due, free = due - 1, free - 1
      if s.mode == 'auto' then
        if whole(s.level) > 0 then s.level = s.level - UNIT else s.grants = s.grants - 1 end
      end
      s.admitted = s.admitted + 1
      add_pair(entered, fmt(now + slot_us), visitor)
      add_pair(deadlines, visitor, slot_until)
    else
      answer = waiting
      waiting = waiting + 1
      add_pair(places, arrival, visitor)
      add_pair(deadlines, visitor, place_until)
    end
    given[visitor] = at
  end
  answers[at], answers[at + 1] = arrival, answer
end
for_all('ZADD', ACTIVE, entered)
for_all('ZADD', QUEUE, places)
for_all('HSET', DEADLINES, deadlines)
save_state(s, true)
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
