-- control: the operator sets the rate, the mode, the message to waiting visitors or other settings, or
-- grants admissions; 'look' reads the state.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 and 2 one of: 'allow' and the number of admissions; 'rate' and the rate per minute; 'mode' and the
--       mode; 'message' and the text ('': none); 'look' and '', 'no_shows', or 'lanes' with 3 their number.
--       Or 'settings' with 2 the overrides that the caller has read, 3 the new ones, 4 a rate or '', 5 '1'
--       and 6 a message, and if the settings of an event change too, 7 to 9 like 2 to 4 of 'events'. Or
--       'events' with 2 the events that the caller has read, 3 the new ones, 4 their windows. Or 'draw'
--       with the same, from a replica that decided a draw
-- Reply the state, then: for 'settings', 'events' and 'draw' '1' if they were set, else '0'; for 'no_shows'
--       the number of releases that were not claimed since the store began; for 'lanes' the number of
--       visitors of each lane in line who polled within heartbeat_timeout. 'behind' if the store is older
--       than what the caller knows; an error for any other setting.
--
-- Guarantee. Admissions due by the old rate are kept, up to burst. Grants add up. Every mode can be
-- reversed: 'ended' releases no visitor, like 'hold', and gives no place. The change outlives every replica.
-- 'settings' and 'events' change everything, or nothing if the stored values differ from those that the
-- caller has read. A draw is not an operator's change: after a loss, newer events of a replica replace it.
-- 'allow' is not idempotent: its caller must not retry.

local setting, value = ARGV[1], ARGV[2]

local MODES = { auto = true, hold = true, open = true, ended = true }

local s = load_state()
if not s then return { 'behind' } end

local function reply_and(state, result)
  local reply = reply_with(state)
  reply[#reply + 1] = result
  return reply
end

if setting == 'look' and value == 'no_shows' then
  return reply_and(s, fmt(call('HGET', STATE, 'no_shows') or 0))
end
if setting == 'look' and value == 'lanes' then
  local reply = reply_with(s)
  for lane = 1, number(ARGV[3]) do
    local first = lane * 1e12
    local from = fmt(first + math.floor(present / 100000) + 1)
    reply[#reply + 1] = fmt(call('ZCOUNT', LANE_POLLS, from, fmt(first + 9e11)))
  end
  return reply
end
if setting == 'look' then return reply_with(s) end
refill(s)

local function set_rate(rate)
  s.rate = rate
  if number(rate) <= 0 then s.level = 0 end
end

if setting == 'allow' then
  s.grants = s.grants + number(value)
elseif setting == 'rate' then
  set_rate(value)
elseif setting == 'settings' and ARGV[6] and (ARGV[9] or not ARGV[7]) then
  if s.overrides ~= value or ARGV[7] and s.events ~= ARGV[7] then return reply_and(s, '0') end
  if ARGV[4] ~= '' then
    set_rate(ARGV[4])
    note_operator_set(s, 'rate')
  end
  if ARGV[5] == '1' then
    s.message = ARGV[6]
    note_operator_set(s, 'message')
  end
  s.overrides = ARGV[3]
  if ARGV[9] then
    s.events, s.windows = ARGV[8], ARGV[9]
    note_operator_set(s, 'events')
  end
elseif (setting == 'events' or setting == 'draw') and ARGV[4] then
  if s.events ~= value then return reply_and(s, '0') end
  s.events, s.windows = ARGV[3], ARGV[4]
  end_draws(s)
elseif setting == 'mode' and MODES[value] then
  s.mode = value
elseif setting == 'message' and value then
  s.message = value
else
  return redis.error_reply('ERR unknown control')
end
if setting ~= 'draw' then note_operator_set(s, setting) end
save_state(s, true)
if setting == 'settings' or setting == 'events' or setting == 'draw' then return reply_and(s, '1') end
return reply_with(s)
