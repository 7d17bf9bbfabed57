-- poll: waiting visitors ask where they stand. The heartbeat, the return, and the claim.
--
-- ARGV  1 heartbeat_timeout, microseconds   2 life of a claimed slot   3 recovery window   4 burst
--       5 max_active   6 a letter for each visitor: 't' or 'p' (with a ticket, a pass) or 's' (a
--       replica asks for one it stamped: the place of their ticket, and no claim) or 'c' (it asks
--       for one who is connected to it: a heartbeat, but no claim)
--       7 the arrival of each by their token, in 16 digits, for it is seldom asked for   8… visitors
-- Reply the state, then for each visitor the number of people ahead of one who waits, 'in' for one
--       who is admitted, 'gone' (left, revoked, ticket spent); 'behind' when the store knows less
--       than the caller.
--
-- Guarantee. One who waits is not swept for `heartbeat_timeout`. One who was released holds the slot
-- from now on. One who is unknown (was away, was stamped without the store, or the store lost
-- everything) comes back to their own place by arrival: to the head if it was released meanwhile.
-- While the store recovers from a loss, the watermark says who may enter, as it does while the store
-- is away: as many as were released and had not come, and beyond them as many as fall due meanwhile.
-- Polling twice is polling once.

local wait_us, slot_us, window = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local burst, max_active, kinds, arrivals = number(ARGV[4]), number(ARGV[5]), ARGV[6], ARGV[7]
local asking = #ARGV - 7
if #kinds ~= asking or #arrivals ~= 16 * asking or string.find(arrivals, '%D') then
  error('a letter and 16 digits for each visitor')
end
local byte = string.byte
local STAMPED, TICKET, CONNECTED = byte('stc', 1, 3)

local function arrival_of(at) return tonumber(string.sub(arrivals, 16 * at - 15, 16 * at)) end

local s = load_state()
if not s then return { 'behind' } end
local changed = false
local deadline, heartbeats, beats = tenths(present + wait_us), {}, 0

local function beat(visitor)
  heartbeats[beats + 1], heartbeats[beats + 2], beats = visitor, deadline, beats + 2
end

-- Of one whom the store knows as waiting, or not at all; fills the bucket where it has to look there.
-- Who was released and who was away just then nobody can tell apart any more, so those who were away
-- must not use up what is the others'.
local function was_released(at, kind)
  if now >= s.recovering_until or kind ~= TICKET or arrival_of(at) > s.watermark
    or free_slots(max_active) <= 0 then return false end
  if claims_left(s) > 0 then return true end
  if s.mode ~= 'auto' then return false end
  refill(s, burst)
  return whole(s.level) > 0
end

local answers = {}
for at = 1, asking do
  local visitor, kind = ARGV[at + 7], byte(kinds, at)
  local answer
  -- One who was stamped may have a place by a call whose answer was lost: theirs is by the ticket.
  local ahead = kind ~= STAMPED and call('ZRANK', QUEUE, visitor)
  if ahead and not was_released(at, kind) then
    beat(visitor)
    answer = ahead
  elseif score(ACTIVE, visitor) then
    answer = 'in'
    if kind ~= STAMPED and kind ~= CONNECTED then
      call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
      -- One with a pass, or whom no release has reached, was counted when let through on arrival.
      if call('HDEL', DEADLINES, visitor) == 1 and kind == TICKET
        and arrival_of(at) <= s.watermark then
        s.admitted = s.admitted + 1
        changed = true
      end
    end
  elseif (score(REVOKED, visitor) or score(SPENT, visitor) or 0) > now then
    answer = 'gone'
  elseif was_released(at, kind) then
    answer = 'in'
    -- They may be connected besides, and so in this batch twice.
    for_all('HSET', DEADLINES, heartbeats)
    heartbeats, beats = {}, 0
    call('ZREM', QUEUE, visitor)
    call('HDEL', DEADLINES, visitor)
    call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
    if claims_left(s) <= 0 then s.level, s.released = s.level - UNIT, s.released + 1 end
    s.admitted, changed = s.admitted + 1, true
  else
    local arrival = arrival_of(at)
    -- A ticket from before this store was born: others like it are on their way. (An epoch in the
    -- future is no birth but a clock that is behind; join has seen to the recovery.)
    if arrival < s.epoch and s.epoch <= now and now < s.epoch + window
      and s.recovering_until < s.epoch + window then
      s.recovering_until = s.epoch + window
    end
    -- Stamped by a clock that runs ahead, or newer than what the store remembers: nobody who
    -- arrives from now on comes before them.
    if arrival > s.last then s.last = arrival end
    call('ZADD', QUEUE, fmt(arrival), visitor)
    beat(visitor)
    answer = call('ZRANK', QUEUE, visitor)
    changed = true
  end
  answers[at] = answer
end
for_all('HSET', DEADLINES, heartbeats)
if changed or s.was_unattended or s.filled_at ~= stored.filled_at then save_state(s, changed) end
local reply = reply_with(s)
for i = 1, #answers do reply[#reply + 1] = answers[i] end
return reply
