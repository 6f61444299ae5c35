# SPDX-License-Identifier: Apache-2.0
"""Sessions that stay at their endpoint by a cookie: what it says, who believes it, when it is said
anew."""
import hashlib
import hmac
from collections import Counter

import pytest

from matrix import Matrix
from peers import RefusedEndpoint
from test_limits import free

MATRIX = Matrix()

SECRET = "0123456789abcdef"


def token(up, secret=SECRET):
    """What names an endpoint to those who know the secret."""
    mac = hmac.new(secret.encode(), up.address.encode(), hashlib.sha256)
    return mac.hexdigest()[:32]


def config(ups, sticky=f"{{ cookie: weir, secret: {SECRET} }}", more=(), top="workers: 1"):
    listed = ", ".join(
        f"{{ address: '{up.address}'{more[i] if i < len(more) else ''} }}"
        for i, up in enumerate(ups)
    )
    return (
        f"{top}\nroutes: [ {{ to: app }} ]\npools:\n"
        f"  app: {{ balance: round_robin, sticky: {sticky}, endpoints: [ {listed} ] }}\n"
    )


@pytest.fixture
def named(auto):
    """named(n, reply): upstreams that answer a, b, c..."""
    return lambda n, reply=None: [auto(body=bytes([97 + i]), reply=reply) for i in range(n)]


def cookie(value, name="weir"):
    return f"Cookie: {name}={value}\r\n"


def end_of(side):
    return "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if side.secure else "")


def test_the_cookie_is_exactly_this(start_weir, named, side):
    """BEHAVIOUR 7: sticky cookie: an opaque keyed hash of the endpoint, HttpOnly, SameSite=Lax."""
    ups = named(1)
    weir = start_weir(config(ups))
    with weir.client() as c:
        assert c.get().all("set-cookie") == [f"weir={token(ups[0])}{end_of(side)}"]


def test_a_cookie_is_obeyed_and_not_repeated(start_weir, named):
    ups = named(3)
    weir = start_weir(config(ups))
    with weir.client() as c:
        for i, up in [(1, ups[1]), (2, ups[2]), (0, ups[0]), (1, ups[1])] * 5:
            got = c.get(extra=cookie(token(up)))
            assert got.body == b"abc"[i : i + 1] and got.all("set-cookie") == []


def test_what_a_client_is_told_brings_it_back(start_weir, named):
    weir = start_weir(config(named(4), sticky="weir"))
    homes = set()
    with weir.client() as c:
        for _ in range(8):
            first = c.get()
            told = first.get("set-cookie").split(";")[0]
            homes.add(first.body)
            for _ in range(3):
                again = c.get(extra=f"Cookie: {told}\r\n")
                assert again.body == first.body and again.all("set-cookie") == []
    assert homes == {b"a", b"b", b"c", b"d"}


@pytest.mark.parametrize("workers", [1, 4])
def test_all_workers_and_instances_with_the_secret_agree(start_weir, named, workers):
    ups = named(3)
    for _ in range(2):
        weir = start_weir(config(ups, top=f"workers: {workers}"))
        for _ in range(12):
            with weir.client() as c:
                assert c.get(extra=cookie(token(ups[1]))).body == b"b"


def test_without_a_secret_instances_do_not_agree(start_weir, named):
    ups = named(2)
    told = []
    for _ in range(2):
        with start_weir(config(ups, sticky="weir")).client() as c:
            told.append({c.get().get("set-cookie").split(";")[0] for _ in range(8)})
    assert len(told[0]) == len(told[1]) == 2 and not told[0] & told[1]


FORGED = {
    "of another secret": lambda up: token(up, "0123456789abcdeg"),
    "in capitals": lambda up: token(up).upper(),
    "cut off": lambda up: token(up)[:-1],
    "with more behind it": lambda up: token(up) + "0",
    "quoted": lambda up: f'"{token(up)}"',
    "empty": lambda up: "",
    "the address": lambda up: up.address,
    "its plain hash": lambda up: hashlib.sha256(up.address.encode()).hexdigest()[:32],
    "long": lambda up: token(up) * 100,
}


@pytest.mark.parametrize("what", FORGED)
def test_what_was_not_issued_decides_nothing(start_weir, named, side, what):
    ups = named(2)
    weir = start_weir(config(ups))
    tokens = {b"a": token(ups[0]), b"b": token(ups[1])}
    with weir.client() as c:
        got = [c.get(extra=cookie(FORGED[what](ups[0]))) for _ in range(8)]
    assert Counter(r.body for r in got) == {b"a": 4, b"b": 4}
    assert [r.get("set-cookie") for r in got] == [
        f"weir={tokens[r.body]}{end_of(side)}" for r in got
    ]


def test_of_several_cookies_the_first_that_names_an_endpoint(start_weir, named):
    """One of another path, or of a time before, may stand first."""
    ups = named(3)
    weir = start_weir(config(ups))
    a, b = token(ups[0]), token(ups[1])
    lines = [
        f"Cookie: x=1; weir=old; weir={b}; weir={a}; y=2\r\n",
        f"Cookie: weir=old\r\nCookie: weir={b}\r\nCookie: weir={a}\r\n",
        f"Cookie: weirr={a};weir={b}\r\n",
        f"Cookie: Weir={a}; weir={b}\r\n",
    ]
    with weir.client() as c:
        for line in lines * 3:
            got = c.get(extra=line)
            assert got.body == b"b" and got.all("set-cookie") == []


def test_the_answers_own_cookies_stay_as_they_are(start_weir, named, side):
    own = ["session=1; Path=/x, y", "weir=mine; Expires=Thu, 01 Jan 2099 00:00:00 GMT"]
    lines = "".join(f"Set-Cookie: {v}\r\n" for v in own)
    ups = named(1, lambda _: f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n".encode())
    weir = start_weir(config(ups))
    with weir.client() as c:
        assert c.get().all("set-cookie") == [*own, f"weir={token(ups[0])}{end_of(side)}"]
        assert c.get(extra=cookie(token(ups[0]))).all("set-cookie") == own


def test_the_upstream_gets_the_clients_cookies_unchanged(start_weir, named):
    ups = named(1)
    weir = start_weir(config(ups))
    with weir.client() as c:
        c.get(extra=f"Cookie: a=b; weir={token(ups[0])}; c=d\r\n")
    assert ups[0].requests[0].all("cookie") == [f"a=b; weir={token(ups[0])}; c=d"]


def test_path_and_age_are_said(start_weir, named, side):
    ups = named(1)
    sticky = f"{{ cookie: __Host-w, ttl: 90m, path: /shop, secret: {SECRET} }}"
    weir = start_weir(config(ups, sticky))
    secure = "; Secure" if side.secure else ""
    with weir.client() as c:
        assert c.get().get("set-cookie") == (
            f"__Host-w={token(ups[0])}; Path=/shop; Max-Age=5400; HttpOnly; SameSite=Lax{secure}"
        )


@pytest.mark.parametrize("proto", ["http", "https", "HTTPS, http", "http, https"])
def test_secure_is_what_a_trusted_proxy_says_of_the_client(start_weir, named, proto):
    ups = named(1)
    weir = start_weir(
        config(
            ups,
            top="workers: 1\nlisteners: { web: { bind: '127.0.0.1:0', "
            "trusted_proxies: [ 127.0.0.0/8 ] } }",
        )
    )
    with weir.client() as c:
        told = c.get(extra=f"X-Forwarded-Proto: {proto}\r\n").get("set-cookie")
    assert told.endswith("; Secure") == proto.lower().startswith("https")


def test_an_error_of_the_upstream_keeps_the_session_and_weirs_own_says_nothing(
    start_weir, named, closing
):
    ups = named(1, lambda _: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    with start_weir(config(ups)).client() as c:
        assert c.get().get("set-cookie").startswith(f"weir={token(ups[0])};")
    down = closing(RefusedEndpoint())
    with start_weir(config([down])).client() as c:
        got = c.get(extra=cookie(token(down)))
        assert got.status == 502 and got.all("set-cookie") == []


def test_an_interim_response_says_nothing(start_weir, named):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    ups = named(1, lambda _: hints + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with start_weir(config(ups)).client() as c:
        got = c.get()
        assert [i.all("set-cookie") for i in got.interim] == [[]]
        assert len(got.all("set-cookie")) == 1


def test_a_session_moves_when_its_endpoint_is_gone(start_weir, named, closing, side):
    """BEHAVIOUR 7: ... falls back when it is gone."""
    down, ups = closing(RefusedEndpoint()), named(1)
    weir = start_weir(config([down, *ups]))
    with weir.client() as c:
        got = c.get(extra=cookie(token(down)))
        assert got.body == b"a" and got.get("set-cookie") == f"weir={token(ups[0])}{end_of(side)}"
    weir = start_weir(config(ups))
    with weir.client() as c:
        got = c.get(extra=cookie(token(down)))
        assert got.body == b"a" and got.get("set-cookie") == f"weir={token(ups[0])}{end_of(side)}"


@pytest.mark.parametrize("out", [", drain: true", ", weight: 0"], ids=["drain", "weight 0"])
def test_a_draining_endpoint_keeps_its_sessions_and_gets_no_new_ones(start_weir, named, out):
    ups = named(3)
    weir = start_weir(config(ups, more=(out,)))
    with weir.client() as c:
        for _ in range(6):
            got = c.get(extra=cookie(token(ups[0])))
            assert got.body == b"a" and got.all("set-cookie") == []
            assert c.get().body in b"bc"


def test_a_backup_keeps_no_session_once_another_is_usable(start_weir, named):
    """BEHAVIOUR 7: backup endpoints take traffic only when no other is usable."""
    ups = named(2)
    weir = start_weir(config(ups, more=(", backup: true",)))
    with weir.client() as c:
        got = c.get(extra=cookie(token(ups[0])))
        assert got.body == b"b" and got.get("set-cookie").startswith(f"weir={token(ups[1])};")


# ---- an endpoint that takes no more -------------------------------------------------------------

def begin(weir, extra=""):
    c = weir.client()
    c.send(f"GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n")
    return c


@pytest.fixture
def holding(start_weir, named):
    """holding(queue, out, workers): (weir, upstream, upstream), which take one request each and keep
    it; a request of a session is in flight at the first."""

    def make(queue="{ wait: 1h }", out="", workers=1):
        ups = named(2, lambda _: None)
        listed = ", ".join(f"{{ address: '{u.address}', max_requests: 1{o} }}" for u, o in zip(ups, (out, "")))
        weir = start_weir(
            "routes: [ { to: app } ]\npools:\n"
            f"  app: {{ sticky: {{ cookie: weir, secret: {SECRET} }}, queue: {queue},"
            f" endpoints: [ {listed} ] }}\n",
            workers=workers,
        )
        first = begin(weir, cookie(token(ups[0])))
        ups[0].wait_held(1)
        return weir, first, *ups

    return make


@pytest.mark.parametrize("out", ["", ", drain: true", ", weight: 0"], ids=["in use", "drain", "weight 0"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_session_whose_endpoint_is_full_waits_for_it(holding, out, workers):
    """As with HAProxy: full is not gone. It goes on there even while another is idle."""
    weir, first, own, other = holding(out=out, workers=workers)
    waiting = [begin(weir, cookie(token(own))) for _ in range(5)]
    weir.wait_metric("weir_pool_queued", 5, pool="app")
    for _ in range(6):
        own.wait_held(1)
        free(own)
    for c in [first, *waiting]:
        answer = c.response()
        assert (answer.body, answer.all("set-cookie")) == (b"a", [])
    assert not other.requests
    weir.wait_metric("weir_pool_queued", 0, pool="app")
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")


def test_those_that_wait_for_their_endpoint_keep_nobody_from_another(holding):
    weir, first, own, other = holding(queue="{ wait: 1h, max: 2 }")
    waiting = [begin(weir, cookie(token(own))) for _ in range(2)]
    weir.wait_metric("weir_pool_queued", 2, pool="app")
    for _ in range(3):
        c = begin(weir)
        other.wait_held(1)
        free(other)
        assert c.response().body == b"b"
    own.release()
    own.wait_held(1)
    own.release()
    own.wait_held(1)
    own.release()
    assert [c.response().body for c in (first, *waiting)] == [b"a"] * 3


def test_nobody_else_takes_the_place_that_a_session_waits_for(holding):
    weir, first, own, other = holding()
    session = begin(weir, cookie(token(own)))
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    busy = begin(weir)
    other.wait_held(1)
    stranger = begin(weir)  # which any endpoint would do for
    weir.wait_metric("weir_pool_queued", 2, pool="app")
    free(own)
    own.wait_held(1)
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    free(own)
    assert (first.response().body, session.response().body) == (b"a", b"a")
    own.wait_held(1)  # nobody's endpoint any more
    own.release()
    assert stranger.response().body == b"a"
    other.release()
    assert busy.response().body == b"b"


def test_a_session_waits_for_so_long_at_most(holding):
    weir, first, own, other = holding(queue="{ wait: 50ms }")
    with weir.counts("queue_timeout"), weir.client() as c:
        assert c.get(extra=cookie(token(own))).status == 503
    weir.wait_metric("weir_pool_queued", 0, pool="app")
    own.release()
    assert first.response().body == b"a"
    assert not other.requests


def test_who_stops_waiting_for_its_endpoint_leaves_it_to_others(holding):
    weir, first, own, other = holding()
    session = begin(weir, cookie(token(own)))
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    busy = begin(weir)
    other.wait_held(1)
    stranger = begin(weir)
    weir.wait_metric("weir_pool_queued", 2, pool="app")
    with weir.counts("client_closed"):
        session.close()
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    free(own)
    own.wait_held(1)
    own.release()
    other.release()
    assert (first.response().body, stranger.response().body, busy.response().body) == (b"a", b"a", b"b")


@pytest.mark.parametrize("queue", ["none", "{ wait: 1h, max: 1 }"])
def test_a_session_that_cannot_wait_moves(holding, queue):
    weir, first, own, other = holding(queue)
    waiting = []
    if queue != "none":
        waiting.append(begin(weir, cookie(token(own))))
        weir.wait_metric("weir_pool_queued", 1, pool="app")
    c = begin(weir, cookie(token(own)))
    other.wait_held(1)
    other.release()
    answer = c.response()
    assert answer.body == b"b" and answer.get("set-cookie").startswith(f"weir={token(other)};")
    for client in [first, *waiting]:
        own.wait_held(1)
        free(own)
        assert client.response().body == b"a"
