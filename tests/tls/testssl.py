#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""testssl.sh against weir with its default TLS configuration, an ECDSA and an RSA certificate for
the same name: testssl.py [--json FILE]. About two minutes.

Exit status 0 if no finding is above LOW, and everything could be tested, but for EXPECTED.
"""
import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "chaos")]

import harness  # noqa: E402
from authority import Authority  # noqa: E402
from backend import Backend  # noqa: E402
from peers import wait_for  # noqa: E402

FINE = ("OK", "INFO", "LOW")  # any other, testssl.sh's WARN (it could not tell) too, is a finding

# What is not weir's, and whose it is. The number of a certificate, if there are two, is not in it.
EXPECTED = {
    "cert_revocation": "the tests' authority publishes no CRL and answers no OCSP",
    "security_headers": "header fields are the application's: weir passes on what it says",
}


def scan(address, authority, tmp):
    """-> the findings, as testssl.sh's flat JSON has them"""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if program is None:
        sys.exit("testssl: testssl.sh is not installed (scripts/deps.sh testssl)")
    report = tmp / "testssl.json"
    done = subprocess.run(
        [program, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"]
        + ["--add-ca", str(authority.cert), "--ip", "127.0.0.1", "--jsonfile", str(report)]
        + [f"localhost:{address.rpartition(':')[2]}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not report.exists():
        sys.exit(f"testssl: it ended without a report:\n{done.stdout}")
    return json.loads(report.read_text())


def test(tmp):
    """-> what scan() says of a weir that serves hello's page"""
    authority = Authority(tmp / "ca")
    certs = ", ".join(str(authority.server(key=key, ends=89).cert) for key in ("ec", "rsa"))
    with contextlib.ExitStack() as stack:
        backend = Backend("hello", tmp, ledger=False)
        stack.callback(backend.kill)
        backend.start()
        wait_for(backend.up, "hello to listen", 20)
        weir = stack.enter_context(
            harness.Weir(
                f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: [ {certs} ] }} }}\n"
                f"routes: [ {{ to: hello }} ]\npools: {{ hello: [ '{backend.address}' ] }}\n",
                tmp,
            )
        )
        return scan(weir.listeners["web"], authority, tmp)


def excuse(finding):
    """Whose it is, if it is not weir's."""
    return EXPECTED.get(finding["id"].partition(" ")[0])


def verdict(findings):
    """Says what was found; whether all is well."""
    bad = [f for f in findings if f["severity"] not in FINE]
    for f in findings:
        if f["severity"] not in ("OK", "INFO"):
            why = f" (expected: {excuse(f)})" if f in bad and excuse(f) else ""
            print(f"{f['severity']:8} {f['id']}: {f['finding']}{why}")
    counts = {s: sum(f["severity"] == s for f in findings) for s in ("OK", "INFO", "LOW")}
    unexpected = [f for f in bad if not excuse(f)]
    print(
        f"testssl: {len(findings)} findings: {counts['OK']} OK, {counts['INFO']} INFO, "
        f"{counts['LOW']} LOW, {len(bad)} above LOW, of which {len(unexpected)} are weir's"
    )
    # A scan that reached nobody finds nothing bad.
    reached = any(f["id"] == "TLS1_3" and f["severity"] == "OK" for f in findings)
    if not reached:
        print("testssl: it did not see TLS 1.3: was weir reached?")
    return reached and not unexpected


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="keep the report there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-testssl-") as tmp:
        findings = test(Path(tmp))
        if options.json:
            shutil.copy(Path(tmp) / "testssl.json", options.json)
    return 0 if verdict(findings) else 1


if __name__ == "__main__":
    sys.exit(main())
