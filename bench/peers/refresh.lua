-- wrk script: refresh over and over where every answer brings the next token. The tokens to begin with, one to a line,
-- come from the file BENCH_TOKENS: one for each connection and one more, for the request that wrk makes only to look at it.
local waiting, first, last = {}, 1, 0  -- counted: the length of a table with gaps is anything
local function wait(token)
  last = last + 1
  waiting[last] = token
end
for line in io.lines(os.getenv("BENCH_TOKENS")) do wait(line) end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = os.getenv("BENCH_AUTHORIZATION")

function request()
  local token = waiting[first]
  waiting[first] = nil
  first = first + 1
  return wrk.format(nil, nil, nil, "grant_type=refresh_token&refresh_token=" .. token)
end

function response(status, headers, body)
  if status ~= 200 then error(status .. " " .. body) end
  wait(string.match(body, '"refresh_token":"([^"]+)"'))
end
