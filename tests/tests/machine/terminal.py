"""Runs a command in a pseudo terminal, types keys once it has shown all words, and prints what it wrote.

terminal.py SECONDS KEYS WORD... -- COMMAND...

The end is the command's own; 124 when a word is missing, or when the command goes on, after so many seconds."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

ROWS, COLUMNS = 40, 100

split = sys.argv.index("--")
seconds, keys, words, command = float(sys.argv[1]), sys.argv[2], sys.argv[3:split], sys.argv[split + 1 :]

child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.execvpe(command[0], command, {**os.environ, "TERM": "xterm"})

shown, typed, ended = b"", False, False
until = time.monotonic() + seconds
while not ended and time.monotonic() < until:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            # How Linux tells that nobody has the other side any more.
            piece = b""
        shown += piece
        ended = not piece
    if not typed and all(word.encode() in shown for word in words):
        os.write(terminal, keys.encode())
        typed = True
if not ended:
    os.kill(child, signal.SIGKILL)
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(shown)
missing = [word for word in words if word.encode() not in shown]
if missing or not ended:
    print(f"missing: {missing}, ended: {ended}", file=sys.stderr)
    sys.exit(124)
sys.exit(os.waitstatus_to_exitcode(status))
