-- Shared part of every script of a room: loaded in front of each, so that one EVALSHA carries both.
--
-- KEYS  1 queue        ZSET visitor -> turn, microseconds; equal turns are ordered by visitor id
--       2 deadlines    HASH visitor -> deadline of the next poll, in tenths of a second of `present`
--       3 active       ZSET visitor -> expiry of the slot
--       4 revoked      ZSET visitor -> when the last of their tokens has expired
--       5 spent        ZSET visitor -> when the ticket that they claimed a slot with, or left with,
--                      has expired
--       6 replicas     ZSET replica -> time of its last call, for as long as visitors may be about to
--                      poll because of a response of it
--       7 state        HASH
--       8 unconfirmed  ZSET visitor -> expiry of the slot of a visitor that went straight through and
--                      has not returned the pass yet
--       9 missed       ZSET visitor -> minus the time of their first unclaimed release, or from the
--                      second on their new turn at the end of the line
--      10 sessions     HASH visitor with a claimed slot -> absolute end of the session
--      11 lanes        HASH visitor at a provisional turn -> lane; one for each invitation
--      12 holders      HASH visitor whose place belongs to one device -> 'device expiry': the expiry of
--                      the invitation that the device claimed with, microseconds; 0: of none
--      13 held_until   ZSET visitor in `holders` -> when no other ticket or invitation of theirs is
--                      valid any more
--      14 lane_polls   ZSET visitor of a lane -> the lane's number, then the deadline (`poll`)
--
-- ARGV  begins with the epoch and the version of the newest state that the caller has received from
--       this store (0 0: none), burst, and max_active (0: no limit). They are removed here; the
--       scripts count their arguments after them.
--
-- `windows` of the state are the events of the room: "from until phase rate;" for each span of time,
-- the phase as one letter (b before, p prequeue of a draw, q prequeue, r running, e ended), the rate
-- '-' where the room's own counts. `events` are the same for the replicas; no script reads them.
--
-- In the prequeue of a draw a visitor's turn is provisional: PROVISIONAL plus the arrival. No visitor
-- is released while one is left; `draw` moves them to the turns that they drew.
--
-- The ticket is the place of a visitor who has not returned it: the store holds confirmed visitors
-- alone, and `unconfirmed` slots. Releases and claims count the slots in `active`; where both
-- together would pass max_active, the oldest unconfirmed slots are given up.
--
-- A visitor is in at most one of queue, active, spent and revoked. A queue entry without a deadline
-- counts as one whose deadline has passed. An active visitor with a deadline was released and has
-- yet to claim: the deadline is 0 where the release cost nothing, -1 where it cost a grant, and any
-- other where it cost an admission of the rate. An active visitor without one is admitted.
--
-- Cost. With a million waiting, every lookup in a set misses the processor's caches, and each
-- command costs about as much again. Commands therefore take many visitors at a time wherever they
-- can, and a heartbeat is one field of a hash: moving a member of a ZSET by its deadline cost three
-- times that.
--
-- Numbers. DragonflyDB runs Lua 5.4 and passes scores as numbers; Redis and Valkey run 5.1 and pass
-- strings. Input goes through tonumber, output through fmt, products are made of floats, and every
-- score stays below 2^53. The bucket's level counts billionths of an admission, so that rounding
-- down at every call loses nothing that matters.

local QUEUE, DEADLINES, ACTIVE, REVOKED, SPENT, REPLICAS, STATE, UNCONFIRMED, MISSED =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local SESSIONS, LANES, HOLDERS, HELD_UNTIL, LANE_POLLS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local call = redis.call
local UNIT = 1e9
local UNLIMITED = 1e15
local PROVISIONAL = 4e15
local unpack_ = table.unpack or unpack

-- Reads an argument. To be called before the first write: a script that fails keeps its earlier
-- writes. Lua 5.1 reads 'nan' and 'inf' as numbers, and neither ever leaves a bucket that it got
-- into.
local function number(text)
  local n = tonumber(text)
  if not n or n - n ~= 0 then error('not a number') end
  return n
end

local function next_number() return number(table.remove(ARGV, 1)) end

local known_epoch, known_version = next_number(), next_number()
local burst, max_active = next_number(), next_number()

local function fmt(n) return string.format('%.0f', n) end

local function score(key, member)
  local s = call('ZSCORE', key, member)
  if s then return tonumber(s) end
  return nil
end

local time = call('TIME')
local store_now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- The clock of the room. It never steps back: where the store's has, as after a fail-over to a server
-- whose clock is behind, it runs ahead of the store's by `clock_ahead`, and one part in SLEW slower
-- until they agree. Where visitors wait, calls are less than LONGEST_STEP apart. While the room is
-- ahead, a longer step of the store's clock, as at the return to the first server, is a correction.
local now, SLEW, LONGEST_STEP, SMALL_STEP = store_now, 10, 500000, 1000000

-- A pacer never pauses longer than MAX_PAUSE. After a longer pause the store or every replica
-- was unreachable, and no heartbeat could arrive: `present`, the clock of the deadlines, stood
-- still. The replicas may also hold visitors whom they stamped meanwhile and whose turn is before
-- all newcomers. For RETURN, in which every replica calls, no visitor is therefore admitted. The
-- length of a pause in which the store's clock stepped back is unknown, so it counts as longer; steps
-- up to SMALL_STEP are corrections by the time service.
local MAX_PAUSE, RETURN, ATTENDED_KEPT_MS = 3000000, 2000000, 3600000
local REPLICA_EXPIRES_AFTER = 5000000
local present = now

-- `reached` is the highest turn of which any visitor was released; the watermark is below it while
-- other visitors of that turn still wait.
local FIELDS = { 'epoch', 'version', 'mode', 'rate', 'level', 'filled_at', 'watermark', 'last',
  'grants', 'arrived', 'released', 'admitted', 'abandoned', 'recovering_until', 'revocations',
  'origin_epoch', 'origin_version', 'configured_rate', 'attended_at', 'unattended', 'message',
  'sweep_index', 'swept_at', 'operator_set', 'claims_until', 'reached', 'overrides',
  'configured_message', 'events', 'windows', 'has_holders', 'to_report', 'reports', 'slots_before',
  'counts_from', 'owed_from', 'again_through', 'again_at', 'releases', 'clock_ahead' }
local TEXTS = { reports = true, releases = true, mode = true, rate = true, configured_rate = true, message = true,
  operator_set = true, overrides = true, configured_message = true, events = true,
  windows = true }

local stored = {}

-- The state as a table of numbers and of TEXTS, or nil when the store is empty or older than what
-- its caller knows: it was emptied, rolled back, or failed over to a copy that lagged. What it
-- would admit now, it may have admitted before. Only `join` receives the state as it is: `joins` is
-- '' for a join and 'start' for the join of a replica that starts, and so has stamped no visitor.
local function load_state(joins)
  local raw = call('HMGET', STATE, unpack_(FIELDS))
  if not raw[1] then return nil end
  local s = {}
  for i = 1, #FIELDS do
    local field, value = FIELDS[i], raw[i]
    if TEXTS[field] then
      s[field] = value or ''
    else
      s[field] = tonumber(value or '0') or 0
    end
    if value then stored[field] = s[field] end
  end
  if not joins and known_epoch > 0
    and (s.epoch ~= known_epoch or s.version < known_version) then
    return nil
  end
  local elapsed, has_stepped = store_now + s.clock_ahead - s.filled_at, false
  if elapsed < 0 then
    has_stepped = elapsed < -SMALL_STEP
    s.clock_ahead, elapsed = s.filled_at - store_now, 0
  elseif s.clock_ahead > 0 and elapsed > LONGEST_STEP then
    has_stepped, elapsed = elapsed > MAX_PAUSE, LONGEST_STEP
    local since = store_now - elapsed
    if s.filled_at < since then s.filled_at, s.clock_ahead = since, 0 end  -- it makes no admission due
  end
  now = math.max(store_now, s.filled_at + elapsed - math.floor(elapsed / SLEW))
  local pause = now - s.attended_at
  if pause > MAX_PAUSE then  -- a full store keeps the time of `advance` as an expiry alone
    local left_ms = call('PTTL', REPLICAS)
    if left_ms >= 0 then pause = math.min(pause, (ATTENDED_KEPT_MS - left_ms) * 1000) end
  end
  if pause > MAX_PAUSE or has_stepped then
    s.attended_at, s.unattended, s.was_unattended = now, s.unattended + math.max(pause, 0), true
    if joins ~= 'start' then s.recovering_until = math.max(s.recovering_until, now + RETURN) end
  end
  present = now - s.unattended
  return s
end

-- Writes the fields that differ from what is stored. `changed`: the replicas have to receive the
-- state, so its version rises.
local function save_state(s, changed)
  if changed then s.version = s.version + 1 end
  local flat = {}
  for i = 1, #FIELDS do
    local field = FIELDS[i]
    local value = s[field]
    if value ~= stored[field] then
      flat[#flat + 1] = field
      if not TEXTS[field] then value = fmt(value) end
      flat[#flat + 1] = value
    end
  end
  if #flat > 0 then call('HSET', STATE, unpack_(flat)) end
end

-- Sets the bucket's level as of now.
local function set_level(s, level)
  s.level, s.filled_at, s.clock_ahead = level, now, now - store_now
end

-- A deadline as it is stored.
local function tenths(us) return fmt(math.ceil(us / 100000)) end

-- Adds `first`, `second` to a flat list of pairs, as variadic commands take them.
local function add_pair(pairs_, first, second)
  pairs_[#pairs_ + 1] = first
  pairs_[#pairs_ + 1] = second
end

-- One command for a list of members or pairs, or for the first `count` of them, which may be none;
-- returns its reply, or 0.
local function for_all(command, key, list, count)
  count = count or #list
  if count == 0 then return 0 end
  return call(command, key, unpack_(list, 1, count))
end

-- What the operator has set in this epoch is newer than all that replicas knew before it.
local function is_set_by_operator(s, setting)
  return string.find(s.operator_set, fmt(s.epoch) .. setting .. ' ', 1, true) ~= nil
end

local function note_operator_set(s, setting)
  if is_set_by_operator(s, setting) then return end
  if not string.find(s.operator_set, fmt(s.epoch), 1, true) then s.operator_set = '' end
  s.operator_set = s.operator_set .. fmt(s.epoch) .. setting .. ' '
end
