-- arrive: newcomers take a free slot at once, or a place at the end of the line.
--
-- ARGV  1 burst   2 max_active (0: no limit)   3 prove_within, microseconds: a place is held so
--       long until the newcomer asks again   4 the same for a slot   5 how long a spent ticket is
--       remembered   6… visitors
-- Reply the state, then three strings a visitor: '1' slot or '0' place, arrival, people ahead;
--       'empty' when the store holds no state (join, then call again).
--
-- Guarantee. Arrivals are unique and rise in the order of the calls. A slot is given only while
-- nobody waits, within rate, burst, grants and max_active. A visitor who is known already gets
-- what they have: no second place, no second slot.

local burst, max_active = number(ARGV[1]), number(ARGV[2])
local place_us, slot_us, spent_us = number(ARGV[3]), number(ARGV[4]), number(ARGV[5])

local s = load_state()
if not s then return { 'empty' } end
refill(s, burst)

local waiting = redis.call('ZCARD', QUEUE)
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

local answers = {}
for i = 6, #ARGV do
  local visitor = ARGV[i]
  local arrival = score(QUEUE, visitor)
  if arrival then
    answers[#answers + 1] = '0'
    answers[#answers + 1] = fmt(arrival)
    answers[#answers + 1] = fmt(redis.call('ZRANK', QUEUE, visitor))
  elseif score(ACTIVE, visitor) then
    answers[#answers + 1] = '1'
    answers[#answers + 1] = fmt(s.last)
    answers[#answers + 1] = '0'
  else
    s.last = math.max(s.last + 1, now)
    s.arrived = s.arrived + 1
    if due > 0 and free > 0 and waiting == 0 then
      due, free = due - 1, free - 1
      if s.mode == 'auto' then
        if whole(s.level) > 0 then s.level = s.level - UNIT else s.grants = s.grants - 1 end
      end
      s.admitted = s.admitted + 1
      redis.call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
      redis.call('ZADD', SEEN, fmt(present + slot_us), visitor)
      answers[#answers + 1] = '1'
      answers[#answers + 1] = fmt(s.last)
      answers[#answers + 1] = '0'
    else
      redis.call('ZADD', QUEUE, fmt(s.last), visitor)
      redis.call('ZADD', SEEN, fmt(present + place_us), visitor)
      answers[#answers + 1] = '0'
      answers[#answers + 1] = fmt(s.last)
      answers[#answers + 1] = fmt(waiting)
      waiting = waiting + 1
    end
  end
end
save_state(s, true)
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
