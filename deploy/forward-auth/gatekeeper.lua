-- Asks Gatekeeper whether a request may pass. Loaded by haproxy.cfg.
-- Sets txn.gatekeeper to "admitted", "waiting", "unreachable" or "refused", and what the gate adds.

local gate = "http://gate:8080"
local timeout_ms = 2000  -- of one attempt; HAProxy makes up to four
local most_fields = 100  -- below tune.http.maxhdr (101): with more, the HTTP client of HAProxy ends the process

-- These are for one connection, or for the body, which is not sent.
local dropped = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true,
  ["upgrade"] = true,
}

local function first(headers, name)
  local values = headers and headers[name]
  return values and values[0]
end

local function ask(txn)
  local headers = txn.http:req_get_headers()
  local fields = {}
  local count = 0
  for name, values in pairs(headers) do
    if not dropped[name] then
      local list = {}
      for at = 0, #values do
        list[#list + 1] = values[at]
      end
      fields[name] = list
      count = count + #list
    end
  end
  fields["x-forwarded-method"] = { txn.sf:method() }
  fields["x-forwarded-uri"] = { txn.sf:pathq() }
  if count + 2 > most_fields then
    txn:set_var("txn.gatekeeper", "refused")
    return
  end
  txn:set_priv({
    cookie = first(headers, "cookie") or "",
    host = first(headers, "host") or "",
    proto = first(headers, "x-forwarded-proto") or "http",
    token = first(headers, "x-queue-token"),
  })
  local response = core.httpclient():get({
    url = gate .. "/.gatekeeper/auth?nginx", headers = fields, timeout = timeout_ms,
  })
  local known = response and response.headers and response.headers["x-gatekeeper-state"]
  if not known then -- HAProxy's own response: the gate did not reply
    txn:set_var("txn.gatekeeper", "unreachable")
    return
  end
  if response.status ~= 200 then
    txn:set_var("txn.gatekeeper", "waiting")
    return
  end
  txn:set_var("txn.gatekeeper", "admitted")
  for variable, name in pairs({
    gatekeeper_visitor = "x-gatekeeper-visitor", gatekeeper_room = "x-gatekeeper-room",
    gatekeeper_cookie = "set-cookie", gatekeeper_token = "x-queue-token",
  }) do
    local value = first(response.headers, name)
    if value then
      txn:set_var("txn." .. variable, value)
    end
  end
end

-- The visitor's session ends: what the gate's own page does to leave.
local function command(txn)
  local visitor, room = txn:get_priv(), txn:get_var("txn.gatekeeper_room")
  if not visitor or not room then
    return
  end
  -- The token may be as new as this very response.
  local token = txn:get_var("txn.gatekeeper_token") or visitor.token
  local cookie = visitor.cookie .. "; " .. (txn:get_var("txn.gatekeeper_cookie") or "")
  core.httpclient():post({
    url = gate .. "/.gatekeeper/leave?room=" .. room, timeout = timeout_ms, body = "",
    headers = {
      ["host"] = { visitor.host }, ["cookie"] = { cookie },
      ["x-forwarded-proto"] = { visitor.proto }, ["x-queue-token"] = token and { token },
    },
  })
end

core.register_action("gatekeeper", { "http-req" }, ask, 0)
core.register_action("gatekeeper_command", { "http-res" }, command, 0)
