# SPDX-License-Identifier: Apache-2.0
"""What is installed and released: `make install`, the manual, the completions, the unit, the tarball.
Nothing is put outside of a test's own folder."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import harness
from harness import ROOT, run_weir
from peers import wait_for
from tools import find, needs

MODE = os.environ.get("WEIR_MODE", "release")
LIMIT = 120                         # seconds for anything here, under a sanitizer too
VERSION = re.search(r"^VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]

INSTALLED = """\
etc/logrotate.d/weir
etc/weir/weir.yaml
usr/bin/weir
usr/lib/systemd/system/weir.service
usr/lib/sysusers.d/weir.conf
usr/share/bash-completion/completions/weir
usr/share/doc/weir/examples/full.yaml
usr/share/doc/weir/examples/minimal.yaml
usr/share/doc/weir/examples/sidecar.yaml
usr/share/doc/weir/examples/weir.yaml
usr/share/man/man1/weir.1
usr/share/man/man5/weir.yaml.5
usr/share/weir/grafana/weir.json
usr/share/weir/prometheus/weir.rules.yaml
usr/share/zsh/site-functions/_weir""".split()


def run(*argv, cwd=ROOT, **env):
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run([*map(str, argv)], cwd=cwd, env={**kept, **env}, text=True, umask=0o077,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(*arguments):
    return run("make", "--no-print-directory", f"MODE={MODE}", *arguments)


def files_below(path):
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir())


# ---- install -----------------------------------------------------------------------------------

@pytest.fixture
def root(tmp_path):
    path = tmp_path / "a root"
    make("install", f"DESTDIR={path}", "PREFIX=/usr")
    return path


def test_install_puts_exactly_these_files_for_all_to_read(root):
    assert files_below(root) == INSTALLED
    for name in INSTALLED:
        mode = (root / name).stat().st_mode & 0o7777
        assert mode == (0o755 if name == "usr/bin/weir" else 0o644), name
    for folder in (p for p in root.rglob("*") if p.is_dir()):
        assert folder.stat().st_mode & 0o7777 == 0o755, folder


def test_it_may_be_done_again_and_keeps_a_configuration_that_was_changed(root):
    before = {name: (root / name).read_bytes() for name in INSTALLED}
    config = root / "etc/weir/weir.yaml"
    config.write_text("# mine\n")
    make("install", f"DESTDIR={root}", "PREFIX=/usr")
    assert config.read_text() == "# mine\n"
    config.write_bytes(before["etc/weir/weir.yaml"])
    assert {name: (root / name).read_bytes() for name in files_below(root)} == before


def test_uninstall_removes_what_install_put_but_not_what_is_yours(root):
    (root / "usr/bin/other").write_text("somebody else's\n")
    make("uninstall", f"DESTDIR={root}", "PREFIX=/usr")
    assert files_below(root) == ["usr/bin/other"]
    assert not (root / "etc/weir").exists() and not (root / "usr/share/doc/weir").exists()

    make("install", f"DESTDIR={root}", "PREFIX=/usr")
    (root / "etc/weir/weir.yaml").write_text("# mine\n")
    make("uninstall", f"DESTDIR={root}", "PREFIX=/usr")
    assert files_below(root) == ["etc/weir/weir.yaml", "usr/bin/other"]


def test_another_prefix_holds_all_of_it_and_the_unit_says_so(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/weir")
    want = ["opt/weir/" + name.removeprefix("usr/") for name in INSTALLED]
    assert files_below(tmp_path) == sorted(want)
    unit = (tmp_path / "opt/weir/lib/systemd/system/weir.service").read_text()
    assert "\nExecStart=/opt/weir/bin/weir run -c /opt/weir/etc/weir/weir.yaml\n" in unit
    assert re.search(r"^[^#]*@", unit.replace("@system-service", "").replace("~@privileged", "")
                     .replace("@resources", ""), re.M) is None


def test_the_installed_weir_runs_and_accepts_the_installed_files(root):
    assert run(root / "usr/bin/weir", "version").startswith(f"weir {VERSION}\n")
    for name in INSTALLED:
        if name.endswith(".yaml") and "prometheus" not in name:
            run(root / "usr/bin/weir", "check", "--no-files", root / name)


def test_the_default_configuration_serves_this_machine_alone():
    default = yaml.safe_load((ROOT / "packaging/weir.yaml").read_text())
    assert default["admin"]["listen"].startswith("127.0.0.1:")
    assert all(at.startswith("127.0.0.1:") for at in default["listeners"].values())


# ---- version -----------------------------------------------------------------------------------

def test_version_tells_the_libraries_and_what_weir_speaks():
    told = json.loads(run_weir("version", "--json").stdout)
    assert told["version"] == VERSION
    assert list(told["libraries"]) == ["libuv", "llhttp", "libyaml", "nghttp2", "openssl",
                                       "c-ares", "jansson"]
    assert all(re.fullmatch(r"\d+\.\d+(\.\d+)?[a-z]?", v) for v in told["libraries"].values())
    assert {"http/1.1", "h2", "grpc", "websocket", "tls1.3"} <= set(told["features"])
    lines = [f"weir {VERSION}", *(f"{k} {v}" for k, v in told["libraries"].items()),
             "speaks " + " ".join(told["features"]),
             "sandbox " + " ".join(told["sandbox"]),
             f"built by {told['compiler']} ({told['build']})"]
    assert run_weir("version").stdout.splitlines() == lines


def test_version_takes_nothing_else():
    for args in (["--yaml"], ["x"], ["--json", "x"]):
        got = run_weir("version", *args)
        assert (got.returncode, got.stdout) == (2, "")


# ---- the manual and the completions ------------------------------------------------------------

def verbs():
    """-> {verb: its options}, as `weir help` has them"""
    names = re.findall(r"^  weir (\w+)", run_weir("help").stdout, re.M)
    assert {"run", "check", "schema", "version", "help"} <= set(names)
    return {name: set(re.findall(r"(?<![\w`-])--?[a-z][a-z-]*", run_weir("help", name).stdout))
            for name in names}


def plain(roff):
    """Text without roff's fonts and escapes."""
    text = re.sub(r"^\.(BI|BR|RB|IR|RI|IB|[BI]) (.*)$", lambda m: m[2].replace('"', ""), roff, flags=re.M)
    return re.sub(r"\\f.|\\&", "", text).replace("\\-", "-")


def test_weir_1_has_every_verb_and_option():
    page = (ROOT / "docs/weir.1").read_text()
    section = re.search(r"^\.SH VERBS\n(.*?)^\.SH ", page, re.M | re.S)[1]
    told = {text.split()[0]: text for text in map(plain, section.split(".TP\n")[1:])}
    assert set(told) == set(verbs())
    for verb, options in verbs().items():
        assert options - set(re.findall(r"--?[a-z][a-z-]*", told[verb])) == set(), verb
    synopsis = plain(re.search(r"^\.SH SYNOPSIS\n(.*?)^\.SH ", page, re.M | re.S)[1])
    assert re.findall(r"^weir (\w+)", synopsis, re.M) == list(verbs())


def test_weir_1_is_of_this_version():
    head = (ROOT / "docs/weir.1").read_text().splitlines()[1]
    assert f'"weir {VERSION}"' in head


@pytest.mark.parametrize("name", ["weir.bash", "_weir"])
def test_completions_have_every_verb_and_option(name):
    text = (ROOT / "completions" / name).read_text()
    for verb, options in verbs().items():
        assert re.search(rf"\b{verb}\b", text), verb
        if options:
            # From the verb's own case to the next one.
            case = re.search(rf"^    {verb}\)(.*?);;", text, re.M | re.S)
            assert case, verb
            assert options - set(re.findall(r"--?[a-z][a-z-]*", case[1])) == set(), verb


@needs("bash")
@pytest.mark.parametrize("words, offered", [
    (["sch"], ["schema"]),
    (["version", "--"], ["--json"]),
    (["schema", ""], ["--man"]),
    (["help", "ver"], ["version"]),
], ids=str)
def test_bash_completes(words, offered):
    script = ('source "$1"; shift; COMP_WORDS=(weir "$@"); COMP_CWORD=$#; _weir; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    out = run("bash", "-c", script, "-", ROOT / "completions/weir.bash", *words)
    assert out.split() == offered


@needs("zsh")
def test_zsh_takes_its_completion():
    run("zsh", "-n", ROOT / "completions/_weir")


def keys(node, path=""):
    """-> [(key as the manual names it, its node)] of a JSON Schema; the long form comes first"""
    long = node.get("anyOf", [node])[0]
    for name, below in long.get("properties", {}).items():
        yield path + name, below
        yield from keys(below, f"{path}{name}.")
    if isinstance(long.get("additionalProperties"), dict):
        yield from keys(long["additionalProperties"], path + "NAME.")
    if "items" in long:
        yield from keys(long["items"], path.removesuffix(".") + "[].")


def test_weir_yaml_5_has_every_key_of_the_schema_with_its_text_and_default():
    page = run_weir("schema", "--man").stdout
    told = dict(re.findall(r"^\.TP\n\.B (\S+)\n(.*?)(?=^\.TP|^\.S)", page, re.M | re.S))
    schema = dict(keys(json.loads(run_weir("schema").stdout)))
    assert len(schema) > 100 and list(told) == list(schema)
    for key, node in schema.items():
        assert node.get("description", "") in plain(told[key]), key
        if "default" in node:
            default = node["default"]
            text = default if isinstance(default, str) else json.dumps(default)
            assert f"; default {text}.\n" in plain(told[key]), key


@needs("man")
@pytest.mark.parametrize("name", ["weir.1", "weir.yaml.5"])
def test_the_manual_is_formatted_without_a_warning(tmp_path, name):
    page = tmp_path / name
    page.write_text((ROOT / "docs/weir.1").read_text() if name == "weir.1"
                    else run_weir("schema", "--man").stdout)
    done = subprocess.run(["man", "--warnings", "-Tutf8", "-l", page], capture_output=True,
                          env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, b"") and len(done.stdout) > 2000


# ---- the unit ----------------------------------------------------------------------------------

UNIT = ROOT / "packaging/weir.service"


def setting(name):
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)


def filled(tmp_path, program):
    unit = tmp_path / "weir.service"
    unit.write_text(UNIT.read_text().replace("@BINDIR@", str(program)).replace("@SYSCONFDIR@", "/etc"))
    return unit


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}, timeout=LIMIT)
    return done.returncode, done.stdout + done.stderr


@needs("systemd-analyze")
def test_the_unit_exposes_little(tmp_path):
    status, said = analyze("security", "--offline=true", "--no-pager", "--threshold=20",
                           filled(tmp_path, "/usr/bin"))
    assert status == 0, said        # 2.0 of 10


def allowed_calls():
    """What SystemCallFilter leaves, by systemd's own list of its groups."""
    status, said = analyze("syscall-filter", "--no-pager")
    assert status == 0, said
    groups = {}
    for line in said.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif line.startswith("#"):
            group = []              # what the kernel has and no group does
        elif line.strip() and not line.strip().startswith("#"):
            group.append(line.strip())

    def calls(name):
        return set().union(*map(calls, groups[name])) if name.startswith("@") else {name}
    allowed = calls("@default")
    for row in setting("SystemCallFilter"):
        named = set().union(*map(calls, row.lstrip("~").split()))
        allowed = allowed - named if row.startswith("~") else allowed | named
    return allowed


@needs("systemd-analyze", "strace")
@pytest.mark.exact_calls
@pytest.mark.skipif(bool(harness.sanitizer()), reason="a sanitizer makes calls of its own")
def test_weir_makes_no_call_that_the_unit_forbids(start_weir, auto, tmp_path):
    trace = tmp_path / "calls"
    config = f"""
routes: [ {{ to: app }} ]
pools: {{ app: {{ endpoints: [ "{auto().address}" ], health: {{ http: /, every: 1s }} }} }}
"""
    weir = start_weir(config, wrap=("strace", "-f", "-o", str(trace)),
                      env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    with weir.client() as client:
        assert client.get("/").status == 200
    weir.wait_metric("weir_requests_total", 1)
    weir.stop()
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
    assert {"accept4", "sendto", "prlimit64", "clone3"} <= made or {"accept4", "clone"} <= made
    assert made - allowed_calls() == {"execve"} - allowed_calls()


def test_the_unit_waits_for_what_weir_says():
    assert setting("Type") == ["notify"]
    assert setting("ExecStart") == ["@BINDIR@/weir run -c @SYSCONFDIR@/weir/weir.yaml"]
    assert setting("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert setting("CapabilityBoundingSet") == setting("AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    user = (ROOT / "packaging/weir.sysusers").read_text()
    assert f"\nu {setting('User')[0]} " in user


# ---- logrotate -----------------------------------------------------------------------------------

@needs("logrotate")
def test_logrotate_renames_the_log_and_weir_begins_another(start_weir, auto, tmp_path):
    log = tmp_path / "access.log"
    weir = start_weir(f"""
access_log: {{ path: {log}, format: "{{path}}" }}
routes: [ {{ to: app }} ]
pools: {{ app: [ '{auto().address}' ] }}
""")
    given = (ROOT / "packaging/weir.logrotate").read_text()
    rules = re.sub(r"\[ ! -d .*", f"kill -USR1 {weir.pid}", given).replace("/var/log/weir", str(tmp_path))
    assert given.count("USR1") == 2 and str(weir.pid) in rules
    (tmp_path / "rules").write_text(rules)
    (tmp_path / "rules").chmod(0o644)

    def lines(name):
        file = tmp_path / name
        return file.read_text().splitlines() if file.exists() else []
    with weir.client() as client:
        client.get("/before")
        wait_for(lambda: lines("access.log") == ["/before"], "the line before")
        run(find("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "rules")
        wait_for(log.exists, "another file")
        client.get("/after")
        wait_for(lambda: lines("access.log") == ["/after"], "the line after")
    assert lines("access.log.1") == ["/before"]


# ---- releases ----------------------------------------------------------------------------------

def is_checkout():
    """Whether git takes this tree for a repository of its own; a tarball that was unpacked is none."""
    done = subprocess.run([find("git") or "false", "rev-parse", "--show-toplevel"], cwd=ROOT,
                          capture_output=True, text=True, timeout=LIMIT)
    return done.stdout.strip() == str(ROOT)


@pytest.mark.skipif(not is_checkout(), reason="not a git checkout")
class TestTarball:
    NAME = f"weir-{VERSION}"

    @pytest.fixture
    def tarball(self, tmp_path):
        file = tmp_path / "first.tar.gz"
        run("scripts/dist.sh", self.NAME, file)
        return file

    def test_it_has_what_is_committed_and_is_the_same_each_time(self, tarball, tmp_path):
        run("scripts/dist.sh", self.NAME, tmp_path / "second.tar.gz", TZ="Asia/Tokyo", LC_ALL="C.UTF-8")
        assert tarball.read_bytes() == (tmp_path / "second.tar.gz").read_bytes()
        held = [n for n in run("tar", "-tzf", tarball).split("\n") if n and not n.endswith("/")]
        committed = run("git", "ls-tree", "-r", "--name-only", "HEAD").split("\n")[:-1]
        assert sorted(held) == sorted(f"{self.NAME}/{name}" for name in committed)

    def test_it_builds_and_makes_a_tarball_by_itself(self, tarball, tmp_path):
        run("tar", "-xzf", tarball, cwd=tmp_path)
        tree = tmp_path / self.NAME
        # As make would build it, but nothing is: that would be a minute of compiling.
        assert "-o build/weir build/obj/proxy/main.o" in run("make", "-n", "all", cwd=tree)
        before = files_below(tree)
        for name in (".git/config", "compile_commands.json"):  # git does not say that it is a checkout
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text("")
        run("make", "dist", cwd=tree, SOURCE_DATE_EPOCH="0")
        first = (tree / f"build/{self.NAME}.tar.gz").read_bytes()
        run("make", "dist", cwd=tree, SOURCE_DATE_EPOCH="0")
        assert (tree / f"build/{self.NAME}.tar.gz").read_bytes() == first
        again = tmp_path / "again"
        again.mkdir()
        run("tar", "-xzf", tree / f"build/{self.NAME}.tar.gz", cwd=again)
        assert files_below(again / self.NAME) == before


def test_the_packages_are_of_this_version():
    assert (ROOT / "packaging/debian/changelog").read_text().startswith(f"weir ({VERSION}-")
