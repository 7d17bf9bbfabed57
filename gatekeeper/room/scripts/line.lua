-- line: the turns at some places of the queue.
--
-- ARGV  none
-- Reply the state, then for each of these places the number of visitors ahead and the turn, the last
--       place among them; 'behind' when the store is older than what the caller knows.
--
-- Guarantee. It changes nothing. The first ten places are among them, and of those farther back at least
-- one in each tenth of the way from the head.

local s = load_state()
if not s then return { 'behind' } end
local reply = reply_with(s)
local last, ahead = call('ZCARD', QUEUE) - 1, 0
while ahead <= last do
  local visitor = call('ZRANGE', QUEUE, fmt(ahead), fmt(ahead))[1]
  add_pair(reply, fmt(ahead), fmt(score(QUEUE, visitor)))
  local next_ = math.max(ahead + 1, math.floor(ahead * 1.1))
  if ahead < last and next_ > last then next_ = last end
  ahead = next_
end
return reply
