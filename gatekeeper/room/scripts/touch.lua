-- touch: passes were used and renewed; each slot lasts as long as its pass.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  visitor, expiry and absolute end of the pass in microseconds, visitor, expiry, end …; instead of the
--       end '0' for a visitor who was admitted without the store and has not used the pass yet, and '-1'
--       for a visitor with a stream who has not used the pass since the stream began, as far as is known
-- Reply the state, then a string for each visitor: '1' holds the slot, '2' revoked; 'behind' if the store is
--       older than what the caller knows.
--
-- Guarantee. A visitor with a valid pass is counted, even in a store that lost everything, and is confirmed
-- from then on. A slot is never shortened, and a session that the store knows keeps its end. A touch restores
-- nothing that was revoked. A visitor who has not used the pass is counted as unconfirmed, unless the visitor
-- is in line or has a slot already. A stream extends a confirmed slot, and creates none.

if #ARGV % 3 ~= 0 then error('a visitor, an expiry and an end each') end
for i = 1, #ARGV, 3 do
  number(ARGV[i + 1])
  number(ARGV[i + 2])
end

local s = load_state()
if not s then return { 'behind' } end
local changed = false
local results = {}
for i = 1, #ARGV, 3 do
  local visitor, expiry = ARGV[i], tonumber(ARGV[i + 1])
  if (score(REVOKED, visitor) or 0) > now then
    results[#results + 1] = '2'
  elseif ARGV[i + 2] == '0' then
    if expiry > now and not score(ACTIVE, visitor) and not score(QUEUE, visitor)
      and (score(SPENT, visitor) or 0) <= now
      and call('ZADD', UNCONFIRMED, fmt(expiry), visitor) == 1 then changed = true end
    results[#results + 1] = '1'
  elseif ARGV[i + 2] == '-1' then
    local held = score(ACTIVE, visitor)
    if held and held < expiry and call('HEXISTS', DEADLINES, visitor) == 0 then
      call('ZADD', ACTIVE, fmt(expiry), visitor)
    end
    results[#results + 1] = '1'
  else
    local held = score(ACTIVE, visitor)
    if not held or held < expiry then call('ZADD', ACTIVE, fmt(expiry), visitor) end
    local was_unclaimed = call('HDEL', DEADLINES, visitor) == 1
    if was_unclaimed or not held then call('HSETNX', SESSIONS, visitor, ARGV[i + 2]) end
    call('ZREM', QUEUE, visitor)
    call('ZREM', SPENT, visitor)
    call('ZREM', UNCONFIRMED, visitor)
    if not held then changed = true end
    results[#results + 1] = '1'
  end
end
yield_unconfirmed()
if changed or s.was_unattended then save_state(s, changed) end
local reply = reply_with(s)
for i = 1, #results do reply[#reply + 1] = results[i] end
return reply
