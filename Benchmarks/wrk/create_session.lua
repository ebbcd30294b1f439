-- POST that makes a Session, each with an Idempotency-Key of its own. Arguments: KEY RUN HOLDER
-- RUN is a name that no other run on the same data folder had; without it the keys would replay.
require("report")

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  run, count = args[2], 0
  headers = {
    ["Authorization"] = "Bearer " .. args[1],
    ["Content-Type"] = "application/x-www-form-urlencoded",
  }
  body = "account_holder[type]=customer&account_holder[customer]=" .. args[3]
    .. "&permissions[0]=balances&permissions[1]=ownership&permissions[2]=payment_method&permissions[3]=transactions"
    .. "&filters[countries][0]=US"
end

function request()
  count = count + 1
  headers["Idempotency-Key"] = run .. "-" .. number .. "-" .. count
  return wrk.format("POST", nil, headers, body)
end
