"""Speaks HTTP/2 and gRPC with a machine that waits for its config, by its own few lines, and badly.

hostile.py HOST:PORT MACHINE.PROTO

Every method hears empty messages and noise, and answers each with a status of gRPC; then come connections that keep to no protocol."""

import re
import socket
import ssl
import struct
import sys

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMIT = 60
# Connections that are served at once.
PLACES = 32

host, port = sys.argv[1].rsplit(":", 1)
with open(sys.argv[2]) as proto:
    text = proto.read()
service = re.search(r"^package (\S+);", text, re.M)[1] + "." + re.search(r"^service (\w+)", text, re.M)[1]
methods = re.findall(r"^\s*rpc (\w+)\(", text, re.M)
assert len(methods) > 30, methods

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])


def dial():
    plain = socket.create_connection((host, int(port)), LIMIT)
    return context.wrap_socket(plain, server_hostname="node")


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def words(*pairs):
    """HPACK without a table: each name and value as it is."""
    coded = b""
    for name, value in pairs:
        coded += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return coded


def message(body):
    return b"\0" + struct.pack(">I", len(body)) + body


class Peer:
    def __init__(self):
        self.tls = dial()
        self.stream = -1
        self.kept = b""
        # Room for any answer: of a stream (setting 4), and of the connection beside the 64 KiB that it has.
        room = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7FFFFFFF)) + frame(WINDOW, 0, 0, struct.pack(">I", 0x7FFF0000))
        self.tls.sendall(PREFACE + room)

    def take(self, size):
        while len(self.kept) < size:
            piece = self.tls.recv(65536)
            if not piece:
                raise ConnectionError("the connection ended")
            self.kept += piece
        taken, self.kept = self.kept[:size], self.kept[size:]
        return taken

    def call(self, method, data):
        """Returns once the answer has ended; a connection that ends first is an error."""
        self.stream += 2
        head = words(
            (":method", "POST"), (":scheme", "https"), (":path", f"/{service}/{method}"), (":authority", "node"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        )
        self.tls.sendall(frame(HEADERS, END_HEADERS, self.stream, head) + frame(DATA, END_STREAM, self.stream, data))
        while True:
            start = self.take(9)
            size, (kind, flags, stream) = int.from_bytes(start[:3], "big"), struct.unpack(">BBI", start[3:])
            payload = self.take(size)
            if kind == SETTINGS and not flags & ACK:
                self.tls.sendall(frame(SETTINGS, ACK, 0))
            if kind == PING and not flags & ACK:
                self.tls.sendall(frame(PING, ACK, 0, payload))
            if kind == GOAWAY:
                raise ConnectionError(f"{method}: the server gave the connection up: {payload!r}")
            if stream == self.stream and (kind == RST or (kind in (DATA, HEADERS) and flags & END_STREAM)):
                return


noise = bytes(range(256)) * 3
bodies = [message(b""), message(b"\xff" * 700), message(noise), message(b"\x0a\xff\xff\xff\xff\x0f"), b"", b"\1\xff\xff\xff\xff" + noise]
for method in methods:
    peer = Peer()
    for body in bodies:
        peer.call(method, body)
    peer.tls.close()
Peer().call("Shell", message(b""))

get = words((":method", "GET"))
strange = [
    b"GET / HTTP/1.1\r\nhost: node\r\n\r\n",
    noise * 100,
    PREFACE + noise,
    # A frame longer than any may be, and one that never comes whole.
    PREFACE + frame(SETTINGS, 0, 0) + b"\xff\xff\xff" + struct.pack(">BBI", DATA, 0, 1),
    PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 1, noise),
    # Headers of no table, headers that do not end, a stream of the server's, settings and pings without end.
    PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"\xff" * 100),
    PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 0, 1, get) + frame(CONTINUATION, 0, 1, get) * 10000,
    PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 2, get),
    PREFACE + frame(SETTINGS, 0, 0) * 10000,
    PREFACE + frame(SETTINGS, 0, 0) + frame(PING, 0, 0, b"12345678") * 10000,
    # Calls that are taken back as soon as they are made.
    PREFACE + frame(SETTINGS, 0, 0)
    + b"".join(frame(HEADERS, END_HEADERS, s, get) + frame(RST, 0, s, b"\0\0\0\x08") for s in range(1, 4001, 2)),
]
idle = []
for said in strange:
    tls = dial()
    tls.settimeout(5)
    try:
        tls.sendall(said)
        while tls.recv(65536):
            pass
    except OSError:
        # Hung up, or waiting for more: either is an answer to that.
        pass
    # Left open, as whoever hangs does.
    idle.append(tls)

# As many as there are places shake hands and say nothing: they are hung up on, and who comes then is heard.
silent = [dial() for _ in range(PLACES)]

# Others are heard all the same.
Peer().call("Version", message(b""))
print(f"{len(methods)} methods, {len(strange)} strange connections")
