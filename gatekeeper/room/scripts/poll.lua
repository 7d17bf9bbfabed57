-- poll: waiting visitors ask where they stand. The heartbeat, the return, and the claim.
--
-- ARGV  1 heartbeat_timeout, microseconds   2 life of a claimed slot   3 recovery window   4 burst
--       5 max_active   6 one letter for each visitor: 't' or 'p' (holds a ticket, a pass), 's' (a
--       replica asks for a visitor it stamped: the place of the ticket, and no claim) or 'c' (a
--       replica asks for a visitor who is connected to it: a heartbeat, and no claim)
--       7 the turn of each by the token, in 16 digits each, since it is rarely read   8… visitors
-- Reply the state, then for each visitor the number of visitors ahead while waiting, 'in' when
--       admitted, 'void' (left, revoked, ticket spent); 'behind' when the store is older
--       than what the caller knows.
--
-- Guarantee. A visitor who polls is not swept for `heartbeat_timeout`. A released visitor holds the
-- slot from now on. An unknown visitor (was absent, was stamped without the store, or the store
-- lost everything) returns to their own turn: at the head of the queue if that was released
-- meanwhile. While the store recovers from a loss, the watermark says who may enter, as it does
-- while the store is unreachable: as many as were released and have not claimed, and beyond them as
-- many as fall due. Polling twice has the effect of polling once.

local wait_us, slot_us, window = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local burst, max_active, kinds, turns = number(ARGV[4]), number(ARGV[5]), ARGV[6], ARGV[7]
local asking = #ARGV - 7
if #kinds ~= asking or #turns ~= 16 * asking or string.find(turns, '%D') then
  error('a letter and 16 digits for each visitor')
end
local byte = string.byte
local STAMPED, TICKET, CONNECTED = byte('stc', 1, 3)

local function turn_of(at) return tonumber(string.sub(turns, 16 * at - 15, 16 * at)) end

local s = load_state()
if not s then return { 'behind' } end
local changed = false
local deadline, heartbeats, fields = tenths(present + wait_us), {}, 0

local function heartbeat(visitor)
  heartbeats[fields + 1], heartbeats[fields + 2], fields = visitor, deadline, fields + 2
end

-- Whether a visitor whom the store knows as waiting, or not at all, may enter as one released
-- before the loss. Nothing tells these apart from visitors who were absent when the watermark
-- passed them, so the absent ones must not use up what is due to the others.
local function may_enter(at, kind)
  if now >= s.recovering_until or kind ~= TICKET or turn_of(at) > s.watermark
    or free_slots(max_active) <= 0 then return false end
  if claims_left(s) > 0 then return true end
  local _, due = admission_gate(s, burst, true)
  return due > 0
end

local standings = {}
for at = 1, asking do
  local visitor, kind = ARGV[at + 7], byte(kinds, at)
  local standing
  -- A stamped visitor may have a place by a call whose reply was lost; the ticket's turn counts.
  local ahead = kind ~= STAMPED and call('ZRANK', QUEUE, visitor)
  if ahead and not may_enter(at, kind) then
    heartbeat(visitor)
    standing = ahead
  elseif score(ACTIVE, visitor) then
    standing = 'in'
    if kind ~= STAMPED and kind ~= CONNECTED then
      call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
      -- A visitor with a pass, or whose turn no release has reached, was counted on arrival.
      if call('HDEL', DEADLINES, visitor) == 1 and kind == TICKET
        and turn_of(at) <= math.max(s.watermark, s.reached) then
        s.admitted = s.admitted + 1
        changed = true
      end
    end
  elseif (score(REVOKED, visitor) or score(SPENT, visitor) or 0) > now then
    standing = 'void'
  elseif may_enter(at, kind) then
    standing = 'in'
    -- They may be connected besides, and so in this batch twice.
    for_all('HSET', DEADLINES, heartbeats)
    heartbeats, fields = {}, 0
    call('ZREM', QUEUE, visitor)
    call('HDEL', DEADLINES, visitor)
    call('ZADD', ACTIVE, fmt(now + slot_us), visitor)
    if claims_left(s) <= 0 then
      pay(s, 1)
      s.released = s.released + 1
    end
    s.admitted, changed = s.admitted + 1, true
  else
    local turn = turn_of(at)
    -- A turn from before this store was born: other visitors like this one are about to return. (An
    -- epoch in the future is a clock that is behind; join has started the recovery then.)
    if turn < s.epoch and s.epoch <= now and now < s.epoch + window
      and s.recovering_until < s.epoch + window then
      s.recovering_until = s.epoch + window
    end
    -- Stamped by a clock that runs ahead, or newer than what the store remembers: every arrival
    -- from now on is later.
    if turn > s.last then s.last = turn end
    call('ZADD', QUEUE, fmt(turn), visitor)
    heartbeat(visitor)
    standing = call('ZRANK', QUEUE, visitor)
    changed = true
  end
  standings[at] = standing
end
for_all('HSET', DEADLINES, heartbeats)
if changed or s.was_unattended or s.filled_at ~= stored.filled_at then save_state(s, changed) end
local reply = reply_with(s)
for i = 1, #standings do reply[#reply + 1] = standings[i] end
return reply
