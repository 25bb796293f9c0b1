"""Passes what comes in on to 127.0.0.1:PORT, and its answer back; ends when either side does.

relay.py PORT"""

import os
import select
import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        heard = select.select([0, server], [], [])[0]
        if 0 in heard:
            asked = os.read(0, 65536)
            if not asked:
                break
            server.sendall(asked)
        if server in heard:
            answer = server.recv(65536)
            if not answer:
                break
            while answer:
                answer = answer[os.write(1, answer) :]
