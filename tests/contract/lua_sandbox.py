"""The globals of a script, as DragonflyDB has them, in Lua."""

SANDBOX = """
local call, body = ...
local function raise(name)
  return function(_, key) error(name .. " global variable '" .. tostring(key) .. "'", 2) end
end
local unknown = { __index = raise('Script attempted to access nonexistent') }
local known = {
  string = string, table = table, math = math,
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall,
  rawequal = rawequal, rawget = rawget, rawlen = rawlen, rawset = rawset, select = select,
  setmetatable = setmetatable, getmetatable = getmetatable, tonumber = tonumber,
  tostring = tostring, type = type, xpcall = xpcall, _VERSION = _VERSION,
}
known.redis = {
  pcall = call,
  call = function(...)
    local reply = call(...)
    if type(reply) == 'table' and reply.err then error(reply.err, 0) end
    return reply
  end,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
}
local globals = setmetatable({}, {
  __index = setmetatable(known, unknown),
  __newindex = raise('Script attempted to create'),
})
local source = 'return function()\\n' .. body .. '\\nend'
local run = assert(load(source, '@user_script', 't', globals))()
return function(keys, argv)
  known.KEYS, known.ARGV = keys, argv
  return run()
end
"""
