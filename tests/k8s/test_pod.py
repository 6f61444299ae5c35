# SPDX-License-Identifier: Apache-2.0
"""`make image`, and the pod of k8s/README.md's walk-through, word for word: but for ports of the
kernel's choice, a storage for images that goes when the test ends, and a network without a bridge that
would stay."""
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import kustomize
from places import ROOT

NEEDS = ("podman", "buildah", "mmdebstrap", "slirp4netns", "runc", "catatonit", "newuidmap")
PATHS = ("/usr/libexec/podman",)
ABLE, BUILD, LIMIT = 60, 360, 60  # seconds: to find out, for all images, for any other command
TOO_LONG = (124, 137, -9)  # what timeout(1) ends with
SIZE = 15_000_000  # bytes of the image of weir

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
STORAGE_CONF = """
[storage]
driver = "{0}"
graphroot = "{1}/root"
runroot = "{1}/run"
"""
ROOT_USER = os.geteuid() == 0
DRIVER = "overlay" if ROOT_USER else "vfs"  # which every kernel lets an ordinary user have


def missing():
    def found(name):
        return shutil.which(name) or any(os.path.exists(f"{p}/{name}") for p in PATHS)

    return [name for name in NEEDS if not found(name)]


pytestmark = [
    pytest.mark.timeout(540),
    pytest.mark.skipif(bool(missing()), reason=f"there is no {', '.join(missing())}: make deps-image"),
]


class Place:
    """Where commands run, so that nothing of theirs stays."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.errors = open(tmp / "stderr", "a+", errors="replace")
        (tmp / "containers.conf").write_text(CONTAINERS_CONF)
        (tmp / "storage.conf").write_text(STORAGE_CONF.format(DRIVER, tmp / "storage"))
        (tmp / "user").mkdir(mode=0o700)
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BASE", "LD_PRELOAD")}
        self.env.update(CONTAINERS_CONF=str(tmp / "containers.conf"), TMPDIR=str(tmp),
                        CONTAINERS_STORAGE_CONF=str(tmp / "storage.conf"),
                        XDG_RUNTIME_DIR=str(tmp / "user"), XDG_DATA_HOME=str(tmp / "user"))

    def end(self, command, limit=LIMIT):
        """-> (status, what it wrote). The bound holds even if this process is ended, and whatever
        a command leaves behind holds nobody up."""
        with tempfile.TemporaryFile("w+", errors="replace") as out:
            done = subprocess.run(["timeout", "-k", "5", str(limit), "bash", "-c", command],
                                  cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=self.errors)
            out.seek(0)
            return done.returncode, out.read()

    def run(self, command):
        self.errors.truncate(0)
        status, out = self.end(command)
        assert status == 0, f"{command}: {status}\n{out}{self.said()}{self.log_of_weir()}"
        return out

    def log_of_weir(self):
        """Why it does not serve, say: what is in front of its ports takes connections even then."""
        pods = ("hello-world", "registered", "sidecar")
        return self.end("; ".join(f"podman logs {pod}-weir 2>&1" for pod in pods))[1]

    def said(self):
        """What commands have written to stderr."""
        self.errors.seek(0)
        return self.errors.read()

    def skip_unless(self, what, command, limit):
        """What the machine has to be able to do, which is none of weir's business."""
        self.errors.truncate(0)
        status, _ = self.end(command, limit)
        if status != 0:
            lines = self.said().split("\n")
            why = " | ".join([line.strip() for line in lines if line.strip()][-2:])
            pytest.skip(f"{what}: {'not within %d s; ' % limit if status in TOO_LONG else ''}{why}")

    def clean(self):
        self.end("podman pod rm --all --force --time 0; podman rm --all --force --time 0")
        for line in reversed(open("/proc/self/mounts").read().splitlines()):
            where = line.split()[1]
            if where.startswith(f"{self.tmp}/"):
                subprocess.run(["umount", "--lazy", where], check=False)
        if not ROOT_USER:  # what other ids own, and the process that holds their namespace
            self.end(f"podman unshare rm -rf {self.tmp}/storage {self.tmp}/user/containers; podman system migrate")
        self.errors.close()
        until = time.monotonic() + LIMIT
        while self.tmp.exists() and time.monotonic() < until:  # what was cut off may still be tidying up
            shutil.rmtree(self.tmp, ignore_errors=True)
        assert not self.tmp.exists()


def make_root(folder):
    """A root with one program, and what that loads."""
    found = subprocess.run(["ldd", "/bin/true"], check=True, capture_output=True, text=True, timeout=10)
    for name in ["/bin/true", *re.findall(r"(/\S+) \(0x", found.stdout)]:
        to = folder / name[1:]
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, to)
    return folder


def check_machine(place):
    """Skips where containers cannot run, or where nothing can be had to build images in."""
    begun = time.monotonic()
    root = make_root(place.tmp / "root")
    if ROOT_USER:
        place.skip_unless("no namespaces here", "unshare --mount --net --pid --fork true", 10)
    place.skip_unless("podman runs no container here",
                      f"podman run --rm --network slirp4netns --rootfs {root} /bin/true", ABLE)
    place.skip_unless("no Debian to build in", "scripts/image.sh --base", BUILD)
    left = max(1, int(BUILD - (time.monotonic() - begun)))
    status, _ = place.end("make image", left)
    if status in TOO_LONG:
        pytest.skip(f"the machine is too slow or too busy: no images after {BUILD} s")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("pod"))
    try:
        check_machine(place)
        yield place
    finally:
        place.clean()
        assert str(place.tmp) not in open("/proc/self/mounts").read()


def free_ports(n):
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def walk_through(chapter):
    """The commands of a chapter of the README, without what is said of them."""
    text = (ROOT / "k8s" / "README.md").read_text()
    text = text.split(f"## {chapter}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return [re.sub(" {2,}#.*", "", line) for block in blocks for line in block.splitlines()]


class Walk:
    """A place, and ports of the kernel's choice for those of a pod."""

    def __init__(self, place, pod):
        self.place, self.pod = place, pod
        self.ports = dict(zip((8000, 9900), free_ports(2)))
        text = (ROOT / pod).read_text().replace("--linger=5", "--linger=30")
        for theirs, ours in self.ports.items():
            text = text.replace(f"hostPort: {theirs}", f"hostPort: {ours}")
        (place.tmp / "pod.yaml").write_text(text)

    def run(self, command):
        return self.place.run(self.here(command))

    def here(self, command):
        command = command.replace(self.pod, str(self.place.tmp / "pod.yaml"))
        for theirs, ours in self.ports.items():
            command = command.replace(f"localhost:{theirs}", f"localhost:{ours}")
        command = command.replace("kube play", "kube play --network slirp4netns")
        command = command.replace("etcdctl ", "etcdctl --command-timeout=40s ")
        return command.replace("curl ", "curl -sS --retry 40 --retry-all-errors --retry-delay 1 ")

    def until(self, command, pattern):
        """What is asked for comes at once, as a rule, but not on a machine as busy as this."""
        end = time.monotonic() + LIMIT / 2
        while not re.search(pattern, said := self.run(command), re.M):
            assert time.monotonic() < end, f"{command}: no {pattern} in {said}{self.place.log_of_weir()}"
            time.sleep(0.2)


def test_the_walk_through_works_as_written(place):
    walk = Walk(place, "k8s/podman.yaml")
    said = {}
    for command in walk_through("On one machine, with podman"):
        said.setdefault(command, []).append(walk.run(command))
        if command == "make image":
            check_images(place)
    check_what_was_said(said)


# What each command of the chapter has to say, in their order.
ETCD = [
    ("podman kube play", ""),
    ("etcdctl put", "^OK$"),
    ("etcdctl get", r'hello/registered:8080\n{"address":"127.0.0.1:8080"(.*\n)+.*/services/world/'),
    ("curl -i http://localhost:8000/", "^X-Backend: hello-[12]"),
    ("curl -i http://localhost:8000/world", "^X-Backend: world"),
    ("etcdctl put", "^OK$"),
    ("curl -i http://localhost:8000/earth", "^X-Backend: world"),
    ("etcdctl put", "^OK$"),
    ("podman logs registered-weir", r'edge.yaml:1:1: error: rotues: .* did you mean "routes"\?'),
    ("curl -i http://localhost:8000/earth", "^X-Backend: world"),
    ("podman kill --signal TERM registered-hello-1", "hello-1"),
    ("etcdctl get", r"\A/services/hello/registered:8082\s*\Z"),
    ("weir top --once", r"^hello .*\n +127\.0\.0\.1:8082 +serving .*\n\n"),
    ("curl -i http://localhost:8000/", "^X-Backend: hello-2"),
    ("podman stop", ""),
    ("curl -i http://localhost:8000/", "^X-Backend: hello-2"),
    ("podman kube down", ""),
]


def test_the_registry_and_the_config_centre_work_as_written(place):
    walk = Walk(place, "k8s/podman-etcd.yaml")
    commands = walk_through("With a registry and a config centre")
    assert len(commands) == len(ETCD)
    load = Load(walk.ports[8000])
    for command, (what, pattern) in zip(commands, ETCD):
        assert what in command
        if "podman kill" in command:
            load.start()
        walk.until(command.replace("podman logs registered-weir", "podman logs registered-weir 2>&1"),
                   pattern)
        if "weir top" in command:
            state = walk.run("podman inspect --format '{{.State.Running}}' registered-hello-1")
            assert state == "true\n", "it has left the pool before it ends"
            walk.run("podman kill --signal TERM registered-hello-1")  # the second: now
            assert walk.run("podman wait registered-hello-1") == "0\n"
            load.stop()


def ask(port, **fields):
    """-> (status, body), or what went wrong; on a conn of its own."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        conn.request("GET", "/", headers={name.replace("_", "-"): v for name, v in fields.items()})
        answer = conn.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as e:
        return e
    finally:
        conn.close()


class Load(threading.Thread):
    """Asks, again and again, and keeps every answer that is not the right one."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.asked, self.wrong = port, threading.Event(), 0, []

    def run(self):
        while not self.over.is_set():
            self.asked += 1
            if (said := ask(self.port)) != (200, b"Hello, World!"):
                self.wrong.append(said)

    def stop(self):
        self.over.set()
        self.join(LIMIT)
        assert self.asked > 10 and not self.wrong, (self.asked, self.wrong)


def check_images(place):
    sizes = {}
    for name in ("weir", "hello", "world", "etcd"):
        (image,) = json.loads(place.run(f"podman image inspect localhost/{name}:latest"))
        assert image["Config"]["User"] == "65532:65532"
        assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert image["Labels"]["org.opencontainers.image.title"] == name
        sizes[name] = image["Size"]
    assert sizes["weir"] < SIZE, sizes
    listed = place.run("podman export $(podman create localhost/weir:latest) | tar -t")
    files = {name for name in listed.splitlines() if not name.endswith("/")}
    assert {"usr/bin/weir", "etc/ssl/certs/ca-certificates.crt", "etc/passwd"} <= files
    assert [f for f in files if "/bin/" in f"/{f}"] == ["usr/bin/weir"], "no shell, nothing else"


def check_what_was_said(said):
    hello = said["curl -i http://localhost:8000/"]
    assert "X-Backend: hello" in hello[0] and hello[0].endswith("Hello, World!")
    assert "X-Backend: world" in said["curl -i http://localhost:8000/world"][0]
    assert said["curl http://localhost:9900/readyz"] == ["ready\n"]
    (endpoints,) = said["podman exec hello-world-weir weir top --once"]
    assert re.search(r"^ +127\.0\.0\.1:8081 +serving", endpoints, re.M), endpoints
    assert said["podman exec hello-world-weir weir probe ready"] == ["ready\n"]
    assert said["podman exec hello-world-weir weir drain --settle 1s"] == ["drained\n"]
    (refused,) = (v for k, v in said.items() if "|| echo" in k)
    assert refused == ["drained: not ready any more\n"]
    assert re.search(r"^connection: close\r?$", hello[1], re.I | re.M)
    (rights,) = (v for k, v in said.items() if k.startswith("podman inspect"))
    assert rights[0].split()[1:] == ["65532:65532", "true", "[]"], rights


# ---- how a pod with a sidecar ends ---------------------------------------------------------------


def as_pod(overlay, port):
    """The pod of hello-world, without what podman knows nothing of: its sidecar is a container among
    others, and the name of the Service leads nowhere."""
    objects = {(o["kind"], o["metadata"]["name"]): o for o in kustomize.build(ROOT / "k8s" / overlay)}
    spec = objects["Deployment", "hello-world-deployment"]["spec"]["template"]["spec"]
    containers = {c["name"]: c for c in [*spec.get("initContainers", []), *spec["containers"]]}
    made = []
    for c in containers.values():
        name = c["image"].split(":")[0]
        args = [arg.replace("--linger=25", "--linger=60") for arg in c["args"]]  # of a slow machine
        made.append({"name": c["name"], "args": args, "image": f"localhost/{name}:latest",
                     "imagePullPolicy": "Never", "securityContext": c["securityContext"]})
    (sidecar,) = (c for c in made if c["name"] == "weir")
    sidecar["ports"] = [{"containerPort": 18080, "hostIP": "127.0.0.1", "hostPort": port}]
    own = {key: spec["securityContext"][key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup")}
    return containers, {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sidecar"},
        "spec": {"restartPolicy": "Never", "securityContext": own, "containers": made,
                 "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["hello-world-service"]}]},
    }


def told_to_end(place, container):
    """What the kubelet does: the hook, then SIGTERM."""
    hook = container.get("lifecycle", {}).get("preStop", {})
    time.sleep(hook.get("sleep", {}).get("seconds", 0))
    if "exec" in hook:
        assert place.run(f"podman exec sidecar-weir {' '.join(hook['exec']['command'])}") == "drained\n"
    place.run(f"podman kill --signal TERM sidecar-{container['name']}")


def told_to_end_all(place, containers):
    threads = [threading.Thread(target=told_to_end, args=(place, c)) for c in containers]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("overlay", ["overlays/sidecar", "overlays/sidecar-classic"])
def test_who_learns_late_of_the_end_of_a_pod_is_served_to_the_last(place, overlay):
    """Requests go on for 7 seconds, and the last takes 4."""
    (port,) = free_ports(1)
    containers, pod = as_pod(overlay, port)
    (place.tmp / "pod.yaml").write_text(json.dumps(pod))
    place.run(f"podman kube play --network slirp4netns {place.tmp}/pod.yaml")
    place.run(f"curl -sS --fail --retry 40 --retry-all-errors --retry-delay 1 http://localhost:{port}/")
    load, answers = Load(port), []
    late = threading.Thread(target=lambda: answers.append(ask(port, X_Fault_Delay="4000")))
    load.start()
    native = "restartPolicy" in containers["weir"]
    services = [c for name, c in containers.items() if name != "weir"]
    threads = told_to_end_all(place, services if native else containers.values())
    time.sleep(7)
    late.start()
    load.stop()
    for thread in [*threads, late]:
        thread.join(LIMIT)
    assert answers == [(200, b"Hello, World!")]
    if native:
        assert place.run("podman wait sidecar-hello-service sidecar-world-service") == "0\n0\n"
        assert place.run("podman inspect --format '{{.State.Running}}' sidecar-weir") == "true\n"
        place.run("podman kill --signal TERM sidecar-weir")
    assert place.run("podman wait sidecar-weir") == "0\n"
    if not native:
        assert place.run("podman inspect --format '{{.State.Running}}' sidecar-hello-service") == "true\n"
    place.run(f"podman kube down {place.tmp}/pod.yaml")
