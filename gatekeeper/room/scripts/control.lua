-- control: the operator sets the rate, the mode or the message to those who wait, or grants
-- admissions. Without a word: look.
--
-- ARGV  1 burst   2 'allow' and 3 how many, 'rate' and 3 per minute, 'mode' and 3 the mode,
--       'message' and 3 the text ('': none), or 'look' and 3 ''
-- Reply the state; 'behind' when the store knows less than the caller, an error on any other word.
--
-- Guarantee. What fell due under the old rate is kept, up to burst. Grants add up. Every mode can
-- be taken back: 'ended' releases nobody, as 'hold', and takes no place away. The change
-- outlives every replica. Not idempotent for 'allow': its caller must not retry.

local burst, word, value = number(ARGV[1]), ARGV[2], ARGV[3]

local MODES = { auto = true, hold = true, open = true, ended = true }

local s = load_state()
if not s then return { 'behind' } end
if word == 'look' then return reply_with(s) end
refill(s, burst)
if word == 'allow' then
  s.grants = s.grants + number(value)
elseif word == 'rate' then
  s.rate = value
  if number(value) <= 0 then s.level = 0 end
elseif word == 'mode' and MODES[value] then
  s.mode = value
elseif word == 'message' and value then
  s.message = value
else
  return redis.error_reply('ERR unknown control')
end
say(s, word)
save_state(s, true)
return reply_with(s)
