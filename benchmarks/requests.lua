-- wrk: POSTs the requests of a file, one "path<TAB>body" a line, over and over; built once, so that wrk's own cost stays low.
-- arguments: file, value of Authorization, and optionally a prefix: then each request has a fresh Idempotency-Key.
local threads, requests, tails = {}, {}, {}
local prefix, at = nil, 0
sent = 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local headers = {
    ["Host"] = "127.0.0.1",
    ["Authorization"] = arguments[2],
    ["Content-Type"] = "application/x-www-form-urlencoded",
  }
  prefix = arguments[3]
  if prefix then headers["Idempotency-Key"] = "@" end
  for line in io.lines(arguments[1]) do
    local path, body = line:match("^(.-)\t(.*)$")
    local request = wrk.format("POST", path, headers, body)
    if prefix then
      local name = "Idempotency%-Key: "
      local _, last = request:find(name)
      table.insert(requests, request:sub(1, last))
      table.insert(tails, request:sub(last + 2))
    else
      table.insert(requests, request)
    end
  end
end

function request()
  at = at % #requests + 1
  sent = sent + 1
  if prefix then
    return requests[at] .. prefix .. string.format("%09d", sent) .. tails[at]
  end
  return requests[at]
end

function done(summary, latency)
  io.write(string.format(
    '{"answered":%d,"sent":%d,"bad":%d,"broken":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, threads[1]:get("sent"), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
