-- SPDX-License-Identifier: Apache-2.0
-- Prints what wrk counted as one line of JSON. With a number as argument, requests are POST with so
-- many bytes. The request is made once: a `request` or `response` function would run Lua for every
-- one of them and make the load generator the slowest part.
function init(arguments)
    if arguments[1] then
        wrk.method = "POST"
        wrk.body = string.rep("x", tonumber(arguments[1]))
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    print(string.format(
        '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":' ..
        '{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}',
        summary.requests, summary.duration / 1e6, summary.bytes,
        e.connect, e.read, e.write, e.status, e.timeout))
end
