# SPDX-License-Identifier: Apache-2.0
"""The configuration is a key of etcd: what is put there serves, and what is wrong changes nothing."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

import etcd as etcds
import harness

from etcd import Door, Gateway, kv, line, page
from finding import Backends
from peers import port, wait_for
from test_discovery_etcd import own, real, shared  # noqa: F401 (fixtures)
from test_discovery_load import Load
from test_reload import body, settled
from upgrading import ended, upgrade

UNSHARE = [shutil.which("unshare"), "--pid", "--fork"]
CONFIG = """version: 1
workers: %d
listeners: { web: "127.0.0.1:0" }
admin: { listen: "127.0.0.1:0" }
shutdown: 100ms
routes: [ { to: app } ]
pools: { app: [ "%s" ] }
"""


def config(upstream):
    return CONFIG % (harness.WORKERS, upstream.address)


def args(etcd, tmp, key, *more):
    url = f"etcd://{getattr(etcd, 'address', etcd)}{key}"
    return ["run", "--config-from", url, "--ready-file", str(tmp / "ready.json"), *more]


@pytest.fixture
def start(closing):
    """start(etcd, key, options): a weir whose configuration is that key."""
    started = []

    def begin(etcd, key, *more, **options):
        tmp = Path(harness.new_tmp())
        weir = harness.Weir("", tmp, args=args(etcd, tmp, key, *more), **options)
        started.append((weir, tmp))
        return weir

    yield begin
    for weir, tmp in started:
        weir.stop()
        shutil.rmtree(tmp, ignore_errors=True)


@pytest.fixture
def two(auto):
    return auto(body=b"one"), auto(body=b"two")


def refused(etcd, key, *more, tmp):
    """What weir says when it does not start."""
    done = subprocess.run(
        [str(harness.WEIR), *args(etcd, tmp, key, *more)],
        capture_output=True,
        cwd=tmp,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and not (tmp / "ready.json").exists()
    return done.stderr.decode()


def name_of(etcd, key):
    return f"etcd://{etcd.address}{key}"


def generations(weir):
    return json.loads(weir.admin_get("/generations").body)


def weir_reload(weir):
    return subprocess.run(
        [str(harness.WEIR), "reload", "--admin", weir.admin],
        capture_output=True,
        timeout=60,
        check=False,
    )


# ---- with a real etcd ---------------------------------------------------------------------------


def test_what_is_put_serves(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    weir.said(f"serves {name_of(real, key)}")
    assert body(weir, "/") == b"one"
    real.put(key, config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.said(f"{name_of(real, key)} has changed")
    settled(weir)


def test_what_is_wrong_changes_nothing_and_is_told_with_its_place(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    real.put(key, config(two[1]).replace("routes:", "rotues:"))
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    told = f'{name_of(real, key)}:6:1: error: rotues: unknown key; did you mean "routes"?'
    weir.said(told)
    assert told in str(generations(weir))
    weir.wait_metric("weir_reload_failed", 1)
    assert body(weir, "/") == b"one"
    done = weir_reload(weir)
    assert done.returncode == 1 and told in done.stderr.decode()
    real.put(key, config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.wait_metric("weir_reload_failed", 0)


def test_a_key_that_is_deleted_changes_nothing(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    real.delete(key)
    weir.said("the key is gone; the configuration stays as it is")
    weir.wait_metric("weir_config_failing", 1)
    assert body(weir, "/") == b"one"
    weir.wait_metric("weir_reloads_total", 0)
    done = weir_reload(weir)
    assert done.returncode == 1
    assert f"{name_of(real, key)}: error: there is no such key" in done.stderr.decode()
    real.put(key, config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.wait_metric("weir_config_failing", 0)


def test_a_reload_that_is_asked_for_reads_it_again(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    done = weir_reload(weir)
    assert done.returncode == 0, done.stderr
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_reloads_total", 2, result="done")
    assert body(weir, "/") == b"one"


def test_a_canary_of_what_is_there(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    done = subprocess.run(
        [harness.WEIR, "reload", "--admin", weir.admin, "--canary", "50%", "--for", "100ms"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    weir.wait_metric("weir_canaries_total", 1, result="promoted")


def test_etcd_that_is_away_changes_nothing(start, own, two):  # noqa: F811
    etcd = own()
    etcd.put("/weir", config(two[0]))
    weir = start(etcd, "/weir")
    etcd.kill()
    weir.wait_metric("weir_config_failing", 1)
    assert body(weir, "/") == b"one"
    done = weir_reload(weir)
    assert done.returncode == 1
    assert f"{name_of(etcd, '/weir')}: error: cannot be read: " in done.stderr.decode()
    assert "nobody listens there" in done.stderr.decode()
    etcd.restart()
    etcd.put("/weir", config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.wait_metric("weir_config_failing", 0)


def test_what_is_compacted_meanwhile_is_read_anew(start, own, closing, two):  # noqa: F811
    """weir is cut off while the key changes and etcd forgets how."""
    etcd = own()
    etcd.put("/weir", config(two[0]))
    door = closing(Door(etcd.address))
    weir = start(door, "/weir")
    assert body(weir, "/") == b"one"
    wait_for(lambda: asked_for(etcd, "/weir"), "a watch")
    door.shut()
    weir.wait_metric("weir_config_failing", 1)
    etcd.put("/weir", "no configuration")
    etcd.compact(etcd.put("/weir", config(two[1])))
    assert body(weir, "/") == b"one"
    door.open()
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.said("etcd has compacted what had yet to be read")
    weir.wait_metric("weir_reloads_total", 0, result="failed")
    etcd.put("/weir", config(two[0]))
    weir.wait_metric("weir_reloads_total", 2, result="done")
    assert body(weir, "/") == b"one"


def test_a_pool_grows_and_shrinks_while_requests_run(start, real, closing):  # noqa: F811
    key, backends = real.prefix + "weir.yaml", closing(Backends(10))

    def say(count):
        addresses = '", "'.join(backends.addresses[:count])
        real.put(key, CONFIG % (harness.WORKERS, addresses))

    say(2)
    weir = start(real, key)
    load = closing(Load(weir.listeners["web"]))
    for n, count in enumerate((10, 3, 10, 2, 3), 1):
        load.some()
        say(count)
        weir.wait_metric("weir_reloads_total", n, result="done")
        load.some()
    assert load.wrong == []
    assert all(backends.served.values()), backends.served
    assert backends.that_serve(load) == backends.hosts[:3]
    weir.wait_metric("weir_errors_total", 0)
    settled(weir)


def test_the_start_waits_for_the_key(real, two, tmp, closing):  # noqa: F811
    key = real.prefix + "weir.yaml"
    stderr = open(tmp / "stderr", "wb")
    weir = subprocess.Popen(
        [str(harness.WEIR), *args(real, tmp, key, "--config-wait", "60s")], stderr=stderr, cwd=tmp
    )
    try:
        wait_for(lambda: asked_for(real, key), "somebody who watches")
        assert weir.poll() is None
        real.put(key, config(two[0]))
        wait_for((tmp / "ready.json").exists, "weir")
    finally:
        weir.terminate()
        assert weir.wait(30) == 0, (tmp / "stderr").read_text()


def can_unshare():
    return UNSHARE[0] and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs a namespace of processes")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_waits_can_be_ended_in_a_container(signum, tmp):
    """Process 1 hears of no signal that it has not asked for."""
    address = f"127.0.0.1:{port()}"
    weir = [str(harness.WEIR), *args(address, tmp, "/weir", "--config-wait", "100s")]
    with open(tmp / "stderr", "wb") as stderr:
        shell = subprocess.Popen([*UNSHARE, *weir], stderr=stderr, cwd=tmp)
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
    try:
        wait_for(lambda: "nobody listens there" in (tmp / "stderr").read_text(), "weir to wait")
        os.kill(int(children.read_text()), signum)
        assert shell.wait(harness.DEADLINE) == 128 + signum
    finally:
        for child in children.read_text().split() if shell.poll() is None else []:
            os.kill(int(child), signal.SIGKILL)
        shell.wait(harness.DEADLINE)


def test_a_start_that_waits_ends_by_the_signal(tmp):
    address = f"127.0.0.1:{port()}"
    weir = [str(harness.WEIR), *args(address, tmp, "/weir", "--config-wait", "100s")]
    with open(tmp / "stderr", "wb") as stderr, subprocess.Popen(weir, stderr=stderr) as proc:
        wait_for(lambda: "nobody listens there" in (tmp / "stderr").read_text(), "weir to wait")
        proc.terminate()
        assert proc.wait(harness.DEADLINE) == -signal.SIGTERM


def asked_for(real, key):  # noqa: F811
    """Whether anybody watches at this etcd."""
    import urllib.request

    with urllib.request.urlopen(f"http://{real.address}/metrics", timeout=5) as said:
        text = said.read().decode()
    return float(re.search(r"^etcd_debugging_mvcc_watcher_total (\S+)", text, re.M)[1]) >= 1


def test_a_start_without_the_key(real, tmp):  # noqa: F811
    key = real.prefix + "weir.yaml"
    said = refused(real, key, "--config-wait", "300ms", tmp=tmp)
    assert f"{name_of(real, key)}: error: there is no such key; weir has waited for 0.3 s" in said
    assert f"; `etcdctl put {key} < weir.yaml` puts a configuration there" in said
    assert said.endswith("weir: 1 error; nothing was started\n")


def test_a_start_with_an_empty_key(real, tmp):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, "")
    said = refused(real, key, "--config-wait", "60s", tmp=tmp)
    assert f"{name_of(real, key)}: error: the key has no value; `etcdctl put {key} < weir.yaml`" in said


def test_a_start_without_etcd_before_there_is_a_copy(tmp):
    address = f"127.0.0.1:{port()}"
    said = refused(address, "/weir", "--config-wait", "300ms", "--config-cache", "copy.yaml", tmp=tmp)
    assert "copy.yaml: warning: there is no copy yet" in said
    assert said.endswith("weir: 1 error; nothing was started\n")


def test_a_start_without_etcd(tmp):
    address = f"127.0.0.1:{port()}"
    said = refused(address, "/weir", "--config-wait", "300ms", tmp=tmp)
    assert re.search(r"etcd://[0-9.:]+/weir: error: cannot be read: .*nobody listens there", said), said


def test_a_start_while_etcd_says_nothing(closing, tmp):
    """Which is not to say that the key is missing."""
    gateway = closing(Gateway(lambda _: gateway.silence() or b"", lambda _: []))
    said = refused(gateway, "/weir", "--config-wait", "300ms", tmp=tmp)
    assert said == (
        f"{name_of(gateway, '/weir')}: error: cannot be read: etcd has not answered yet; weir has "
        "waited for 0.3 s; see whether etcd can be reached from here, or give it longer with "
        "--config-wait\nweir: 1 error; nothing was started\n"
    )


def test_a_start_with_what_is_wrong(real, tmp, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]) + "x: 1\n")
    assert f"{name_of(real, key)}:8:1: error: x: unknown key" in refused(real, key, tmp=tmp)


def test_a_start_without_etcd_from_the_copy(start, own, two, tmp):  # noqa: F811
    etcd = own()
    copy = tmp / "last.yaml"
    etcd.put("/weir", config(two[0]))
    weir = start(etcd, "/weir", "--config-cache", str(copy))
    wait_for(copy.exists, "the copy")
    assert copy.read_text() == config(two[0]) and copy.stat().st_mode & 0o777 == 0o600
    etcd.put("/weir", config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert copy.read_text() == config(two[1])
    etcd.put("/weir", "nonsense")
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    assert copy.read_text() == config(two[1])
    weir.stop()
    etcd.kill()
    again = start(etcd, "/weir", "--config-cache", str(copy), "--config-wait", "200ms")
    assert body(again, "/") == b"two"
    again.said(f"weir starts with what served last, as kept in {copy}")
    etcd.restart()
    etcd.put("/weir", config(two[0]))
    wait_for(lambda: body(again, "/") == b"one", "what is in etcd")
    wait_for(lambda: copy.read_text() == config(two[0]), "another copy")
    assert [p.name for p in tmp.iterdir() if p.name.startswith("last")] == ["last.yaml"]


def test_a_copy_that_several_write(start, real, two, tmp):  # noqa: F811
    """Each is number 1 in its container: what one has begun by its number is not another's."""
    key = real.prefix + "weir.yaml"
    copy = tmp / "last.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key, "--config-cache", str(copy))
    (tmp / f"last.yaml.{weir.pid}").mkdir()
    real.put(key, config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert copy.read_text() == config(two[1]) and copy.stat().st_mode & 0o777 == 0o600
    assert "cannot be written" not in weir.stderr()
    assert len(list(tmp.glob("last.yaml*"))) == 2


def test_a_start_with_what_is_wrong_from_the_copy(start, real, two, tmp):  # noqa: F811
    key = real.prefix + "weir.yaml"
    copy = tmp / "last.yaml"
    copy.write_text(config(two[0]))
    real.put(key, "nonsense")
    weir = start(real, key, "--config-cache", str(copy))
    weir.said(f"{name_of(real, key)}:1:1: error: ")
    assert body(weir, "/") == b"one"
    real.put(key, config(two[1]))
    wait_for(lambda: body(weir, "/") == b"two", "what is in etcd now")


def test_paths_begin_where_weir_was_started(start, real, tmp, auto):  # noqa: F811
    key = real.prefix + "weir.yaml"
    upstream = auto(body=b"found")
    real.put(key, config(upstream).replace(f'[ "{upstream.address}" ]', "{ file: app.yaml }"))
    weir_tmp = []
    old = harness.new_tmp

    def noted():
        weir_tmp.append(Path(old()))
        (weir_tmp[-1] / "app.yaml").write_text(json.dumps([upstream.address]))
        return weir_tmp[-1]

    harness.new_tmp = noted
    try:
        weir = start(real, key)
    finally:
        harness.new_tmp = old
    assert body(weir, "/") == b"found"


def test_an_upgrade_reads_it_again(start, real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    weir = start(real, key)
    ended(upgrade(weir))
    real.put(key, config(two[1]))
    wait_for(lambda: body(weir, "/") == b"two", "what was put since")


def test_who_only_drains_watches_no_more(start, real, upstream, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(upstream).replace("100ms", "20s"))
    weir = start(real, key)
    client = weir.client()
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    up = upstream.accept()
    up.request()
    old = upgrade(weir)
    weir.said("drains for at most")
    real.put(key, config(two[1]))
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    up.answer(b"late")
    assert client.response().body == b"late"
    ended(old)
    weir.said("has changed", 1)


def test_check_asks_etcd(real, two):  # noqa: F811
    key = real.prefix + "weir.yaml"
    real.put(key, config(two[0]))
    done = subprocess.run([harness.WEIR, "check", name_of(real, key)], capture_output=True, check=False)
    assert done.stdout.decode() == f"{name_of(real, key)}: valid\n"
    real.put(key, "x: 1")
    done = subprocess.run([harness.WEIR, "check", name_of(real, key)], capture_output=True, check=False)
    assert done.returncode == 1 and f"{name_of(real, key)}:1:1: error: x:" in done.stderr.decode()


def test_tls_and_a_user(start, own, authority, two, tmp):  # noqa: F811
    etcd = own(tls=authority.issue("localhost", "127.0.0.1"))
    etcd.put("/weir/a", config(two[0]))
    etcd.demand_users("weir", "secret", "/weir/")
    (tmp / "password").write_text("secret\n")
    url = f"etcds://{etcd.address}/weir/a?ca={authority.cert}&user=weir&password_file={tmp}/password"
    folder = Path(harness.new_tmp())
    run = ["run", "--config-from", url, "--ready-file", str(folder / "ready.json")]
    weir = harness.Weir("", folder, args=run)
    try:
        assert body(weir, "/") == b"one"
        etcd.put("/weir/a", config(two[1]))
        weir.wait_metric("weir_reloads_total", 1, result="done")
        assert body(weir, "/") == b"two"
        assert "secret" not in weir.stderr() and str(tmp) not in weir.stderr()
    finally:
        weir.stop()


@pytest.mark.skipif(etcds.ETCDCTL is None, reason="no etcdctl")
def test_the_config_centre_of_the_readme(own, two, tmp):  # noqa: F811
    """As it stands there, but for the port and the folder."""
    text = (harness.ROOT / "README.md").read_text().split("\n## The configuration in etcd\n")[1]
    commands = re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)[1]
    etcd = own()
    folder = Path(harness.new_tmp())
    (folder / "weir.yaml").write_text(config(two[0]))
    (folder / "new.yaml").write_text(config(two[1]))
    commands = commands.replace("127.0.0.1:2379", etcd.address).replace("/var/lib/weir", str(tmp))
    put, run, again = commands.splitlines()
    subprocess.run(["sh", "-ec", put], env=etcd.environment(), cwd=folder, check=True)
    ready = ["--ready-file", str(folder / "ready.json")]
    weir = harness.Weir("", folder, args=[*shlex.split(run)[1:], *ready])
    try:
        assert body(weir, "/") == b"one"
        subprocess.run(["sh", "-ec", again], env=etcd.environment(), cwd=folder, check=True)
        weir.wait_metric("weir_reloads_total", 1, result="done")
        assert body(weir, "/") == b"two"
        assert (tmp / "edge.yaml").read_text() == config(two[1])
    finally:
        weir.stop()


# ---- what is wrong with the command line ---------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["-c", "x", "--config-from", "etcd://a/b"], "-c and --config-from are two configurations"),
        ([], "which file? -c FILE names it, or --config-from URL a key of etcd"),
        (["-c", "x", "--config-cache", "y"], "--config-cache and --config-wait are for --config-from"),
        (["--config-from", "http://a/b"], "it begins with etcd:// or etcds://"),
        (["--config-from", "etcd://a"], "the key is missing"),
        (["--config-from", "etcd://a/"], "a key has 1 to 1023 bytes"),
        (["--config-from", "etcd://a:0/b"], "its servers are 1 to 16 of host"),
        (["--config-from", "etcd://a,,b/b"], "its servers are 1 to 16 of host"),
        (["--config-from", "etcd://a/b?ca=x"], "with etcds:// ca"),
        (["--config-from", "etcds://a/b?cert=x"], "cert and key belong together"),
        (["--config-from", "etcd://a/b?user=x"], "user and password_file belong together"),
        (["--config-from", "etcd://a/b?user=x&user=y"], "each name has one value"),
        (["--config-from", "etcd://a/b", "--config-wait", "soon"], "--config-wait is a time"),
    ],
)
def test_a_command_line_that_is_wrong(arguments, told, tmp):
    done = subprocess.run([harness.WEIR, "run", *arguments], capture_output=True, cwd=tmp, check=False)
    assert done.returncode == 2 and told in done.stderr.decode(), done.stderr


# ---- what no etcd should do ----------------------------------------------------------------------


def test_a_key_that_comes_back_with_the_same_words(start, closing, two):
    """Listed anew, it is no change; nor is a sign of life."""
    text = config(two[0])
    watched = []

    def watches(_):
        watched.append(1)
        yield line(5, created=True)
        if len(watched) == 1:
            yield line(9, canceled=True, compact_revision="8")
        else:
            yield line(9)
            gateway.silence()

    gateway = closing(Gateway(lambda _: page([kv("/weir", text, 5)], 5), watches))
    weir = start(gateway, "/weir")
    wait_for(lambda: len(watched) > 1, "another watch")
    weir.wait_metric("weir_reloads_total", 0)
    assert body(weir, "/") == b"one"


def test_a_canary_of_what_has_changed_while_an_upgrade_ran(start, closing, two):
    """The change has had to wait; so has who asks for it to be tried first, and gets that."""
    texts, lists, watched = [config(two[0])], [], []
    upgraded, changes = threading.Event(), threading.Event()

    def lists_it(_):
        lists.append(1)
        if len(lists) == 3:  # the new process, which is not to come up
            upgraded.wait(harness.DEADLINE)
            return page([kv("/weir", "nonsense", 5)], 5)
        return page([kv("/weir", texts[-1], 4 + len(texts))], 4 + len(texts))

    def watches(_):
        watched.append(1)
        yield line(4 + len(texts), created=True)
        if len(watched) == 1:
            changes.wait(harness.DEADLINE)
            texts.append(config(two[1]))
            yield line(6, events=[{"kv": kv("/weir", texts[-1], 6)}])
        gateway.silence()

    gateway = closing(Gateway(lists_it, watches))
    weir = start(gateway, "/weir")
    wait_for(lambda: watched, "a watch")
    weir.signal(signal.SIGUSR2)
    wait_for(lambda: len(lists) == 3, "the new process")
    changes.set()
    weir.said("has changed")
    reload = [harness.WEIR, "reload", "--admin", weir.admin, "--canary", "50%", "--for", "100ms"]
    with subprocess.Popen(reload, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as asked:
        wait_for(lambda: len(watched) == 2, "the watch after the list that was asked for")
        weir.metric("weir_reloads_total")
        upgraded.set()
        said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0 and said == b"generation 2 serves\n"
    weir.wait_metric("weir_canaries_total", 1, result="promoted")
    weir.wait_metric("weir_reloads_total", 1, result="done")
    assert body(weir, "/") == b"two"
    weir.said("has changed", 1)


@harness.one_thread
def test_a_configuration_without_end(closing, tmp):
    gateway = closing(Gateway(lambda _: b'{"x":"' + b"x" * (23 << 20) + b'"}', lambda _: []))
    said = refused(gateway, "/weir", "--config-wait", "10s", tmp=tmp)
    assert "cannot be read: " in said and "bytes" in said


def test_another_store_whose_key_is_as_old(start, own, two):  # noqa: F811
    """As one that was restored: the same revision is another configuration there."""
    etcd = own()
    assert etcd.put("/weir", config(two[0])) == 2
    etcd.put("/other", "")
    weir = start(etcd, "/weir")
    etcd.kill()
    shutil.rmtree(etcd.folder / "data")
    etcd.restart()
    assert etcd.put("/weir", config(two[1])) == 2
    wait_for(lambda: body(weir, "/") == b"two", "what the other store has")
    weir.wait_metric("weir_reloads_total", 1, result="done")
