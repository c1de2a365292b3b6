# SPDX-License-Identifier: BSD-3-Clause
"""A proxy in front of an S3 server that checks signatures and checksums of requests, and breaks some by rule."""

import base64
import hashlib
import hmac
import http.client
import http.server
import re
import select
import socket
import struct
import threading
import urllib.parse

HANG_SECONDS = 60
HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "date", "content-length")


class Rule:
    """
    An action for requests of a method (those between "|") whose path with its query matches: each `every`-th of them, at most
    `times` (-1: all). With `call`, that is called first.
    """

    def __init__(self, method, pattern, action, times=1, every=1, call=None, **more):
        self.methods, self.pattern, self.action = method.split("|"), re.compile(pattern), action
        self.left, self.every, self.call, self.more = times, every, call, more
        self.matched = self.hits = 0

    def takes(self, method, path):
        if self.left == 0 or method not in self.methods or not self.pattern.search(path):
            return False
        self.matched += 1
        if self.matched % self.every:
            return False
        self.left -= 1
        self.hits += 1
        return True


def _error_xml(code):
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>By rule of the test.</Message></Error>'
        % code
    ).encode()


def _encoded(text):
    return urllib.parse.quote(urllib.parse.unquote(text), safe="-_.~")


def signature_fault(method, path, headers, body, secret):
    """None, or what is wrong: signature version 4 as the service is to compute it, from the request alone."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/(s3)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)",
        headers.get("Authorization", ""),
    )
    if not found:
        return "no or another Authorization: %s" % headers.get("Authorization")
    _, day, region, service, signed, signature = found.groups()
    names = signed.split(";")
    must = {"host", "x-amz-date"} | {name.lower() for name in headers if name.lower().startswith("x-amz-")}
    if names != sorted(names) or not must <= set(names):
        return "signed are %s of %s" % (names, sorted(must))
    payload = headers.get("x-amz-content-sha256", "")
    if payload != hashlib.sha256(body).hexdigest():
        return "x-amz-content-sha256 is not the body's"
    where, _, query = path.partition("?")
    pairs = sorted(tuple(map(_encoded, (pair.partition("=")[0], pair.partition("=")[2]))) for pair in query.split("&") if pair)
    canonical = "\n".join([
        method,
        "/".join(_encoded(part) for part in where.split("/")),
        "&".join("%s=%s" % pair for pair in pairs),
        "".join("%s:%s\n" % (name, " ".join(headers.get(name, "").split())) for name in names),
        signed,
        payload,
    ])
    scope = "%s/%s/%s/aws4_request" % (day, region, service)
    text = "AWS4-HMAC-SHA256\n%s\n%s\n%s" % (headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest())
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != signature:
        return "the signature is wrong for\n%s" % canonical
    return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _run(self):
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = signature_fault(self.command, self.path, self.headers, body, proxy.secret)
        md5 = self.headers.get("Content-MD5")
        if not fault and md5 and base64.b64decode(md5) != hashlib.md5(body).digest():
            fault = "Content-MD5 is not the body's"
        proxy.tokens.add(self.headers.get("x-amz-security-token"))
        rule = proxy.note(self.command, self.path, fault)
        if fault:
            self._answer(403, {}, _error_xml("SignatureDoesNotMatch"))
        elif rule:
            if rule.call:
                rule.call()
            getattr(self, "do_rule_" + rule.action)(rule, body)
        else:
            self._answer(*self._forward(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _run

    def _forward(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        try:
            connection.request(self.command, self.path, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_HEADERS}
            if self.command == "HEAD" and response.getheader("Content-Length"):
                kept["Content-Length"] = response.getheader("Content-Length")
            return response.status, kept, data
        finally:
            connection.close()

    def _answer(self, status, headers, data, length=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204 and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self):
        """Close the connection so that the peer sees it reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        for end in (self.rfile, self.wfile, self.connection):
            end.close()

    def do_rule_reset(self, _rule, _body):
        self._reset()

    def do_rule_lost(self, _rule, body):
        """The service does it, and its answer is lost."""
        self._forward(body)
        self._reset()

    def do_rule_hang(self, _rule, _body):
        select.select([self.connection], [], [], HANG_SECONDS)
        self._reset()

    def do_rule_status(self, rule, _body):
        self._answer(rule.more["status"], {"Content-Type": "application/xml"}, _error_xml(rule.more["code"]))

    def do_rule_truncate(self, _rule, body):
        status, headers, data = self._forward(body)
        self._answer(status, headers, data[: len(data) // 2], len(data))
        self.wfile.flush()
        self.close_connection = True

    def do_rule_shorter(self, _rule, body):
        status, headers, data = self._forward(body)
        self._answer(status, headers, data[:-1])

    def do_rule_longer(self, _rule, body):
        status, headers, data = self._forward(body)
        self._answer(status, headers, data + b"?")

    def do_rule_flip(self, _rule, body):
        status, headers, data = self._forward(body)
        self._answer(status, headers, bytes([data[0] ^ 1]) + data[1:])

    def do_rule_etag(self, _rule, body):
        status, headers, data = self._forward(body)
        headers = {name: value for name, value in headers.items() if name.lower() != "etag"}
        self._answer(status, dict(headers, ETag='"%s"' % hashlib.md5(b"other").hexdigest()), data)

    def do_rule_range(self, _rule, body):
        """The bytes of another range than was asked for."""
        status, headers, data = self._forward(body)
        headers = {name: value for name, value in headers.items() if name.lower() != "content-range"}
        self._answer(status, dict(headers, **{"Content-Range": "bytes 1-%d/%d" % (len(data), 1 << 40)}), data)

    def do_rule_answer(self, rule, _body):
        """An answer in place of the service's."""
        self._answer(rule.more["status"], {"Content-Type": "application/xml"}, rule.more["body"])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Broken connections are what this is for."""


class S3Proxy:
    """Listens on 127.0.0.1:port as long as it is open."""

    def __init__(self, upstream, secret):
        self.upstream, self.secret = upstream, secret
        self.lock = threading.Lock()
        self.rules, self.requests, self.faults, self.tokens = [], [], [], set()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.proxy = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def note(self, method, path, fault):
        with self.lock:
            self.requests.append((method, path))
            if fault:
                self.faults.append("%s %s: %s" % (method, path, fault))
                return None
            return next((rule for rule in self.rules if rule.takes(method, path)), None)

    def set(self, *rules):
        """These rules from now on, and nothing noted."""
        with self.lock:
            self.rules, self.requests = list(rules), []

    def seen(self, method, pattern):
        with self.lock:
            return sum(1 for had, path in self.requests if had == method and re.search(pattern, path))

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
