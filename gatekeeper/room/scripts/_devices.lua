-- Places that belong to one device: loaded after `_room.lua` in front of the scripts that ask for them.

-- Reads, from argument `from` on, the life of a ticket, and for each of some visitors an index, a device
-- and the expiry of an invitation, in microseconds (0: none). Returns these by index, and the life.
local function read_devices(from)
  local devices, expiries = {}, {}
  if #ARGV < from then return devices, expiries, 0 end
  if (#ARGV - from) % 3 ~= 0 then error('an index, a device and an expiry each') end
  for i = from + 1, #ARGV, 3 do
    local at = number(ARGV[i])
    devices[at], expiries[at] = ARGV[i + 1], number(ARGV[i + 2])
  end
  return devices, expiries, number(ARGV[from])
end

-- The device that holds the visitor's place and the expiry of the invitation that it claimed with;
-- nil: any device may use the place. Rooms without holders make no call.
local function holder_of(s, visitor)
  local held = s.has_holders == 1 and call('HGET', HOLDERS, visitor)
  if not held then return nil end
  local device, expiry = string.match(held, '^(%S+) (%d+)$')
  return device, tonumber(expiry)
end

-- From now on the visitor's place belongs to this device. It is remembered while another ticket, which
-- lives `ticket_us`, or the invitation can be valid.
local function hold(s, visitor, device, expiry, ticket_us)
  local _, known = holder_of(s, visitor)
  expiry = math.max(expiry, known or 0)
  call('HSET', HOLDERS, visitor, device .. ' ' .. fmt(expiry))
  call('ZADD', HELD_UNTIL, fmt(math.max(expiry, now + ticket_us)), visitor)
  s.has_holders = 1
end
