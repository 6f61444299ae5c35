# SPDX-License-Identifier: Apache-2.0
"""reload.watch: the file is read again when it has changed, in whatever way, and when it is whole."""
import os
import signal

from test_reload import ROUTES, body, filled, generations, reload, rewrite

WATCH = "reload: { watch: true }\n"


def test_a_file_that_changes_is_read_again(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(WATCH + filled(ROUTES, one, two))
    rewrite(weir, WATCH + filled(ROUTES, two, one))  # by a rename
    weir.wait_metric("weir_generation", 2)
    assert body(weir, "/a") == b"two"
    path = weir.tmp / "weir.yaml"
    path.write_text(weir._complete(WATCH + filled(ROUTES, one, two), None))  # in place
    weir.wait_metric("weir_generation", 3)
    assert body(weir, "/a") == b"one"


def test_a_broken_file_is_told_once_and_changes_nothing(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(WATCH + filled(ROUTES, one, two))
    rewrite(weir, WATCH + filled(ROUTES.replace("to: two", "to: tow"), two, one))
    weir.wait_metric("weir_reload_failed", 1)
    last = generations(weir)["last_reload"]
    assert last["result"] == "failed" and "tow" in last["said"]
    assert body(weir, "/a") == b"one" and weir.metric("weir_generation") == 1
    rewrite(weir, WATCH + filled(ROUTES, two, one))
    weir.wait_metric("weir_generation", 2)
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    weir.wait_metric("weir_reload_failed", 0)


def test_a_broken_file_that_was_reloaded_by_hand_is_not_told_of_again(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(WATCH + filled(ROUTES, one, two))
    weir.signal(signal.SIGSTOP)  # else it might find the file before it is told to
    rewrite(weir, WATCH + filled(ROUTES.replace("to: two", "to: tow"), two, one))
    weir.signal(signal.SIGHUP)
    weir.signal(signal.SIGCONT)
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    (weir.tmp / "beside").write_text("")  # has the folder looked at once more
    rewrite(weir, WATCH + filled(ROUTES, two, one))
    weir.wait_metric("weir_generation", 2)
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    weir.said("tow", 1)


def test_a_symlink_that_is_swapped_is_followed(start_weir, auto):
    """As Kubernetes changes what it mounts: the file's folder is a link to one of a new name."""
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(WATCH + filled(ROUTES, one, two))
    path = weir.tmp / "weir.yaml"
    for name, ups in (("v1", (one, two)), ("v2", (two, one))):
        (weir.tmp / name).mkdir()
        text = weir._complete(WATCH + filled(ROUTES, *ups), None)
        (weir.tmp / name / "weir.yaml").write_text(text)
    os.symlink("v1", weir.tmp / "data")
    os.symlink("data/weir.yaml", weir.tmp / "link")
    os.replace(weir.tmp / "link", path)
    weir.wait_metric("weir_generation", 2)
    os.symlink("v2", weir.tmp / "next")
    os.replace(weir.tmp / "next", weir.tmp / "data")
    weir.wait_metric("weir_generation", 3)
    assert body(weir, "/a") == b"two"


def test_who_does_not_ask_for_it_is_not_reloaded_and_who_does_is_from_then_on(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    reload(weir, WATCH + filled(ROUTES, two, one))
    rewrite(weir, filled(ROUTES, one, two))
    weir.wait_metric("weir_generation", 3)
    rewrite(weir, filled(ROUTES, two, one))
    assert body(weir, "/a") == b"one" and weir.metric("weir_generation") == 3
    reload(weir, filled(ROUTES, one, two))
    weir.wait_metric("weir_generation", 4)  # nothing was read between
