-- SPDX-License-Identifier: Apache-2.0
-- Prints what wrk counted as one line of JSON. Only `done` is defined: a `request` or `response`
-- function would run Lua for every request and make the load generator the slowest part.
function done(summary, latency, requests)
    local e = summary.errors
    print(string.format(
        '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":' ..
        '{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}',
        summary.requests, summary.duration / 1e6, summary.bytes,
        e.connect, e.read, e.write, e.status, e.timeout))
end
