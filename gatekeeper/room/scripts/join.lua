-- join: a replica starts, or found the store empty or older than what it knows.
--
-- ARGV  1 configured rate, per minute   2 burst   3 recovery window, microseconds
--       4 epoch and 5 version of the newest state this replica holds (0 0: holds none), then that
--       state: 6 mode  7 rate  8 watermark  9 last arrival  10 grants  11 arrived  12 released
--       13 admitted  14 abandoned  15 message   16 '1' when this call is a replica's start
-- Reply the state.
--
-- Guarantee. An empty store is born once. What any replica still knows is written back, the newest
-- wins, and watermark and totals never fall. While the recovery window runs nobody is released.
-- A rate set at run time outlives restarts until the configured rate itself is changed.
-- Calling it twice changes nothing.

local configured, burst, window = ARGV[1], number(ARGV[2]), number(ARGV[3])
local epoch, version = number(ARGV[4]), number(ARGV[5])
local starts = ARGV[16] == '1'

local s = load_state(starts)
local changed = false
if not s then
  s = { epoch = now, version = 0, mode = 'auto', rate = configured, level = 0, filled_at = now,
    watermark = 0, last = 0, grants = 0, arrived = 0, released = 0, admitted = 0, abandoned = 0,
    recovering_until = 0, revocations = 0, origin_epoch = 0, origin_version = 0,
    configured_rate = configured, attended_at = now, unattended = 0, message = '',
    walked = 0, walked_at = now }
  if (tonumber(configured) or 0) > 0 then s.level = burst * UNIT end
  changed = true
end

-- The store forgot, if the replica knows of a later state than the store's own: it was rolled back,
-- or born on a clock that is behind. Then a new epoch begins, so that the states before and after
-- are told apart and replicas that know still more are heard as well.
local forgot = epoch > s.epoch or (epoch == s.epoch and version > s.version)
local news = epoch > s.origin_epoch or (epoch == s.origin_epoch and version > s.origin_version)
if forgot then s.epoch = math.max(now, epoch + 1) end
if epoch > 0 and news and epoch < s.epoch then
  s.origin_epoch, s.origin_version = epoch, version
  s.mode, s.rate, s.message = ARGV[6], ARGV[7], ARGV[15]
  local known = { watermark = 8, last = 9, arrived = 11, released = 12, admitted = 13,
    abandoned = 14 }
  for field, index in pairs(known) do
    local value = number(ARGV[index])
    if value > s[field] then s[field] = value end
  end
  s.grants = number(ARGV[10])
  s.level = 0
  if now + window > s.recovering_until then s.recovering_until = now + window end
  changed = true
end

if starts and s.configured_rate ~= configured then
  refill(s, burst)
  s.rate, s.configured_rate = configured, configured
  changed = true
end
if changed or s.was_unattended then save_state(s, changed) end
return reply_with(s)
