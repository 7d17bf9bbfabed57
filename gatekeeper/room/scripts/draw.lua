-- draw: moves visitors from their provisional turns to the turns that they drew.
--
-- KEYS  those of the room, then the participants of the draw: ZSET SHA-256 of the visitor id -> 0; for a
--       visitor of a lane the member is the hash, a space and the lane
-- ARGV  1 how long to keep the participants, milliseconds   2 the turns, in 16 digits each   3 the number of
--       visitors   4… the visitors, then the participant of each ('': takes part in no draw)
-- Reply the state, then the number of moved visitors; 'behind' if the store is older than what the caller
--       knows.
--
-- Guarantee. Only a visitor at a provisional turn is moved, and only once. Any number of replicas may call at
-- any time, since a turn is a function of the draw and the visitor. No visitor is released before the last
-- one is moved (`admission_gate`).

local kept_ms, turns, asking = number(ARGV[1]), ARGV[2], number(ARGV[3])
if #ARGV ~= 3 + 2 * asking or #turns ~= 16 * asking or string.find(turns, '%D') then
  error('a turn and a hash for each visitor')
end
local PARTICIPANTS = KEYS[#KEYS]

local s = load_state()
if not s then return { 'behind' } end
local scores = call('ZMSCORE', QUEUE, unpack_(ARGV, 4, 3 + asking))
local places, hashes, moved = {}, {}, 0
for i = 1, asking do
  local turn, hash = tonumber(string.sub(turns, 16 * i - 15, 16 * i)), ARGV[3 + asking + i]
  if scores[i] and tonumber(scores[i]) >= PROVISIONAL and turn < PROVISIONAL then
    add_pair(places, fmt(turn), ARGV[3 + i])
    if hash ~= '' then add_pair(hashes, '0', hash) end
    moved = moved + 1
  end
end
for_all('ZADD', PARTICIPANTS, hashes)
if #hashes > 0 then call('PEXPIRE', PARTICIPANTS, fmt(kept_ms)) end
for_all('ZADD', QUEUE, places)
if moved > 0 and undrawn(s) == 0 then call('DEL', LANES) end
if moved > 0 or s.was_unattended then save_state(s, moved > 0) end
local reply = reply_with(s)
reply[#reply + 1] = fmt(moved)
return reply
