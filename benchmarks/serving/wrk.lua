-- wrk's requests and report: `wrk ... -s wrk.lua URL -- FILE` posts FILE as JSON and prints one line of JSON at the end.

function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   wrk.headers["Content-Type"] = "application/json"
   file:close()
end

function done(summary)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "refused": %d, "socket_errors": %d}\n',
      summary.requests, summary.duration / 1e6, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
