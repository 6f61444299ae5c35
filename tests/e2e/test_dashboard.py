# SPDX-License-Identifier: Apache-2.0
"""The dashboard, looked at and clicked on in a headless Chromium."""
import re

import pytest

from browser import Browser, needs_chromium
from harness import ROOT
from peers import Client

PAGE = (ROOT / "dashboard" / "index.html").read_text()
HTML = "Accept: text/html,*/*;q=0.8\r\nConnection: close\r\n"


@pytest.fixture
def browser(tmp):
    b = Browser(tmp)
    yield b
    b.close()


@pytest.fixture
def shop(start_weir, auto):
    """A weir with two pools; of one the second endpoint is drained."""
    ups = [auto(body=b"a"), auto(body=b"b"), auto(body=b"c")]
    weir = start_weir(
        "routes:\n  - { name: cart, match: { host: shop.example, path: /cart }, to: cart }\n"
        "  - { name: rest, to: web }\n"
        f"pools:\n  cart: {{ endpoints: ['{ups[0].address}', {{ address: '{ups[1].address}', "
        f"drain: true }}] }}\n  web: ['{ups[2].address}']\n"
    )
    weir.ups = ups
    return weir


def page(weir):
    with Client(weir.admin) as c:
        return c.get("/", host="localhost", extra=HTML)


def test_a_browser_gets_the_page_and_nothing_it_could_load_from_elsewhere(shop):
    got = page(shop)
    assert got.get("content-type") == "text/html; charset=utf-8"
    assert got.body.decode() == PAGE
    policy = got.get("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"(src|href|action)=\"(https?:)?//", PAGE)
    assert not re.search(r"\sstyle=|\son[a-z]+=\"|innerHTML|document\.write|eval\(", PAGE)


def visit(browser, weir, dark=False):
    browser.open(f"http://{weir.admin}/", dark)
    browser.wait("document.documentElement?.dataset.ready === '1'", "the first answer")


def text(selector):
    return f"document.querySelector({selector!r})?.innerText"


def cell(address, inner):
    """Of an endpoint's row."""
    rows = "[...document.querySelectorAll('#pools tbody tr')]"
    return f"{rows}.find(r => r.dataset.key === {address!r}).querySelector({inner!r})"


@needs_chromium
def test_it_shows_what_there_is(shop, browser):
    with shop.client() as c:
        assert c.get().body == b"c"
    visit(browser, shop)
    assert browser.run(text("#state")) == "serving"
    assert "generation 1" in browser.run(text("#facts"))
    assert "Pool cart" in browser.run(text("#pools"))
    drained = shop.ups[1].address
    assert browser.run(cell(drained, ".pill") + ".innerText") == "drained"
    assert browser.run(cell(drained, ".why") + ".innerText").startswith("it is drained")
    assert f"cart, {drained}: it is drained" in browser.run(text("#trouble"))
    assert browser.run("document.title") == "(1) weir"
    routes = browser.run(text("#routes"))
    assert "shop.example /cart*" in routes and "everything" in routes
    assert "127.0.0.1:" in browser.run(text("#listeners"))
    # Each poll takes the page further, with no reload of it.
    with shop.client() as c:
        for _ in range(20):
            c.get()
    browser.wait(f"{text('#t-rate-sub')}.startsWith('21 ')", "the counter to move")
    browser.wait("document.querySelector('#p-rate path').getAttribute('d') !== null")
    assert browser.complaints == []


@needs_chromium
def test_buttons_drain_undrain_and_weigh(shop, browser):
    address = shop.ups[0].address
    visit(browser, shop)
    browser.run(cell(address, "button") + ".click()")
    browser.wait(cell(address, ".pill") + ".innerText === 'drained'", "it to be drained")
    with shop.client() as c:
        assert c.get("/cart", host="shop.example").status == 503
    browser.wait(f"{text('#trouble')}.includes('cart: no endpoint')", "the trouble to be told")
    assert browser.run(cell(address, "button") + ".innerText") == "Undrain"
    browser.run(cell(address, "button") + ".click()")
    browser.wait(cell(address, ".pill") + ".innerText === 'serving'", "it to serve")
    weigh = cell(address, "input")
    browser.run(f"{weigh}.value = 7, {weigh}.dispatchEvent(new Event('change'))")
    shop.said(f"{address} has weight 7, says the admin")
    assert browser.complaints == []


@needs_chromium
def test_recent_failures_are_listed(shop, browser):
    visit(browser, shop)
    with shop.client() as c:
        shop.ups[2].die()
        assert c.get("/lost").status in (502, 503)
    lost = "[...document.querySelectorAll('#failed tr')].find(r => r.innerText.includes('/lost'))"
    row = browser.wait(f"{lost}?.innerText", "the failure to be listed")
    assert "GET a/lost" in row and "connect" in row and "web" in row
    assert browser.complaints == []


@needs_chromium
def test_two_rows_of_one_key_stay_two(shop, browser):
    """Requests may share their id, and come within a millisecond."""
    visit(browser, shop)
    make = "() => document.createElement('p')"
    for keys in ("aab", "aab", "ba", "aaa"):
        browser.run(f"each($('said'), [...{keys!r}], k => k, {make}, (p, k) => put(p, k))")
        assert browser.run("$('said').textContent") == keys
    assert browser.complaints == []


@needs_chromium
def test_a_request_is_explained(shop, browser):
    visit(browser, shop)
    browser.run("document.querySelector('#ask [name=url]').value = 'http://shop.example/cart'")
    browser.run("document.querySelector('#ask').requestSubmit()")
    said = browser.wait(text("#said"), "the explanation")
    assert "-> cart: it matches the host shop.example, the prefix /cart" in said
    assert f"next      worker 0: {shop.ups[0].address}" in said
    assert browser.complaints == []


@needs_chromium
def test_when_weir_is_gone_it_says_so(shop, browser):
    visit(browser, shop)
    shop.stop()
    browser.wait("document.documentElement?.dataset.ready === 'failing'", "the page to notice")
    assert browser.run(text("#state")) == "no answer"
    assert "does not answer" in browser.run(text("#trouble"))


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read(shop, browser, width, dark):
    """Nothing is cut off to the right, and all text has a contrast of 4.5 to what is behind it."""
    browser.size(width, 900)
    visit(browser, shop, dark)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    faint = browser.run(CONTRAST)
    assert faint == []


CONTRAST = r"""(() => {
  const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return { rgb: m.slice(0, 3), a: m[3] ?? 1 }; };
  const light = rgb => { const [r, g, b] = rgb.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > .99) return c.rgb; }
    return [255, 255, 255]; };
  const bad = [];
  for (const e of document.body.querySelectorAll('*')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest('.skip') || ['SCRIPT', 'OPTION'].includes(e.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color).rgb), light(behind(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) bad.push(e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 20) + ' ' + ((a + .05) / (b + .05)).toFixed(2));
  }
  return bad;
})()"""


@needs_chromium
def test_everything_has_a_name_for_those_who_do_not_see_it(shop, browser):
    visit(browser, shop)
    controls = "[...document.querySelectorAll('button, input, select, meter, svg[role]')]"
    name = "(e.getAttribute('aria-label') || e.innerText || '').trim()"
    assert browser.run(f"{controls}.filter(e => !{name}).map(e => e.outerHTML)") == []
    assert browser.run("document.querySelectorAll('main, header, h1').length") == 3
