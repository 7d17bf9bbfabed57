-- find: reads the standing of visitors; changes nothing.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1… visitors
-- Reply the state, then a string for each visitor: 'waiting ahead turn', 'released until', 'admitted until end'
--       (until: of the slot; end: absolute end of the session, or 0), 'unconfirmed until', 'void until'
--       (left, revoked, or the ticket is spent), 'unknown'; 'behind' if the store is older than what the
--       caller knows.
--
-- Guarantee. No place, slot or deadline changes: it is not a heartbeat.

local s = load_state()
if not s then return { 'behind' } end

local function standing_of(visitor)
  local turn = score(QUEUE, visitor)
  if turn then return 'waiting ' .. fmt(call('ZRANK', QUEUE, visitor)) .. ' ' .. fmt(turn) end
  local until_ = score(ACTIVE, visitor)
  if until_ and call('HEXISTS', DEADLINES, visitor) == 1 then return 'released ' .. fmt(until_) end
  if until_ then
    local end_ = tonumber(call('HGET', SESSIONS, visitor) or '0') or 0
    return 'admitted ' .. fmt(until_) .. ' ' .. fmt(end_)
  end
  until_ = score(UNCONFIRMED, visitor)
  if until_ then return 'unconfirmed ' .. fmt(until_) end
  until_ = score(REVOKED, visitor) or score(SPENT, visitor)
  if until_ and until_ > now then return 'void ' .. fmt(until_) end
  return 'unknown'
end

local reply = reply_with(s)
for i = 1, #ARGV do reply[#reply + 1] = standing_of(ARGV[i]) end
return reply
