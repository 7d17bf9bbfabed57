-- join: a replica starts, or found the store empty or older than what it knows.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 configured rate, per minute   2 recovery window, microseconds   3 'start': a replica starts,
--       'first': it starts, and no other replica has a state of the room, else ''   4 configured
--       message   5 configured events and 6 their windows, for an empty store
--       then the newest state of the caller, if any: 7 mode  8 rate  9 watermark  10 last arrival
--       11 grants  12 arrived  13 released  14 admitted  15 abandoned  16 message  17 how many are
--       expected to claim their slot  18 overrides  19 events  20 windows  21 slots  22 how many
--       replicas have to report before visitors are released early (0: none are)  23 to 25 the
--       bounds of the open claims: `owed_from`, `again_through`, `again_at`
-- Reply the state.
--
-- Guarantee. An empty store is initialised once. Only the first replica of an unknown room fills the
-- bucket, which a lost store may have spent, and knows that no other replica has visitors. The newest
-- state of any replica is written back: the watermark and totals never fall; of the rest the newest
-- wins, except for what an operator has set since. Visitors who returned while the store did not know
-- of a draw take part in it. Until the recovery window ends, visitors are released only by the
-- reports of replicas (`advance`), and not at all by a store that does not know all replicas. A rate
-- or message set at run time outlives restarts until the configured one itself changes. A second call
-- has no further effect.

local configured, window, kind = ARGV[1], number(ARGV[2]), ARGV[3]
local configured_message = ARGV[4]

local is_start = kind ~= ''
local s = load_state(is_start and 'start' or '')
local changed = false
local is_new = not s or s.version == 1 and s.origin_epoch == 0
if not s then
  s = { epoch = now, version = 0, mode = 'auto', rate = configured, level = 0, filled_at = now,
    watermark = 0, last = 0, grants = 0, arrived = 0, released = 0, admitted = 0, abandoned = 0,
    recovering_until = 0, revocations = 0, origin_epoch = 0, origin_version = 0,
    configured_rate = configured, attended_at = now, unattended = 0,
    message = configured_message, configured_message = configured_message, overrides = '',
    events = ARGV[5], windows = ARGV[6],
    operator_set = '', sweep_index = 0, swept_at = now, claims_until = 0, reached = 0,
    to_report = 0, reports = '', slots_before = -UNLIMITED, counts_from = 0,
    owed_from = 0, again_through = 0, again_at = 0, releases = '', clock_ahead = 0,
    has_holders = math.min(call('ZCARD', HELD_UNTIL), 1) }
  changed = true
end
if is_new and kind == 'first' and known_epoch == 0 then
  if (tonumber(configured) or 0) > 0 then set_level(s, burst * UNIT) end
  s.counts_from, changed = now, true  -- there were no replicas before that it does not know
end

-- The store lost data if the replica knows a later state than the store's own: it was rolled back,
-- or created with a clock that is behind. A new epoch then begins, so that the states before and
-- after differ and replicas that know still more are accepted as well. (Its own epoch also when
-- another such loss began from the same state: hence the fraction of a second.)
local function newer_than(epoch, version)
  return known_epoch > epoch or (known_epoch == epoch and known_version > version)
end

-- Visitors of a prequeue that the store did not know of, by `before`, are at their arrivals.
local function gather_again(before)
  for first, last in string.gmatch(s.windows, '(%d+) (%d+) p ') do
    local is_known = string.find(before, first .. ' ' .. last .. ' p ', 1, true)
    local visitors = {}
    if not is_known then
      visitors = call('ZRANGEBYSCORE', QUEUE, first, fmt(tonumber(last) - 1), 'LIMIT', 0, 1000)
    end
    while #visitors > 0 do
      local turns, places = call('ZMSCORE', QUEUE, unpack_(visitors)), {}
      for i = 1, #visitors do add_pair(places, fmt(PROVISIONAL + tonumber(turns[i])), visitors[i]) end
      for_all('ZADD', QUEUE, places)
      visitors = call('ZRANGEBYSCORE', QUEUE, first, fmt(tonumber(last) - 1), 'LIMIT', 0, 1000)
    end
  end
end

local is_newest = newer_than(s.origin_epoch, s.origin_version)
local NEVER = -1  -- in place of the number of replicas
if newer_than(s.epoch, s.version) then
  s.epoch = math.max(now, known_epoch + 1 + now % 1000000)
  s.to_report, s.reports = 0, ''
end
if known_epoch > 0 and known_epoch < s.epoch then
  local known = { watermark = 9, last = 10, arrived = 12, released = 13, admitted = 14,
    abandoned = 15 }
  for field, index in pairs(known) do
    local value = number(ARGV[index])
    if value > s[field] then s[field], changed = value, true end
  end
  local grants, to_report = number(ARGV[11]), number(ARGV[22])
  if is_newest and s.origin_epoch ~= known_epoch and s.to_report > 0 then
    s.to_report, s.reports = 0, ''
  end
  if is_newest then
    s.origin_epoch, s.origin_version = known_epoch, known_version
    if not is_set_by_operator(s, 'mode') then s.mode = ARGV[7] end
    if not is_set_by_operator(s, 'rate') then s.rate = ARGV[8] end
    if not is_set_by_operator(s, 'message') then s.message = ARGV[16] end
    if not is_set_by_operator(s, 'settings') then s.overrides = ARGV[18] end
    if not is_set_by_operator(s, 'events') then
      local before = s.windows
      s.events, s.windows = ARGV[19], ARGV[20]
      gather_again(before)
      end_draws(s)
    end
    s.grants = is_set_by_operator(s, 'allow') and math.max(s.grants, grants) or grants
    -- The lost state may have spent what was due since the store's own state was saved.
    set_level(s, 0)
    local expected = number(ARGV[17])
    s.claims_until, s.owed_from, s.releases = 0, s.watermark, ''
    s.again_through, s.again_at = 0, 0
    if expected > 0 then
      s.claims_until = number(ARGV[14]) + expected
      s.owed_from, s.again_through, s.again_at = number(ARGV[23]), number(ARGV[24]), number(ARGV[25])
    end
    s.slots_before, s.counts_from = number(ARGV[21]) - s.released, 0
    if now + window > s.recovering_until then s.recovering_until = now + window end
    changed = true
  end
  -- The number of the caller with the newest state counts, if all allow early releases.
  if known_epoch == s.origin_epoch and now < s.recovering_until and s.to_report ~= NEVER then
    to_report = to_report > 0 and math.max(s.to_report, to_report) or NEVER
    if to_report ~= s.to_report then s.to_report, changed = to_report, true end
  end
end

if is_start and s.configured_rate ~= configured then
  refill(s)
  s.rate, s.configured_rate = configured, configured
  note_operator_set(s, 'rate')
  changed = true
end
if is_start and s.configured_message ~= configured_message then
  s.message, s.configured_message = configured_message, configured_message
  note_operator_set(s, 'message')
  changed = true
end
if changed or s.was_unattended then save_state(s, changed) end
return reply_with(s)
