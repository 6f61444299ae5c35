# SPDX-License-Identifier: Apache-2.0
"""Path normalisation: what is routed and forwarded for what the client asked."""
from . import get

TABLE = [
    ("Dot segments are removed", "/a/./b/../c", "/a/c"),
    ("A leading dot segment is removed", "/./a", "/a"),
    ("Dot segments can't go above the root", "/../../a", "/a"),
    ("A trailing dot leaves the slash", "/a/.", "/a/"),
    ("A trailing double dot leaves the parent's slash", "/a/b/..", "/a/"),
    ("A double dot alone is the root", "/..", "/"),
    ("Encoded dots are dots", "/a/%2e%2E/b", "/b"),
    ("Half-encoded dots are dots", "/a/.%2e/b", "/b"),
    ("An encoded single dot is a dot segment", "/a/%2e/b", "/a/b"),
    ("Three dots are a name", "/a/.../b", "/a/.../b"),
    ("Dots inside a name are a name", "/a/..b/c../.d", "/a/..b/c../.d"),
    ("Unreserved octets are decoded", "/%41%7a%30%2D%5F%7E%2e", "/Az0-_~."),
    ("Hex digits become upper case", "/%c3%a9%3a", "/%C3%A9%3A"),
    ("%2F is never decoded", "/a%2fb%2F..", "/a%2Fb%2F.."),
    ("%5C is never decoded", "/a%5c..", "/a%5C.."),
    ("%25 is not decoded twice", "/%252e%252e/a", "/%252e%252e/a"),
    ("%00 is not decoded", "/a%00b", "/a%00b"),
    ("%20 is not decoded", "/a%20b", "/a%20b"),
    ("Reserved octets stay encoded", "/%3F%23%3b%26%3d", "/%3F%23%3B%26%3D"),
    ("Double slashes are kept", "//a//b//", "//a//b//"),
    ("A double dot takes one empty segment away", "/a//../b", "/a/b"),
    ("Sub-delimiters stay as they are", "/a;b=c,d!$&'()*+:@", "/a;b=c,d!$&'()*+:@"),
    ("Case is kept in the path", "/FoO/bAr", "/FoO/bAr"),
    ("Dot segments of the query are data", "/a/../b?/../%7e%2e", "/b?/../%7e%2e"),
]

VECTORS = [get(name, target=target, to=to) for name, target, to in TABLE] + [
    get("Dot segments of an absolute-form target are removed", target="http://a/x/../y", to="/y")
]
