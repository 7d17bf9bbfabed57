-- control: the operator sets the rate or the mode, or grants admissions. Without a word: look.
--
-- ARGV  1 burst   2 'allow' and 3 how many, 'rate' and 3 per minute, 'mode' and 3 the mode, or
--       'look' and 3 ''
-- Reply the state; 'empty' when the store holds no state, an error on any other word.
--
-- Guarantee. What fell due under the old rate is kept, up to burst. Grants add up. The change
-- outlives every replica. Not idempotent for 'allow': its caller must not retry.

local burst, word, value = number(ARGV[1]), ARGV[2], ARGV[3]

local s = load_state()
if not s then return { 'empty' } end
if word == 'look' then return reply_with(s) end
refill(s, burst)
if word == 'allow' then
  s.grants = s.grants + number(value)
elseif word == 'rate' then
  s.rate = value
  if number(value) <= 0 then s.level = 0 end
elseif word == 'mode' and (value == 'auto' or value == 'hold' or value == 'open') then
  s.mode = value
else
  return redis.error_reply('ERR unknown control')
end
save_state(s, true)
return reply_with(s)
