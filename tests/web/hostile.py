"""Request targets that must never reach a hub, and requests that are no HTTP."""

from typing import Final

_DOTS: Final = (
    "..", ".", "%2e%2e", "%2E%2E", ".%2e", "%2e.", "%2e", "..%2f", "..%2F..", "%2e%2e%2f", "%2e%2e%2fetc",
    "..%5c", "..\\", "..%00", "%2e%00", "%252e%252e", "%252e", "..%252f", "%252e%252e%252f", ".%252e",
    "%25%32%65%25%32%65", "..%252fetc", "%2e%252e", "a%2f..", "a%2f..%2fb", "a%2f.%2fb", "a%252f..%252fb",
)  # fmt: skip
_SHAPES: Final = ("/{}", "/{}/x", "/a/{}", "/a/{}/b", "/api/models/{}", "/a/b/resolve/main/{}/c")

# Where a path may hold such a thing at all, a pattern of dots is refused in every place.
_DOTTED: Final = tuple(shape.format(dots) for dots in _DOTS for shape in _SHAPES)

_OTHERS: Final = (
    # empty segments
    "//", "//etc/passwd", "///", "/a//b", "/a/b//", "/%2f", "/%2Fetc/passwd", "/a/%2f/b", "/a%2f%2fb",
    "/a%2F/", "/%2f%2f%2f..", "/a%2f", "/a/b%2F", "/a%252f%252fb", "//host/path", "/a///b",
    # NUL and control characters, by any name
    "/%00", "/a%00", "/a%00.json", "/a/%01b", "/%0a", "/a%0d%0aX-Evil:1", "/a%0D", "/%09", "/a%1b[0m",
    "/%7f", "/a%c2%80", "/a%c2%9f", "/a%2500", "/a%250a", "/a%25%30%30", "/a%250d%250aX:1",
    # backslashes
    "/%5c", "/a%5cb", "/%5c%5chost", "/a%5C..%5Cb", "/a%255cb", "/c:%5cboot.ini",
    # not UTF-8
    "/%ff", "/%c0%ae%c0%ae/", "/%c0%af", "/%e0%80%ae", "/a%80", "/%f8%80%80%80%af", "/%ed%a0%80", "/%fe%ff",
    "/a%25ff", "/%25c0%25ae", "/%f4%90%80%80", "/%c3",
    # percent signs that encode nothing
    "/%", "/a%", "/%z", "/%zz", "/%2", "/a%2/b", "/%u002e", "/%%32%65", "/%-1", "/% 41",
    # not a path
    "http://169.254.169.254/latest", "https://evil.test/", "HTTP://EVIL.TEST/x", "ftp://a/b", "file:///etc/passwd",
    "evil.test:80", "a/b", "..", "?q", "*", "http:/a", "javascript:alert(1)", "http://user:pw@evil.test/",
    # characters that have no place in a target
    "/a#b", '/a"b', "/a<b>", "/a^b", "/a`b", "/a{b}", "/a|b", "/a\\b", "\\a", "/\\host",
    # too long
    "/" + "a" * 256, "/a/" + "b" * 300, "/" + "%61" * 256, "/" + "%c3%a9" * 128, "/x/" + "%2525" * 1000,
    "/" + "/".join(["a" * 200] * 41), "/a?" + "q" * 8300,
    # over and over
    "/%25252525252e", "/%2525252e%2525252e",
)  # fmt: skip

TARGETS: Final = tuple(dict.fromkeys(_DOTTED + _OTHERS))

# Names that some system takes for another one, or for a device. To the Hub they are names like others, so
# they get as far as its grammar; what matters is what they do to a store whose paths are not made of names.
ODD_NAMES: Final = (
    "CON", "con", "PRN", "AUX", "NUL", "nul.txt", "COM1", "LPT9.json", "CONIN$", "a:b", "a::$DATA", "C:",
    "c:a", "a.", "a..", "a%20", "%20a", "~", "~root", "$HOME", "%24%7BHOME%7D", "%60id%60", "$(id)", "-rf",
    "--help", "a;b", "a%7Cb", "a*", "a%3F", "a%22", "desktop.ini", "Thumbs.db", ".git", ".htaccess",
    ".DS_Store", "PROGRA~1", "%EF%BC%8F", "%E2%88%95", "%E2%80%AE", "%EF%BB%BFa", "%E2%80%8B", "a%CC%81",
    "%C3%A1", "%E2%84%AA", "%C4%B1", "%EF%BC%8E%EF%BC%8E", "%E2%80%A6", "%F0%9F%92%A9", "%EF%BF%BD",
    "%EF%BF%BF", "%C2%AD", "a%25b", "100%25", "%25", "a%2525", "x" * 255, "%C3%A9" * 127, "index.sqlite3",
    "lock", "secret", "control.sock",
)  # fmt: skip

METHODS: Final = ("CONNECT", "TRACE", "PROPFIND", "MKCOL", "LINK", "PURGE", "SUBSCRIBE")

_GET: Final = b"GET /x HTTP/1.1\r\nHost: m\r\n"
_POST: Final = b"POST /x HTTP/1.1\r\nHost: m\r\n"

_CHUNKS: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n"

# Requests whose framing two parsers could read in two ways, and what is no HTTP/1.1 at all.
FRAMINGS: Final = {
    "length and chunked": _POST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "two equal lengths": _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": _POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": _POST + b"Content-Length: +3\r\n\r\nabc",
    "negative length": _POST + b"Content-Length: -3\r\n\r\nabc",
    "hexadecimal length": _POST + b"Content-Length: 0x3\r\n\r\nabc",
    "spaced length": _POST + b"Content-Length: 3 4\r\n\r\nabc",
    "unknown coding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before the colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /x HTTP/1.1\nHost: m\n\n",
    "folded header": _GET + b"X-A: b\r\n c\r\n\r\n",
    "tab before the coding": _POST
    + b"Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "vertical tab before the coding": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "two codings": _POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": _POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "empty coding": _POST + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc",
    "gzip before chunked": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "quoted coding": _POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding with a parameter": _POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /x HTTP/1.0\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "empty length": _POST + b"Content-Length:\r\n\r\n",
    "fraction of a length": _POST + b"Content-Length: 3.0\r\n\r\nabc",
    "length with an exponent": _POST + b"Content-Length: 1e1\r\n\r\nabc",
    "length with an underscore": _POST + b"Content-Length: 1_0\r\n\r\nabc",
    "length beyond 64 bits": _POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "length in other digits": _POST + "Content-Length: ٣\r\n\r\nabc".encode(),
    "length with a comma": _POST + b"Content-Length: 3,\r\n\r\nabc",
    "space before the length's colon": _POST + b"Content-Length : 3\r\n\r\nabc",
    "negative chunk": _CHUNKS + b"-1\r\nx\r\n0\r\n\r\n",
    "signed chunk": _CHUNKS + b"+1\r\nx\r\n0\r\n\r\n",
    "chunk without a size": _CHUNKS + b"\r\nx\r\n0\r\n\r\n",
    "space before a chunk": _CHUNKS + b" 1\r\nx\r\n0\r\n\r\n",
    "space after a chunk's size": _CHUNKS + b"1 \r\nx\r\n0\r\n\r\n",
    "chunk beyond 64 bits": _CHUNKS + b"10000000000000001\r\nx\r\n0\r\n\r\n",
    "chunk longer than it says": _CHUNKS + b"1\r\nxyz\r\n0\r\n\r\n",
    "chunk with bare line feeds": _CHUNKS + b"1\nx\n0\n\n",
    "chunk with bare returns": _CHUNKS + b"1\rx\r0\r\r",
    "chunk without its end": _CHUNKS + b"1\r\nx0\r\n\r\n",
    "chunk size with an underscore": _CHUNKS + b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n",
    "NUL in a chunk extension": _CHUNKS + b"1;a\0b\r\nx\r\n0\r\n\r\n",
    "length in a trailer": _CHUNKS + b"0\r\nContent-Length: 5\r\n\r\n",
    "long trailer": _CHUNKS + b"0\r\nX-A: " + b"a" * 20000 + b"\r\n\r\n",
    "thousand trailers": _CHUNKS + b"0\r\n" + b"X-A: a\r\n" * 2000 + b"\r\n",
    "folded trailer": _CHUNKS + b"0\r\nX-A: a\r\n b\r\n\r\n",
    "space before the first header": b"GET /x HTTP/1.1\r\n Host: m\r\n\r\n",
    "header without a colon": _GET + b"XA\r\n\r\n",
    "header without a name": _GET + b": a\r\n\r\n",
    "space in a header's name": _GET + b"X A: a\r\n\r\n",
    "control in a header's name": _GET + b"X\x01: a\r\n\r\n",
    "header's name in UTF-8": _GET + "X-é: a\r\n\r\n".encode(),
    "return in a header": _GET + b"X-A: a\rb\r\n\r\n",
    "control in a header": _GET + b"X-A: a\x01b\r\n\r\n",
    "version in lower case": b"GET /x http/1.1\r\nHost: m\r\n\r\n",
    "version 1.10": b"GET /x HTTP/1.10\r\nHost: m\r\n\r\n",
    "version 01.1": b"GET /x HTTP/01.1\r\nHost: m\r\n\r\n",
    "version 1.2": b"GET /x HTTP/1.2\r\nHost: m\r\n\r\n",
    "version 2": b"GET /x HTTP/2.0\r\nHost: m\r\n\r\n",
    "space after the version": b"GET /x HTTP/1.1 \r\nHost: m\r\n\r\n",
    "another protocol": b"OPTIONS rtsp://m/x RTSP/1.0\r\nCSeq: 1\r\nHost: m\r\n\r\n",
    "method in lower case": b"get /x HTTP/1.1\r\nHost: m\r\n\r\n",
    "method with a symbol": b"G@T /x HTTP/1.1\r\nHost: m\r\n\r\n",
    "method of 9 KiB": b"A" * 9000 + b" /x HTTP/1.1\r\nHost: m\r\n\r\n",
    "no method": b" /x HTTP/1.1\r\nHost: m\r\n\r\n",
    "tabs in the request line": b"GET\t/x\tHTTP/1.1\r\nHost: m\r\n\r\n",
    "NUL before the request": b"\0" + _GET + b"\r\n",
    "target of 70 KiB": b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: m\r\n\r\n",
    "129 headers": _GET + b"".join(b"X-%d: a\r\n" % n for n in range(128)) + b"\r\n",
    "returns alone": b"GET /x HTTP/1.1\rHost: m\r\r",
    "unknown encoding of the body": _POST + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
    "absolute target": b"GET http://evil.test/x HTTP/1.1\r\nHost: m\r\n\r\n",
    "tunnel": b"CONNECT evil.test:443 HTTP/1.1\r\nHost: m\r\n\r\n",
    "trace": b"TRACE /x HTTP/1.1\r\nHost: m\r\n\r\n",
    "two hosts in one": b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host with a port that is none": b"GET /x HTTP/1.1\r\nHost: m:65536\r\n\r\n",
    "NUL in the host": b"GET /x HTTP/1.1\r\nHost: m\0\r\n\r\n",
    "mail": b"HELO evil\r\nMAIL FROM:<a@b>\r\n\r\n",
    "a database": b"*1\r\n$4\r\nPING\r\n",
    "NUL in a header": _GET + b"X-A: b\0c\r\n\r\n",
    "two hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "line feed in a chunk extension": _POST
    + b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
    "prefixed chunk size": _POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "header of 64 KiB": _GET + b"X-A: " + b"a" * (64 << 10) + b"\r\n\r\n",
    "headers of 72 KiB": _GET
    + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 8000) for n in range(9))
    + b"\r\n",
    "thousand headers": _GET + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 3": b"GET /x HTTP/3.0\r\nHost: m\r\n\r\n",
    "no version": b"GET /x\r\n\r\n",
    "TLS": bytes.fromhex("16030100b7010000b30303") + bytes(40) + b"\r\n\r\n",
    "raw control in the target": b"GET /a\x01b HTTP/1.1\r\nHost: m\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: m\r\n\r\n",
    "invalid UTF-8 in the target": b"GET /a\xff HTTP/1.1\r\nHost: m\r\n\r\n",
    "two credentials": _GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "host with a path": b"GET /x HTTP/1.1\r\nHost: m/evil\r\n\r\n",
    "host with a user": b"GET /x HTTP/1.1\r\nHost: u@m\r\n\r\n",
    "host with markup": b"GET /x HTTP/1.1\r\nHost: <b>\r\n\r\n",
    "body on a GET": _GET + b"Content-Length: 3\r\n\r\nabc",
    "chunks on a GET": _GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
