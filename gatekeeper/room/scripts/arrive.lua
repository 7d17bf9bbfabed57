-- arrive: a newcomer receives a free slot at once, or a turn and no place yet; a request that creates no
-- place takes one admission.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 duration of an unconfirmed slot, microseconds   2 how long to keep a spent ticket,
--       microseconds   3 queue_limit (0: none)   4 one letter for each visitor: 'n' (a newcomer), 'w' (a
--       newcomer who must confirm first and receives no slot), 'i' (like 'w', by an invitation) or 'o'
--       (one request; its visitor is '')   5 the head start of each, microseconds in 16 digits; '': no
--       visitor has one   6… the visitors, then, where there are any, the devices of 'i' in the format of
--       `read_devices`
-- Reply the state, then two strings for each visitor. Newcomer with a slot: the arrival and 'in'. Newcomer
--       without: the arrival ('arrival turn' if the turn differs) and the number of visitors in the queue.
--       No place: '0' and 'full', for 'i' also '0' and 'elsewhere' or 'used'. One request: '0', and 'in'
--       or 'no'. 'behind' if the store is older than what the caller knows (join, then call again).
--
-- Guarantee. The turn of a newcomer is the arrival. A head start moves it forward, but not to or before a
-- turn of which a visitor was released. In the prequeue of a draw the turn stays the arrival; after a
-- draw it is not before the prequeue. Arrivals are unique and rise in the order of the calls.
-- A newcomer receives a slot, and one request an admission, only while there is room (`has_room`); 'w'
-- and 'i' never receive a slot. While many slots are unconfirmed, a newcomer receives one only from a
-- full bucket. The store keeps nothing of a newcomer who waits: the ticket is the place, and the first
-- poll with it puts the visitor into the queue. A visitor who has a slot or a place gets no second one.
-- No turn is given while `queue_limit` visitors are in the queue, and one call gives no more turns than
-- are free. Earlier turns are not counted, since a client without cookies would fill the line. The queue
-- can therefore exceed the limit by the number of tickets that were given but not returned.
-- Several devices may wait with one invitation until one of them claims; the others are 'elsewhere' from
-- then on. After the session, a claimed invitation is 'used'; so is every invitation of a revoked visitor.
-- A later invitation starts again: the device that redeems it holds the place, and no earlier ticket
-- returns to its turn. A place that was moved to a device is 'elsewhere' for every invitation while a
-- ticket of that device may be valid, unless the visitor left.

local slot_us, spent_us, queue_limit = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local kinds, head_starts, asking = ARGV[4], ARGV[5], #ARGV[4]
if #ARGV < 5 + asking then error('a letter for each visitor') end
local ticket_us, devices, expiries = read_devices(6 + asking)
if head_starts ~= '' and (#head_starts ~= 16 * asking or string.find(head_starts, '%D')) then
  error('16 digits for each visitor')
end
local byte = string.byte
local ONE_REQUEST, NEWCOMER = byte('on', 1, 2)

local s = load_state()
if not s then return { 'behind' } end
refill(s)

local waiting, slots, changed = call('ZCARD', QUEUE), count_slots(), false
local free = queue_limit > 0 and queue_limit - waiting or UNLIMITED
if waiting == 0 and max_active > 0 and slots + asking > max_active
  and expire_slots(s, 100, spent_us) > 0 then
  slots, changed, s.level = count_slots(), true, capped(s.level)
end
-- Newcomers whom the store knows already, from an earlier call whose reply was lost.
local held, confirmed, queued = {}, {}, {}
-- How many slots are unconfirmed, and how many admissions fall due while one is.
local unconfirmed, due_meanwhile = 0, 0
if has_room(s, waiting, slots) then
  held = call('ZMSCORE', UNCONFIRMED, unpack_(ARGV, 6, 5 + asking))
  confirmed = call('ZMSCORE', ACTIVE, unpack_(ARGV, 6, 5 + asking))
  if waiting > 0 then queued = call('ZMSCORE', QUEUE, unpack_(ARGV, 6, 5 + asking)) end
  unconfirmed, due_meanwhile = call('ZCARD', UNCONFIRMED), rate_of(s) / 60 * slot_us / 1000000
end

-- A flood of clients without cookies holds as many unconfirmed slots as admissions fall due while one lasts.
-- A crowd of visitors holds fewer: half a bucket at once, and visitors who have not confirmed yet. Above that a
-- newcomer takes only what a full bucket would lose, so that it stays full for visitors who confirm.
local function may_enter_unconfirmed()
  return unconfirmed <= burst / 2 + due_meanwhile / 8 + 0.5 or level_of(s) >= burst * UNIT
end

local given, admitted, standings = {}, {}, {}
local function admit(is_newcomer)
  local gate = has_room(s, waiting, slots)
  if not gate or gate == 'rate' and is_newcomer and not may_enter_unconfirmed() then return false end
  if gate == 'rate' then pay(s, 1) end
  changed = true
  return true
end

-- The turn of a visitor with a head start. In the prequeue of a draw, the draw orders the visitor; after
-- it no turn is before that prequeue, where the lanes of the draw stand.
local function turn_ahead(arrival, head_start)
  local lowest = math.max(s.watermark, s.reached) + 1
  for first, last in string.gmatch(s.windows, '(%d+) (%d+) p ') do
    local from, until_ = tonumber(first), tonumber(last)
    if from <= arrival and arrival < until_ then return arrival end
    if until_ <= arrival then lowest = math.max(lowest, from) end
  end
  return math.min(arrival, math.max(arrival - head_start, lowest))
end

-- The turn of the newcomer who arrives now.
local function turn_at(i)
  local arrival = fmt(s.last)
  if head_starts == '' then return arrival end
  local head_start = tonumber(string.sub(head_starts, 16 * i - 15, 16 * i))
  local turn = fmt(turn_ahead(s.last, head_start))
  return turn == arrival and arrival or arrival .. ' ' .. turn
end

-- Why an invited visitor gets no place, or nil; and whether the visitor has one already.
local function refusal(i, visitor)
  if (score(REVOKED, visitor) or 0) > now then return 'used' end
  local device, expiry, since, is_moved = holder_of(s, visitor)
  local is_active = score(ACTIVE, visitor)
  if is_active or score(QUEUE, visitor) then
    local has_claimed = is_active and call('HEXISTS', SESSIONS, visitor) == 1
    return (device or has_claimed) and 'elsewhere' or nil, true
  end
  if device and expiry >= expiries[i] then return 'used' end
  local is_spent = (score(SPENT, visitor) or 0) > now
  -- The device to which the place was moved does not poll, but its ticket restores the place.
  if is_moved and not is_spent and (score(HELD_UNTIL, visitor) or 0) > now then return 'elsewhere' end
  if device or is_spent then
    call('ZREM', SPENT, visitor)
    hold(s, visitor, devices[i], 0, math.max(now, (since or 0) + 1), 'c', ticket_us)
    changed = true
  end
  return nil, false
end

for i = 1, asking do
  local visitor, at = ARGV[i + 5], 2 * i - 1
  local is_newcomer = byte(kinds, i) == NEWCOMER
  local twin, turn, standing = given[visitor], '0', 'in'
  local refused, is_known = nil, queued[i]
  if devices[i] and not twin then refused, is_known = refusal(i, visitor) end
  if byte(kinds, i) == ONE_REQUEST then
    if not admit(false) then standing = 'no' end
  elseif refused then
    standing = refused
  elseif twin then  -- twice in this batch
    turn, standing = standings[twin], standings[twin + 1]
  elseif is_newcomer and (held[i] or confirmed[i]) then
    turn = fmt(s.last)
  else
    local enters = is_newcomer and not is_known and admit(true)
    if not enters and free <= 0 and not is_known then
      standing = 'full'
    else
      s.last = math.max(s.last + 1, now)
      s.arrived = s.arrived + 1
      turn, changed = fmt(s.last), true
      if enters then
        slots, unconfirmed = slots + 1, unconfirmed + 1
        s.admitted = s.admitted + 1
        add_pair(admitted, fmt(now + slot_us), visitor)
      else
        turn = turn_at(i)
        standing, free = fmt(waiting), free - 1
      end
    end
    given[visitor] = at
  end
  standings[at], standings[at + 1] = turn, standing
end
for_all('ZADD', UNCONFIRMED, admitted)
if changed then save_state(s, true) end
local reply = reply_with(s)
for i = 1, #standings do reply[#reply + 1] = standings[i] end
return reply
