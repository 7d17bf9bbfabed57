-- control: the operator sets the rate, the mode or the message to waiting visitors, or grants
-- admissions; 'look' reads the state.
--
-- ARGV  1 burst   2 'allow' and 3 how many, 'rate' and 3 per minute, 'mode' and 3 the mode,
--       'message' and 3 the text ('': none), or 'look' and 3 ''
-- Reply the state; 'behind' when the store is older than what the caller knows, an error for any
--       other setting.
--
-- Guarantee. What fell due under the old rate is kept, up to burst. Grants add up. Every mode can
-- be reversed: 'ended' releases no visitor, as 'hold', and takes no place. The change outlives
-- every replica. 'allow' is not idempotent: its caller must not retry.

local burst, setting, value = number(ARGV[1]), ARGV[2], ARGV[3]

local MODES = { auto = true, hold = true, open = true, ended = true }

local s = load_state()
if not s then return { 'behind' } end
if setting == 'look' then return reply_with(s) end
refill(s, burst)
if setting == 'allow' then
  s.grants = s.grants + number(value)
elseif setting == 'rate' then
  s.rate = value
  if number(value) <= 0 then s.level = 0 end
elseif setting == 'mode' and MODES[value] then
  s.mode = value
elseif setting == 'message' and value then
  s.message = value
else
  return redis.error_reply('ERR unknown control')
end
note_operator_set(s, setting)
save_state(s, true)
return reply_with(s)
