-- Places that belong to one device. Loaded after `_admission.lua`, in front of the scripts that use them.
--
-- A record of HOLDERS: the device; the latest expiry of an invitation that was claimed with (0: none); since
-- when the place belongs to the device (0: only by its claim); and a letter: 'm', the place was moved to the
-- device and not claimed since, else 'c'. Tickets of moved places contain that time too, so that after a loss
-- of the store the latest move counts.

-- Reads from argument `from` on: the lifetime of a ticket, then for each visitor with a device an index, the
-- device, the expiry of an invitation and the time of the move to this device, microseconds (0: none). Returns
-- the lifetime, and the others by index.
local function read_devices(from)
  local devices, expiries, moves = {}, {}, {}
  if #ARGV < from then return 0, devices, expiries, moves end
  if (#ARGV - from) % 4 ~= 0 then error('an index, a device, an expiry and a move each') end
  for i = from + 1, #ARGV, 4 do
    local at = number(ARGV[i])
    devices[at], expiries[at], moves[at] = ARGV[i + 1], number(ARGV[i + 2]), number(ARGV[i + 3])
  end
  return number(ARGV[from]), devices, expiries, moves
end

-- A record as device, expiry, time, and whether the place was moved to the device; nil: no record.
local function read_holder(held)
  if not held then return nil end
  local device, expiry, since, mark = string.match(held, '^(%S+) (%d+) (%d+) (%a)$')
  return device, tonumber(expiry), tonumber(since), mark == 'm'
end

-- `read_holder` of the visitor's place; nil: any device may use it. Makes no call in a room without holders.
local function holder_of(s, visitor)
  return read_holder(s.has_holders == 1 and call('HGET', HOLDERS, visitor))
end

-- How long to keep a holder when a ticket of the place was renewed just now: a little longer than the lifetime
-- of a ticket, so that not every poll of a moved place writes it.
local function held_until(ticket_us) return now + ticket_us + ticket_us / 16 end

-- From now on the visitor's place belongs to this device. The record is kept while another ticket, valid for
-- `ticket_us`, or the invitation can be valid. Returns the record.
local function hold(s, visitor, device, expiry, since, mark, ticket_us)
  local _, known_expiry, known_since = holder_of(s, visitor)
  expiry, since = math.max(expiry, known_expiry or 0), math.max(since, known_since or 0)
  local held = device .. ' ' .. fmt(expiry) .. ' ' .. fmt(since) .. ' ' .. mark
  call('HSET', HOLDERS, visitor, held)
  call('ZADD', HELD_UNTIL, fmt(math.max(expiry, held_until(ticket_us))), visitor)
  s.has_holders = 1
  return held
end
