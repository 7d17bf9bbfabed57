-- advance: removes visitors whose deadline has passed, and releases as many visitors as are due from the
-- head of the queue.
--
-- KEYS  those of the room, as in `_room.lua`
-- ARGV  1 replica ('' for an operator)   2 claim_timeout, microseconds   3 how long to keep a spent ticket,
--       microseconds   4 lifetime of a ticket, microseconds   5 maximum of releases   6 maximum of removals
--       by the sweep   7 how long to keep a silent replica, microseconds   8 the epoch that the report of
--       this replica is about (0: no report)   9 the previous epoch, in which the store knew this replica
--       10 the highest turn up to which no visitor of this replica has a poll outstanding.
--       Where the origin steers the rate also: 11 the length of a period, microseconds   12 the caller's
--       measurements of the origin since its last call, as whole numbers separated by spaces, or ''
--       13 the targets that they were measured against
-- Reply the state; the number of released visitors; '1' if more is due than one call may do, else '0';
--       with a burst of 1, the microseconds until the next admission of the rate is due ('0': it is due
--       now, or no visitor waits for it), with any other burst '0'. If this call ends a period also: the
--       begin of the next period and the length of this one, microseconds; the sums of all callers'
--       measurements; the number of admissions; '1' if visitors wait for the rate, else '0'; `steering`
--       and `steering_memory`. 'behind' if the store is older than what the caller knows.
--
-- Guarantee. Visitors are released in the order of turns, within rate, burst, grants and slots, and only
-- if their deadline has not passed. The watermark only rises, and every visitor in the queue at or below
-- it has been released: while one of several visitors with the same turn still waits, the watermark stays
-- one below that turn. So equal turns neither exceed what is due nor stall, and the watermark does not
-- split them. A release that is not claimed gives back what it cost; the second one costs the visitor
-- the place. Any number of replicas may call at any time, since a release by one is visible to all. One
-- call ends after about ARGV 6 absent visitors and leaves the rest to the next call. A period is ended
-- once, by one call. While the rate releases no visitor, and after a pause of several periods, the period
-- restarts and its measurements are discarded. While the store recovers from a loss, visitors are
-- released only up to the turn that every replica of before the loss reports, and not at all while one
-- of these replicas is silent.
--
-- Where the origin steers the rate, the state has more fields, which only `steer` and this script use:
-- `period_at` (begin of the running period, microseconds; 0: none), `period_counts` (the measurements of
-- all callers in it), `period_admitted` (the total at its begin), `steered_by` (the targets of the
-- callers), and two texts of the replicas: `steering`, for operators, and `steering_memory`. The memory
-- belongs to those targets: a call with other targets, or of a replica with none, deletes it and the
-- period.

local replica, claim_us, spent_us = ARGV[1], number(ARGV[2]), number(ARGV[3])
local ticket_us, max_released, max_swept = number(ARGV[4]), number(ARGV[5]), number(ARGV[6])
local remembered_us, report_epoch = number(ARGV[7]), number(ARGV[8])
local lost_epoch, returned_through = number(ARGV[9]), number(ARGV[10])
local SILENT_AFTER = 1000000  -- replicas call four times a second while the store recovers
local period_us, measured, targets = ARGV[11] and number(ARGV[11]), ARGV[12] or '', ARGV[13]
if string.find(measured, '[^%d ]') then error('whole numbers') end
local MAX_PERIODS = 3  -- a period that lasts longer is discarded
-- All replicas together read the whole queue once in LAP, and every call at least MIN_STRETCH of it.
local LAP, MIN_STRETCH = 20000000, 100
local CHUNK = 100
local RELEASE_PARTS = 8

local s = load_state()
if not s then return { 'behind' } end
refill(s)
local is_full = false
if replica ~= '' then
  local reply = redis.pcall('ZADD', REPLICAS, fmt(now), replica)
  is_full = type(reply) == 'table' and reply.err ~= nil
  if is_full then
    -- After a pause its length cannot be written either: then the clock of the deadlines stands.
    if not s.was_unattended then call('PEXPIRE', REPLICAS, ATTENDED_KEPT_MS) end
  else
    call('PERSIST', REPLICAS)
  end
  s.attended_at = now
end
-- Removals first: at maxmemory they still work, and make room. A full store keeps `replicas`, which
-- holds the time of this call.
if not is_full then
  call('ZREMRANGEBYSCORE', REPLICAS, '-inf', fmt(now - remembered_us))
end
call('ZREMRANGEBYSCORE', REVOKED, '-inf', fmt(now))
call('ZREMRANGEBYSCORE', SPENT, '-inf', fmt(now))
call('ZREMRANGEBYSCORE', MISSED, fmt(ticket_us - now), fmt(now - ticket_us))

-- Stores the report of this replica, and returns the turn up to which visitors may be released early; 0:
-- none. A report counts if it is about the present epoch, from a replica that the lost store knew.
local function read_reports()
  if now >= s.recovering_until then s.to_report, s.reports, s.slots_before = 0, '', -UNLIMITED end
  if s.to_report <= 0 then return 0 end
  local kept, fresh, from_before, through = '', 0, 0, UNLIMITED * 9
  local function add(name, at, turn, was_counted)
    kept = kept .. name .. ' ' .. fmt(at) .. ' ' .. fmt(turn) .. ' ' .. was_counted .. ';'
    if now - at > SILENT_AFTER then return end
    fresh, from_before, through = fresh + 1, from_before + was_counted, math.min(through, turn)
  end
  for name, at, turn, was_counted in string.gmatch(s.reports, '(%S+) (%d+) (%d+) ([01]);') do
    if name ~= replica then add(name, tonumber(at), tonumber(turn), tonumber(was_counted)) end
  end
  if replica ~= '' and report_epoch == s.epoch then
    add(replica, now, returned_through, lost_epoch == s.origin_epoch and 1 or 0)
  end
  s.reports = kept
  -- Those of before the loss are as many as it counted; those that came since have visitors as well.
  if from_before < s.to_report or fresh < call('ZCARD', REPLICAS) then return 0 end
  -- So this store knows all replicas of before the loss, also at the next one.
  s.counts_from = math.min(s.counts_from, s.recovering_until)
  -- Visitors who were released before the loss are first.
  if through < s.watermark then return 0 end
  return through
end

if s.counts_from <= 0 then s.counts_from = now + remembered_us end
local is_recovering = now < s.recovering_until
local through = read_reports()

-- The gate of this call, and the number of visitors it may release.
local function count_due()
  local gate, due = 'closed', 0
  if not is_recovering then
    gate, due = admission_gate(s)
  elseif through > 0 and phase_gate(s) == 'rate' then
    gate, due = 'rate', due_by_rate(s)
  end
  if gate == 'rate' and due > 0 then
    due = math.min(due, unheld_slots(s))
  end
  return gate, math.min(due, max_released)
end

-- Whether a deadline is not after `passed`. Both are whole numbers of tenths of a second as texts, and a
-- comparison of texts costs a third of a conversion.
local passed = fmt(math.floor(present / 100000))
local function has_passed(deadline)
  if not deadline or #deadline ~= #passed then return not deadline or #deadline < #passed end
  return deadline <= passed
end

-- Removes the absent visitors of the next stretch of the queue; all stretches together take LAP. The stretch
-- is shorter when many visitors are due. Returns how many were removed, and whether one call may not read all
-- that is due. A full store does not keep the index, so there the clock chooses the stretch.
local function sweep()
  local waiting = call('ZCARD', QUEUE)
  local owed = math.min(now - s.swept_at, LAP) / LAP * waiting
  local _, due = count_due()
  local stretch = math.floor(math.max(math.min(owed, max_swept - due), MIN_STRETCH))
  local from = s.sweep_index
  if waiting <= stretch or from >= waiting then
    from = 0
  elseif is_full then
    from = math.floor(now / 1000) % waiting
  end
  local looked = call('ZRANGE', QUEUE, fmt(from), fmt(from + stretch - 1))
  local absent = {}
  if #looked > 0 then
    local deadlines = call('HMGET', DEADLINES, unpack_(looked))
    for i = 1, #looked do
      if has_passed(deadlines[i]) then absent[#absent + 1] = looked[i] end
    end
    for_all('HDEL', DEADLINES, absent)
    for_all('ZREM', QUEUE, absent)
  end
  s.abandoned = s.abandoned + #absent
  s.sweep_index = from + #looked - #absent
  s.swept_at = now
  local behind = owed - #looked
  if behind > 0 then s.swept_at = now - math.floor(behind / (waiting - #absent) * LAP) end
  return #absent, owed > max_swept
end

-- Deletes holders once no other device can have a valid ticket or invitation.
local function forget_holders()
  if s.has_holders == 0 then return end
  local ended = call('ZRANGEBYSCORE', HELD_UNTIL, '-inf', fmt(now), 'LIMIT', 0, fmt(max_swept))
  for_all('HDEL', HOLDERS, ended)
  for_all('ZREM', HELD_UNTIL, ended)
  s.has_holders = math.min(call('ZCARD', HELD_UNTIL), 1)
end

forget_holders()
local swept, is_behind = sweep()
local max_ended = math.max(max_swept - swept, MIN_STRETCH)
local ended = expire_slots(s, max_ended, spent_us)
is_behind = is_behind or ended >= max_ended

local gate, due = count_due()
local by_rate = gate == 'rate' and math.max(whole(s.level), 0) or 0

-- Absent visitors at the head that the sweep has not reached are removed too, up to a limit.
local max_passed = math.max(max_ended - ended, MIN_STRETCH)
local released, passed_over, reached = 0, 0, nil
local passed_before, again = s.watermark, 0
-- The pairs of one chunk, in tables that all chunks share, since growing a table costs more than filling it.
-- All slots end at the same time, and all releases that the rate does not pay for cost the same.
local slot_until, cost = fmt(now + claim_us), gate == 'rate' and BY_GRANT or FREE
local slots, costs, chunks = {}, {}, {}
for i = 1, math.min(due, CHUNK) do slots[2 * i - 1], costs[2 * i] = slot_until, cost end

-- A write of a release. DragonflyDB may be full from any command on. A release that the state does not
-- count is undone: those visitors return to their places by their tickets.
local function write(step, ...)
  local is_done, problem = pcall(step, ...)
  if is_done then return end
  for i = 1, #chunks do for_all('ZREM', ACTIVE, chunks[i]) end
  error(type(problem) == 'table' and problem.err or problem, 0)
end

-- Keeps the bounds of the open claims, for the next loss (`_admission`): "time before again total;" for each
-- part of `claim_timeout` in which visitors were released. before: the watermark before that part; again: the
-- highest turn at or below it of a visitor released again; total: all releases by then (0 0: none again).
local function note_releases()
  if is_recovering and s.claims_until > 0 then return end  -- still those of before the loss
  local parts, part_us = {}, claim_us / RELEASE_PARTS
  for at, before, turn, total in string.gmatch(s.releases, '(%d+) (%d+) (%d+) (%d+);') do
    if now - tonumber(at) <= claim_us + part_us then
      parts[#parts + 1] = { tonumber(at), tonumber(before), tonumber(turn), tonumber(total) }
    end
  end
  if released > 0 and (#parts == 0 or now - parts[#parts][1] > part_us) then
    parts[#parts + 1] = { now, passed_before, 0, 0 }
  end
  if again > 0 then
    local last = parts[#parts]
    last[3], last[4] = math.max(last[3], again), s.released
  end
  s.releases, s.again_through, s.again_at = '', 0, 0
  for i = 1, #parts do
    local words = {}
    for j = 1, 4 do words[j] = fmt(parts[i][j]) end
    s.releases = s.releases .. table.concat(words, ' ') .. ';'
    s.again_through = math.max(s.again_through, parts[i][3])
    s.again_at = math.max(s.again_at, parts[i][4])
  end
  s.owed_from = #parts > 0 and parts[1][2] or s.watermark
end

while released < due and passed_over < max_passed do
  local heads
  if is_recovering then
    heads = call('ZRANGEBYSCORE', QUEUE, '-inf', fmt(through), 'LIMIT', 0, fmt(CHUNK))
  else
    heads = call('ZRANGE', QUEUE, 0, CHUNK - 1)
  end
  if #heads == 0 then break end
  chunks[#chunks + 1] = heads
  local deadlines = call('HMGET', DEADLINES, unpack_(heads))
  local absent, here, paid, taken, first, last = {}, 0, 0, 0, nil, nil
  for i = 1, #heads do
    if released >= due then break end
    taken = i
    if has_passed(deadlines[i]) then
      absent[#absent + 1] = heads[i]
    else
      last, here, released = heads[i], here + 1, released + 1
      first = first or last
      slots[2 * here] = last
      if released > by_rate then
        paid = paid + 1
        costs[2 * paid - 1] = last
      end
    end
  end
  if last then
    local turn = score(QUEUE, last)
    if turn < PROVISIONAL then reached = turn end  -- in mode open, before a draw
    if score(QUEUE, first) <= passed_before then again = math.min(turn, passed_before) end
  end
  write(for_all, 'ZADD', ACTIVE, slots, 2 * here)
  write(for_all, 'HSET', DEADLINES, costs, 2 * paid)
  for_all('HDEL', DEADLINES, absent)
  call('ZREMRANGEBYRANK', QUEUE, 0, taken - 1)
  s.abandoned = s.abandoned + #absent
  passed_over = passed_over + #absent
end
if reached then
  local next_ = call('ZRANGE', QUEUE, 0, 0)[1]
  local is_tied = next_ and score(QUEUE, next_) == reached
  s.watermark = math.max(s.watermark, is_tied and reached - 1 or reached)
  s.reached = math.max(s.reached, reached)
end
is_behind = is_behind or passed_over >= max_passed or released >= max_released
s.sweep_index = math.max(s.sweep_index - released - passed_over, 0)
if gate == 'rate' then pay(s, released) end
-- Every visitor who was released before the loss had the time to claim. An open claim would go to a visitor
-- who was absent then.
if not is_recovering or released > 0 then s.claims_until = 0 end
s.level = capped(s.level)
s.released = s.released + released
note_releases()
yield_unconfirmed()

-- The sums of two lists of whole numbers; the shorter list is filled up with 0.
local function sums_of(one, other)
  if one == '' or other == '' then return one .. other end
  local sums, i = {}, 0
  for n in string.gmatch(one, '%d+') do sums[#sums + 1] = n end
  for n in string.gmatch(other, '%d+') do
    i = i + 1
    sums[i] = fmt(tonumber(sums[i] or '0') + tonumber(n))
  end
  return table.concat(sums, ' ')
end

-- Adds the caller's measurements to the period; returns the reply's part about a period that ends now. A
-- full store keeps no measurements and ends no period.
local function measure()
  local raw = call('HMGET', STATE, 'period_at', 'period_counts', 'period_admitted', 'steering',
    'steering_memory', 'steered_by')
  local begin = tonumber(raw[1] or '0')
  local function keep(...)
    local result = redis.pcall('HSET', STATE, ...)
    return type(result) ~= 'table' or not result.err
  end
  if raw[6] ~= targets then
    begin = 0
    if not keep('steered_by', targets, 'steering_memory', '', 'period_at', '0') then return {} end
  end
  if admission_gate(s) ~= 'rate' or rate_of(s) <= 0 then
    if begin > 0 then keep('period_at', '0') end
    return {}
  end
  local length = now - begin
  local is_over = length < 0 or length > MAX_PERIODS * period_us
  if not is_over and length < period_us then
    if measured ~= '' then keep('period_counts', sums_of(raw[2] or '', measured)) end
    return {}
  end
  local is_kept = keep('period_at', fmt(now), 'period_counts', '', 'period_admitted', fmt(s.admitted))
  if is_over or not is_kept then return {} end
  local is_waiting = call('ZCARD', QUEUE) > 0 and free_slots() > 0
  return { fmt(now), fmt(length), sums_of(raw[2] or '', measured),
    fmt(math.max(s.admitted - tonumber(raw[3] or '0'), 0)), is_waiting and '1' or '0', raw[4] or '',
    raw[5] or '' }
end

-- When the next admission of the rate is due, microseconds from now. Used only with a burst of 1: a larger
-- bucket is not full by then, and loses nothing until the next tick.
local function until_due()
  if burst >= 2 then return 0 end
  local rate, level = rate_of(s), s.level
  if rate <= 0 or level >= UNIT or phase_gate(s) ~= 'rate' or call('ZCARD', QUEUE) == 0 then return 0 end
  return math.ceil((UNIT - level) * 60 / (rate * 1000))
end

local period = {}
if period_us then
  period = measure()
elseif replica ~= '' then
  call('HDEL', STATE, 'steered_by', 'steering_memory', 'period_at', 'period_counts', 'period_admitted')
end
write(save_state, s, released + swept + ended + passed_over > 0)
local reply = reply_with(s)
reply[#reply + 1] = fmt(released)
reply[#reply + 1] = is_behind and '1' or '0'
reply[#reply + 1] = fmt(until_due())
for i = 1, #period do reply[#reply + 1] = period[i] end
return reply
