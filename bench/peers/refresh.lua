-- wrk script: refresh over and over where every answer brings the next token. The tokens to begin with, one to a line,
-- come from the file BENCH_TOKENS; there are at least as many as connections, so none is ever used twice.
local waiting, first = {}, 1
for line in io.lines(os.getenv("BENCH_TOKENS")) do waiting[#waiting + 1] = line end

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
  waiting[#waiting + 1] = string.match(body, '"refresh_token":"([^"]+)"')
end
