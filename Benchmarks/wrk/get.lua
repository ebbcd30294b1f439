-- GET with the secret key. Arguments: KEY
require("report")

function init(args)
  wrk.headers["Authorization"] = "Bearer " .. args[1]
end
