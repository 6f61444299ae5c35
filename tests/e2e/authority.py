# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for the tests, by the openssl command: certificates of every kind that a
test asks for, in a directory of the session's own.

    pair = authority.issue("a.example")                 # pair.cert, pair.key: paths of PEM files
    authority.issue("old", ends=-1)                     # days from now
"""
import datetime
import functools
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONFIG = """
[ca]
default_ca = all
[all]
dir = {dir}
database = {dir}/index
new_certs_dir = {dir}/issued
certificate = {dir}/ca.crt
private_key = {dir}/ca.key
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = optional
organizationName = optional
"""
KEYS = {
    "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["rsa:2048"],
}


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key."""

    cert: Path
    key: Path
    serial: str = ""

    def into(self, folder, name):
        """Copies as NAME.crt and NAME.key."""
        folder.mkdir(exist_ok=True)
        shutil.copy(self.key, folder / f"{name}.key")
        shutil.copy(self.cert, folder / f"{name}.crt")
        return Pair(folder / f"{name}.crt", folder / f"{name}.key", self.serial)

    def pem(self):
        """The leaf alone."""
        return self.cert.read_text().split("-----END CERTIFICATE-----")[0] + (
            "-----END CERTIFICATE-----\n"
        )


def openssl(*args):
    """What it writes."""
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {args}: {done.stderr.decode()}"
    return done.stdout


def moment(days):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return when.strftime("%Y%m%d%H%M%SZ")


class Authority:
    def __init__(self, folder, name="weir tests"):
        self.dir = Path(folder)
        (self.dir / "issued").mkdir(parents=True)
        (self.dir / "index").touch()
        self.config = self.dir / "ca.cnf"
        self.config.write_text(CONFIG.format(dir=self.dir))
        self.cert, self.key = self.dir / "ca.crt", self.dir / "ca.key"
        self.made = 0
        openssl(
            *("req", "-x509", "-newkey", *KEYS["ec"], "-nodes", "-days", "30"),
            *("-keyout", self.key, "-out", self.cert, "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    @functools.lru_cache(maxsize=None)
    def issue(self, *names, key="ec", starts=-1, ends=10, subject=None, extra=""):
        """A certificate for these names (DNS names, or IP addresses): with none, a client's."""
        self.made += 1
        base = self.dir / f"{self.made}"
        pair = Pair(base.with_suffix(".crt"), base.with_suffix(".key"))
        subject = subject or f"/CN={names[0] if names else 'client'}"
        kinds = [("IP:" if n.replace(".", "").isdigit() or ":" in n else "DNS:") + n for n in names]
        ext = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature,keyEncipherment"]
        ext += [f"subjectAltName={','.join(kinds)}"] if names else []
        base.with_suffix(".ext").write_text("\n".join([*ext, extra, ""]))
        csr = base.with_suffix(".csr")
        openssl("req", "-newkey", *KEYS[key], "-nodes", "-keyout", pair.key, "-out", csr, "-subj", "/")
        openssl(
            *("ca", "-batch", "-config", self.config, "-notext", "-in", csr, "-out", pair.cert),
            *("-subj", subject, "-startdate", moment(starts), "-enddate", moment(ends)),
            *("-extfile", base.with_suffix(".ext")),
        )
        serial = openssl("x509", "-in", pair.cert, "-noout", "-serial").decode().strip()[7:]
        return Pair(pair.cert, pair.key, serial)

    def server(self, **kw):
        """What a test's listener or upstream shows when it doesn't matter."""
        return self.issue("a.example", "localhost", "127.0.0.1", **kw)

    def staple(self, pair, path):
        """A DER file with the OCSP answer for a certificate of ours."""
        openssl(
            *("ocsp", "-index", self.dir / "index", "-CA", self.cert, "-rsigner", self.cert),
            *("-rkey", self.key, "-issuer", self.cert, "-cert", pair.cert, "-ndays", "5"),
            *("-respout", path, "-noverify", "-no_nonce"),
        )
        return path

    # ---- contexts of the other side -------------------------------------------------------------

    def client_context(self, alpn=(), pair=None, most=None, least=None):
        """Verifies against this authority."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.load_verify_locations(self.cert)
        return _more(ctx, alpn, pair, most, least)

    def server_context(self, pair=None, alpn=(), ask=False, most=None, least=None):
        """Shows the pair; with ask, wants a client's certificate of this authority."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ask:
            ctx.verify_mode = ssl.CERT_REQUIRED
            ctx.load_verify_locations(self.cert)
        return _more(ctx, alpn, pair or self.server(), most, least)


def _more(ctx, alpn, pair, most, least):
    if pair:
        ctx.load_cert_chain(pair.cert, pair.key)
    if alpn:
        ctx.set_alpn_protocols(list(alpn))
    if most:
        ctx.maximum_version = most
    if least:
        ctx.minimum_version = least
    return ctx
