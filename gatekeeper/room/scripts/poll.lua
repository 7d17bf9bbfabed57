-- poll: visitors with a token ask for their position. The heartbeat, the return, and the claim.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 heartbeat_timeout, microseconds   2 duration of a claimed slot, microseconds
--       3 session_absolute_timeout, microseconds   4 recovery window, microseconds
--       5 one letter for each visitor: 't' (holds a ticket), 'r' (holds a ticket that records a return
--       after its turn was released), 'e' (holds a pass that expired before the end of its session), 's'
--       (called by a replica for a visitor who returned the ticket while the store was unreachable: takes
--       the place of the ticket, does not claim), 'c' (called by a replica for a visitor connected to it:
--       a heartbeat, does not claim)
--       6 the turn of each by the token, in 16 digits, since it is rarely read; if any letter is 'r', then
--       for each the number of all releases at the time of the return, in 16 digits
--       7 '' if no visitor is of a lane, else for each 'lane/arrival/number' (the ticket was returned
--       before; number: of the lane, 0 if the room no longer has it), 'lane:arrival/number' (perhaps not
--       returned before) or '-/' (no lane)
--       8… the visitors, then, where there are any, the devices of tickets in the format of `read_devices`
-- Reply the state, then one string for each visitor. Waiting: the number of visitors ahead, or 'ahead turn'
--       if the turn differs from the token's. Admitted: 'in end' (absolute end of the session,
--       microseconds), for 's' and 'c' 'in'. 'void' (left, revoked, ticket spent, slot or session over),
--       'elsewhere' (another device holds the place). 'behind' if the store is older than what the caller
--       knows.
--
-- Guarantee. A visitor who polls is not removed for `heartbeat_timeout`. A released visitor who polls holds
-- the slot from then on. The first claim sets the end of the session: no later claim moves it, and no slot
-- lasts longer. An unknown visitor (a newcomer who returns the ticket, was absent or was admitted to the
-- line without the store, or any visitor after the store lost its data) returns to the turn of the ticket:
-- at the head of the queue if that turn was released meanwhile; at the end of the queue after two
-- releases that were not claimed. An arrival that is ahead of the store's clock counts as an arrival now.
-- The first of the queue enters without waiting for a release, within rate, burst, grants and max_active.
-- While the store recovers from a loss, only visitors enter who were released before the loss and had not
-- claimed (`_admission`). A visitor of a lane gets a turn later than every turn of which a visitor was
-- released; the reply contains it if the ticket names another. An expired pass is accepted while its slot is
-- held, and never creates a place. Polling twice has the effect of polling once. A device that claims with
-- an invitation, or to which the place was moved, holds the place from then on: the tickets of other
-- devices are no heartbeat and claim nothing. If the store lost a move, the place belongs to the device of
-- the latest move as soon as its ticket is returned, unless another device entered before.

local wait_us, slot_us, session_us = number(ARGV[1]), number(ARGV[2]), number(ARGV[3])
local window, kinds, turns = number(ARGV[4]), ARGV[5], ARGV[6]
local words, asking = ARGV[7], #ARGV[5]
local digits = 16 * asking * (string.find(kinds, 'r') and 2 or 1)
if #ARGV < 7 + asking or #turns ~= digits or string.find(turns, '%D') then
  error('a letter and 16 digits for each visitor')
end
local ticket_us, devices, expiries, moves = read_devices(8 + asking)
local lanes, arrivals, unconfirmed, lane_numbers = {}, {}, {}, {}
if words ~= '' then
  local found = 0
  for word in string.gmatch(words, '%S+') do
    found = found + 1
    local lane, mark, arrival, lane_number = string.match(word, '^([%w_-]+)([/:])(%d+)/(%d+)$')
    if lane then
      lanes[found], arrivals[found], unconfirmed[found] = lane, tonumber(arrival), mark == ':'
      lane_numbers[found] = tonumber(lane_number)
    elseif word ~= '-/' then
      error('a lane and an arrival')
    end
  end
  if found ~= asking then error('a lane for each visitor') end
end
local byte = string.byte
local STAMPED, TICKET, CONNECTED, EXPIRED, RETURNED = byte('stcer', 1, 5)

local function turn_of(at) return tonumber(string.sub(turns, 16 * at - 15, 16 * at)) end

local function released_at_return(at) return turn_of(asking + at) end

-- The arrival in a turn, provisional or not.
local function arrival_in(turn) return turn >= PROVISIONAL and turn - PROVISIONAL or turn end

local s = load_state()
if not s then return { 'behind' } end
local changed = false
local deadline, heartbeats, fields = tenths(present + wait_us), {}, 0
local slot_until, session_until = fmt(now + math.min(slot_us, session_us)), fmt(now + session_us)

local function heartbeat(visitor)
  heartbeats[fields + 1], heartbeats[fields + 2], fields = visitor, deadline, fields + 2
end

-- Whether this visitor may still claim a release of before the loss: it is owed, and after the visitors at
-- earlier turns to whom one is owed too, a slot is free. `returned`: as recorded in the ticket.
local function may_claim(at, kind, returned)
  if now >= s.recovering_until or s.claims_until <= 0 or kind ~= TICKET or unconfirmed[at] then return false end
  local turn, lowest = turn_of(at), '-inf'
  if turn > s.watermark then return false end
  if returned then
    if turn > s.again_through or released_at_return(at) >= s.again_at then return false end
  else
    if turn <= s.owed_from then return false end
    lowest = '(' .. fmt(s.owed_from)
  end
  if claims_left(s) <= 0 and (rate_of(s) <= 0 or whole(level_of(s)) <= -burst) then return false end
  return max_active <= 0 or free_slots() > call('ZCOUNT', QUEUE, lowest, '(' .. fmt(turn))
end

-- Whether the first of the queue may enter now, and by which gate.
local function is_due(kind)
  if kind ~= TICKET then return false end
  local gate, due = admission_gate(s)
  return due > 0 and (gate == 'open' or free_slots() > 0), gate
end

-- A claim of a visitor whom the store does not know as released. `gate`: that of the admission; nil for a
-- visitor who was released before a loss.
local function enter(visitor, gate)
  -- The visitor may also be connected, and then is in this batch twice.
  for_all('HSET', DEADLINES, heartbeats)
  heartbeats, fields = {}, 0
  local turn = gate and score(QUEUE, visitor) or 0
  if turn < PROVISIONAL then s.reached = math.max(s.reached, turn) end
  call('ZREM', QUEUE, visitor)
  call('HDEL', DEADLINES, visitor)
  call('ZADD', ACTIVE, slot_until, visitor)
  call('HSET', SESSIONS, visitor, session_until)
  yield_unconfirmed()
  if gate == 'rate' then pay(s, 1) end
  if gate then s.released = s.released + 1 end
  s.admitted, changed = s.admitted + 1, true
  return 'in ' .. session_until
end

-- A claim that is owed since before the loss. Claims beyond the number of open ones are paid by the bucket.
local function claim(visitor)
  if claims_left(s) <= 0 then
    refill(s)
    s.level = s.level - UNIT
  end
  return enter(visitor)
end

-- The score in a set to which this script adds nothing. Most of these sets are empty, and a newcomer who
-- returns the ticket is looked up in each of them.
local sizes = {}
local function score_if_any(key, member)
  if not sizes[key] then sizes[key] = call('ZCARD', key) end
  return sizes[key] > 0 and score(key, member) or nil
end

local function is_void(visitor)
  return (score_if_any(REVOKED, visitor) or score_if_any(SPENT, visitor) or 0) > now
end

-- An expired pass counts no longer than its slot, even if the pacer has not removed the slot yet.
local function holds_slot(visitor, kind)
  local until_ = score(ACTIVE, visitor) or score_if_any(UNCONFIRMED, visitor)
  return until_ and (kind ~= EXPIRED or until_ > now)
end

-- The holders of this batch's visitors as stored, and those that this batch writes.
local holders, made = {}, {}
if s.has_holders == 1 then holders = call('HMGET', HOLDERS, unpack_(ARGV, 8, 7 + asking)) end

local function holder(at, visitor) return read_holder(made[visitor] or holders[at]) end

-- From now on the place belongs to this ticket's device: 'c', it has claimed; 'm', the place was moved to it.
local function hold_by_device(at, visitor, mark)
  changed = changed or s.has_holders == 0
  made[visitor] = hold(s, visitor, devices[at], expiries[at], moves[at], mark, ticket_us)
end

-- Whether another device holds the place. A pass belongs to the device that claimed it.
local function is_elsewhere(at, visitor, kind)
  if s.has_holders == 0 and not devices[at] then return false end  -- nearly every poll
  if kind ~= TICKET and kind ~= CONNECTED then return false end
  local device, _, since, is_moved = holder(at, visitor)
  if device and device == devices[at] then
    if is_moved and (score(HELD_UNTIL, visitor) or 0) < now + ticket_us then
      call('ZADD', HELD_UNTIL, fmt(held_until(ticket_us)), visitor)
    end
    return false
  end
  -- The store lost the move that the ticket names. A session that it knows belongs to another device.
  if (moves[at] or 0) > (since or 0) and call('HEXISTS', SESSIONS, visitor) == 0 then
    hold_by_device(at, visitor, 'm')
    call('ZREM', QUEUE, visitor)  -- by another ticket, perhaps of a later turn; this ticket gives the place
    return false
  end
  return device ~= nil
end

-- A claim of a visitor who holds a slot: the first one, or again, by another tab for instance.
local function confirm(at, visitor)
  local is_first = call('HSETNX', SESSIONS, visitor, session_until) == 1
  -- Another device has claimed while the store was unreachable.
  if devices[at] and not is_first and not holder(at, visitor) then return 'elsewhere' end
  local end_ = is_first and session_until or call('HGET', SESSIONS, visitor)
  if tonumber(end_) <= now then return 'void' end
  call('ZADD', ACTIVE, fmt(math.min(tonumber(slot_until), tonumber(end_))), visitor)
  if call('HDEL', DEADLINES, visitor) == 1 then
    s.admitted, changed = s.admitted + 1, true
  end
  call('ZREM', UNCONFIRMED, visitor)
  return 'in ' .. end_
end

-- Whether an arrival is within the prequeue of a draw that is running now. The replica that asks may
-- not know of the event yet.
local gathering_from = nil
local function is_gathering(turn)
  if not gathering_from then
    gathering_from = UNLIMITED * 9
    for first, last in string.gmatch(s.windows, '(%d+) (%d+) p ') do
      if tonumber(first) <= now and now < tonumber(last) then gathering_from = tonumber(first) end
    end
  end
  return turn >= gathering_from
end

-- Replicas estimate the store's clock with a smaller error than this. A later arrival was stamped by a clock
-- that is fast, and would put every arrival from now on behind it.
local MAX_AHEAD = 60000000

-- Puts an unknown visitor into the queue.
local function place(at, visitor, kind)
  local turn, lane = turn_of(at), lanes[at]
  local arrival = arrivals[at] or arrival_in(turn)
  local is_early = arrival > math.max(s.last, now + MAX_AHEAD)
  if is_early then
    s.last = math.max(s.last + 1, now)
    turn, arrival = math.min(turn, s.last), s.last
  end
  if turn < PROVISIONAL and (lane or turn == arrival) and is_gathering(arrival) then
    turn = PROVISIONAL + arrival
  end
  -- A turn from before the epoch of this store: other visitors like this one will return soon. (An epoch in
  -- the future means a clock that is behind; join has started the recovery then.)
  if arrival < s.epoch and s.epoch <= now and now < s.epoch + window
    and s.recovering_until < s.epoch + window then
    s.recovering_until = s.epoch + window
  end
  local moved_to = score_if_any(MISSED, visitor) or 0
  local is_moved = moved_to > arrival
  if is_moved then turn, arrival = moved_to, moved_to end
  is_moved = is_moved or is_early
  -- Stamped by a replica, or newer than the last known arrival: every arrival from now on is later.
  if arrival > s.last then s.last = arrival end
  if lane and (now >= s.recovering_until or unconfirmed[at]) then
    local lowest = math.max(s.watermark, s.reached) + 1
    if turn < lowest then turn, is_moved = lowest, true end
  end
  if lane and turn >= PROVISIONAL then call('HSET', LANES, visitor, lane) end
  call('ZADD', QUEUE, fmt(turn), visitor)
  changed = true
  local ahead = call('ZRANK', QUEUE, visitor)
  if ahead == 0 then
    local due, gate = is_due(kind)
    if due then return enter(visitor, gate) end
  end
  heartbeat(visitor)
  return is_moved and fmt(ahead) .. ' ' .. fmt(turn) or ahead
end

-- A visitor of a lane, or with several devices, may use another ticket than the one that gave the place.
local function standing_in(at, visitor, ahead)
  if not devices[at] and not lanes[at] then return ahead end
  local turn, asked = score(QUEUE, visitor), turn_of(at)
  if lanes[at] and turn >= PROVISIONAL then call('HSET', LANES, visitor, lanes[at]) end
  -- A provisional turn stands for the drawn one, which the replica may not know yet.
  if turn == asked or asked >= PROVISIONAL and turn < PROVISIONAL then return ahead end
  return fmt(ahead) .. ' ' .. fmt(turn)
end

-- Counts the visitors of lanes in line, for operators: no decision depends on it, and a full store drops it.
-- The score in LANE_POLLS is the number of the lane followed by the deadline.
local LANE = 1e12
local in_line, gone, counted = {}, {}, {}
local function count_lane(at, visitor, standing)
  local lane = lane_numbers[at] or 0
  if standing == 'elsewhere' then return end
  if lane > 0 and (type(standing) == 'number' or string.find(standing, '^%d')) then
    add_pair(in_line, fmt(lane * LANE + tonumber(deadline)), visitor)
    counted[lane] = true
  else
    gone[#gone + 1] = visitor
  end
end

local function save_lane_counts()
  if #gone > 0 then call('ZREM', LANE_POLLS, unpack_(gone)) end
  if #in_line == 0 then return end
  for lane in pairs(counted) do
    local first = lane * LANE
    call('ZREMRANGEBYSCORE', LANE_POLLS, fmt(first), fmt(first + math.floor(present / 100000)))
  end
  redis.pcall('ZADD', LANE_POLLS, unpack_(in_line))
  redis.pcall('PEXPIRE', LANE_POLLS, fmt(math.ceil(wait_us / 500)))
end

local standings = {}
for at = 1, asking do
  local visitor, kind = ARGV[at + 7], byte(kinds, at)
  local returned = kind == RETURNED
  if returned then kind = TICKET end
  local standing
  -- A stamped visitor may have a place by a call whose reply was lost; the ticket's turn counts.
  local is_other = is_elsewhere(at, visitor, kind)
  local ahead = not is_other and kind ~= STAMPED and kind ~= EXPIRED and call('ZRANK', QUEUE, visitor)
  if is_other then
    standing = 'elsewhere'
  elseif ahead then
    local due, gate = false, nil
    if ahead == 0 then due, gate = is_due(kind) end
    if due then
      standing = enter(visitor, gate)
    elseif may_claim(at, kind, returned) then
      standing = claim(visitor)
    else
      heartbeat(visitor)
      standing = standing_in(at, visitor, ahead)
    end
  elseif holds_slot(visitor, kind) then
    standing = 'in'
    if kind ~= STAMPED and kind ~= CONNECTED then standing = confirm(at, visitor) end
  elseif kind == EXPIRED or is_void(visitor) then
    standing = 'void'
  elseif may_claim(at, kind, returned) then
    standing = claim(visitor)
  else
    standing = place(at, visitor, kind)
  end
  if devices[at] and string.sub(standing, 1, 3) == 'in ' then hold_by_device(at, visitor, 'c') end
  if lanes[at] then count_lane(at, visitor, standing) end
  standings[at] = standing
end
for_all('HSET', DEADLINES, heartbeats)
save_lane_counts()
if changed or s.was_unattended then save_state(s, changed) end
local reply = reply_with(s)
for i = 1, #standings do reply[#reply + 1] = standings[i] end
return reply
