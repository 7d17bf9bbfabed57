-- steer: the replica that received the end of a period sets the rate that follows from it.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 the begin of the running period, as `advance` replied   2 the overrides, 3 the events and 4 the rate
--       in force that the caller decided by   5 the new rate of the room, or '' to keep it   6 the new
--       `steering` and 7 `steering_memory`   and where the rate is that of an event, 8 the new events and
--       9 their windows
-- Reply the state, then '1' if it was set, else '0'; 'behind' if the store is older than what the caller knows.
--
-- Guarantee. Sets all values or none. It sets none if that period is over, if an operator has set another rate,
-- other settings or other events meanwhile, or if the rate releases no visitor now. Admissions due by the old
-- rate are kept, up to burst, as for an operator's change. Unlike an operator's change, it is replaced by a
-- newer rate of a replica after a loss.

local begin, known_rate = number(ARGV[1]), number(ARGV[4])
local rate, steering, memory = ARGV[5], ARGV[6], ARGV[7]
if rate ~= '' and number(rate) <= 0 or not memory then error('a rate above 0, and two texts') end

local s = load_state()
if not s then return { 'behind' } end
refill(s)

local in_force = rate_of(s)
local is_current = tonumber(call('HGET', STATE, 'period_at') or '0') == begin
  and s.overrides == ARGV[2] and s.events == ARGV[3]
  and in_force > 0 and math.abs(in_force - known_rate) <= in_force / 1e9
  and admission_gate(s) == 'rate'
if is_current then
  if rate ~= '' then s.rate = rate end
  if ARGV[9] then s.events, s.windows = ARGV[8], ARGV[9] end
  save_state(s, rate ~= '' or ARGV[9] ~= nil)
  redis.pcall('HSET', STATE, 'steering', steering, 'steering_memory', memory)
end
local reply = reply_with(s)
reply[#reply + 1] = is_current and '1' or '0'
return reply
