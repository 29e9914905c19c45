"""Runs the chat program on a terminal: prompt, greeting, dim numbers, and what Ctrl-C does.

    python3 terminal.py PROGRAM MODEL
"""

import os
import pty
import select
import sys
import time

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Terminal:
    def __init__(self, arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(arguments[0], arguments)

    def read_until(self, what, seconds=60):
        out, end = b"", time.monotonic() + seconds
        while what not in out:
            left = end - time.monotonic()
            ready = left > 0 and select.select([self.fd], [], [], left)[0]
            assert ready, f"{what} did not come; there is {out}"
            out += os.read(self.fd, 4096)
        return out

    def write(self, what):
        os.write(self.fd, what)

    def exit_status(self):
        # What is left to read must be read, or the program waits for its reader.
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


program, model = sys.argv[1:]
command = [program, "--model", model, "--threads", "2", "--ignore-eos", "--max-tokens", "2000"]

terminal = Terminal(command)
greeting = terminal.read_until(b"> ")
assert b"plimsoll" in greeting and b"context" in greeting and b"/help" in greeting, greeting

# In an answer Ctrl-C stops the answer, and a prompt comes.
terminal.write(b"tell me everything\n")
terminal.read_until(b"\n")
time.sleep(0.02)
terminal.write(CTRL_C)
answer = terminal.read_until(b"\r\n> ")
assert b"ended by cancelled" in answer, answer
assert b"\x1b[2m[" in answer and b"\x1b[0m" in answer, answer

# At the prompt it throws the line away; what follows is a line of its own.
terminal.write(b"half a line" + CTRL_C)
terminal.read_until(b"\n> ")
terminal.write(b"/quitter\n")
assert b"no such command" in terminal.read_until(b"\n> ")

# Twice in a row it ends the program.
terminal.write(CTRL_C)
terminal.read_until(b"\n> ")
terminal.write(CTRL_C)
status = terminal.exit_status()
assert status == 0, status

# So does Ctrl-D.
terminal = Terminal(command)
terminal.read_until(b"> ")
terminal.write(CTRL_D)
status = terminal.exit_status()
assert status == 0, status
