"""Requests no server should read, by name: what the framing tests send. Not for reuse as a parser's whole corpus."""

HOST = b"Host: api.test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST
POST = b"POST /a HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

_HOSTS = (b"x/a", b"x?a", b"x#a", b"u@x", b"x y", b"x,y", b"x\\y", b"x:99999", b"x:8a", b"x:", b"x\ty", b"x\xff")
_HOSTS += (b"[::1", b"x%2f", b"x\x00y")
_CODINGS = (b"identity", b"gzip, chunked", b"gzip", b"chunked, identity", b"chunked, chunked", b"\x0bchunked")
_CODINGS += (b'"chunked"', b"chunked;q=1", b"xchunked", b"", b",chunked", b"chunked,", b"chunked\x00", b"chunked\r")

REFUSED_HEADS = {
    # GW-04: the target is not a path
    "absolute": b"GET http://evil/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute, same host": b"GET http://api.test/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute, https": b"GET https://evil/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute, other scheme": b"GET gopher://evil/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority": b"GET evil:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET a/b HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in target": b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab in target": b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw UTF-8 in target": b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n",
    # GW-05: there is not exactly one host
    "no host": b"GET /a HTTP/1.1\r\nX: y\r\n\r\n",
    "no host in 1.0": b"GET /a HTTP/1.0\r\n\r\n",
    "empty host": b"GET /a HTTP/1.1\r\nHost:\r\n\r\n",
    "two hosts": GET + b"Host: evil\r\n\r\n",
    "two same hosts": GET + HOST + b"\r\n",
    **{f"host {text!r}": b"GET /a HTTP/1.1\r\nHost: " + text + b"\r\n\r\n" for text in _HOSTS},
    # GW-06: the body's length could be read in two ways, or the head is not plain
    "length and coding": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two same lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "coding in 1.0": b"POST /a HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding, space before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "coding, folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "coding, indented": POST + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    **{
        f"length {text!r}": POST + b"Content-Length: " + text + b"\r\n\r\nabc"
        for text in [b"+3", b"-3", b"0x3", b"3 3", b"", b"3, 3", b"1_0", b"3.0", b"\xa03", b"abc", b"9" * 23]
    },
    **{
        f"coding {text!r}": POST + b"Transfer-Encoding: " + text + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n" for text in _CODINGS
    },
    "folded line": GET + b"X: a\r\n b\r\n\r\n",
    "folded by a tab": GET + b"X: a\r\n\tb\r\n\r\n",
    "bare LF between headers": GET + b"X: a\nY: b\r\n\r\n",
    "bare LF everywhere": b"GET /a HTTP/1.1\nHost: x\n\n",
    "bare LF after the request line": b"GET /a HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF at the end": GET + b"X: a\r\n\n",
    "bare CR": GET + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "NUL in a name": GET + b"X\x00Y: a\r\n\r\n",
    "control in a value": GET + b"X: a\x01b\r\n\r\n",
    "space in a name": GET + b"X Y: a\r\n\r\n",
    "space before the colon": GET + b"X : a\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "no colon": GET + b"Xa\r\n\r\n",
    "HTTP/2 in words": b"GET /a HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "method in lower case": b"get /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown expectation": POST + b"Expect: tea\r\nContent-Length: 3\r\n\r\nabc",
    # GW-20: leaving HTTP
    "CONNECT": b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT to a path": b"CONNECT /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "WebSocket": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YQ==\r\n\r\n",
    "h2c": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "Upgrade alone": GET + b"Upgrade: foo\r\n\r\n",
}

BAD_CHUNKS = {
    "hex prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "minus": b"-3\r\nabc\r\n0\r\n\r\n",
    "space after size": b"3 \r\nabc\r\n0\r\n\r\n",
    "space before size": b" 3\r\nabc\r\n0\r\n\r\n",
    "tab after size": b"3\t\r\nabc\r\n0\r\n\r\n",
    "underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "not hex": b"g\r\nabc\r\n0\r\n\r\n",
    "too many digits": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "wraps around": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "LF after size": b"3\nabc\r\n0\r\n\r\n",
    "LF after data": b"3\r\nabc\n0\r\n\r\n",
    "LF after last": b"3\r\nabc\r\n0\n\r\n",
    "LF at the end": b"3\r\nabc\r\n0\r\n\n",
    "CR only": b"3\rabc\r\n0\r\n\r\n",
    "no terminator": b"3\r\nabc0\r\n\r\n",
    "wrong terminator": b"3\r\nabcXX0\r\n\r\n",
    "more data than size": b"2\r\nabc\r\n0\r\n\r\n",
    "LF in extension": b"3;a\nabc\r\n0\r\n\r\n",
    "CR in extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "NUL in extension": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
    "LF in quoted extension": b'3;a="x\ny"\r\nabc\r\n0\r\n\r\n',
    "trailer": b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    "trailer that is a credential": b"3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n",
    "trailer that frames": b"3\r\nabc\r\n0\r\nContent-Length: 1\r\n\r\n",
    "trailer with NUL": b"3\r\nabc\r\n0\r\nX: a\x00\r\n\r\n",
    "folded trailer": b"3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n",
    "trailer that is a request": b"3\r\nabc\r\n0\r\nGET /x HTTP/1.1\r\n\r\n",
}
