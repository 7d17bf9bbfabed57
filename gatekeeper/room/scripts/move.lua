-- move: the place of a visitor in line is moved to another device, by a code made for that.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 the longest lifetime of a ticket, microseconds   2 the visitor   3 the device that made the code
--       ('': none)   4 the new device   5 when the code was made, microseconds
-- Reply the state, then a string: 'moved time' (the place belongs to the new device since that time), 'used'
--       (it was moved to another device after the code was made, or may have been), 'claimed' (the visitor
--       entered), 'void' (left, revoked, or the ticket was spent); 'behind' if the store is older than what
--       the caller knows.
--
-- Guarantee. Of all codes of a place only the first one that is used moves it: afterwards the place belongs to
-- a device that made none of them. From then on the tickets of other devices are no heartbeat and claim
-- nothing. The turn, the heartbeat and an unclaimed release stay the same. Moving twice to the same device
-- has the effect of moving once, until that device claims. A store that lost data does not know which codes
-- were used before its epoch, and rejects those codes.

local ticket_us, visitor, from, device = number(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local made_at = number(ARGV[5])
if #ARGV ~= 5 or not string.find(device, '^[%w_-]+$') or device == from then
  error('a visitor and two devices')
end

local s = load_state()
if not s then return { 'behind' } end

local function is_void()
  return (score(REVOKED, visitor) or score(SPENT, visitor) or 0) > now
end

-- A released visitor has a deadline until the claim.
local function has_entered()
  return score(UNCONFIRMED, visitor)
    or score(ACTIVE, visitor) and not call('HGET', DEADLINES, visitor)
end

local result
local holder, _, since = holder_of(s, visitor)
if is_void() then
  result = 'void'
elseif has_entered() then
  result = 'claimed'
elseif holder == device then
  result = 'moved ' .. fmt(since)
elseif holder and holder ~= from or made_at < s.epoch then
  result = 'used'
else
  since = math.max(now, (since or 0) + 1)
  hold(s, visitor, device, 0, since, 'm', ticket_us)
  save_state(s, true)
  result = 'moved ' .. fmt(since)
end
local reply = reply_with(s)
reply[#reply + 1] = result
return reply
