#!/usr/bin/python3
"""A guest whose console is a terminal: runs COMMAND... in a pseudo terminal of 100x30 with SOCKET as its serial line,
then makes the terminal 132x43. Prints what `stty size` says in the guest each time, one a line."""
import fcntl
import os
import pty
import signal
import socket
import struct
import sys
import termios
import threading
import time

path, command = sys.argv[1], sys.argv[2:]
LIMIT = 90
PROMPT = b'tsvm# '


def resize(fd, rows, cols):
	fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))


master, slave = pty.openpty()
resize(slave, 30, 100)
child = os.fork()
if child == 0:
	os.close(master)
	os.setsid()
	fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
	for fd in (0, 1, 2):
		os.dup2(slave, fd)
	os.execvp(command[0], command)
os.close(slave)


def drain():
	"""A terminal that nobody reads would stop the guest."""
	try:
		while os.read(master, 65536):
			pass
	except OSError:
		pass


threading.Thread(target=drain, daemon=True).start()
end = time.monotonic() + LIMIT
line = socket.socket(socket.AF_UNIX)
heard = b''


def hear(marker):
	"""What the serial line says up to `marker`."""
	global heard
	while marker not in heard:
		line.settimeout(max(0.1, end - time.monotonic()))
		more = line.recv(65536)
		if not more:
			raise EOFError(f'the guest is gone; last: {heard[-500:]}')
		heard += more
	before, _, heard = heard.partition(marker)
	return before


def size_is(wanted):
	"""The guest hears of it a moment later."""
	while True:
		# The marker is split for the echo of what is typed.
		line.sendall(b'echo "B""EGIN"; stty size </dev/hvc0; echo "E""ND"\n')
		hear(b'BEGIN\r\n')
		size = hear(b'END').decode().strip()
		hear(PROMPT)
		if size == wanted or time.monotonic() > end - 10:
			print(size, flush=True)
			return
		time.sleep(0.2)


try:
	while True:
		try:
			line.connect(path)
			break
		except OSError:
			if time.monotonic() > end:
				raise
			time.sleep(0.1)
	hear(b'TSVM-SHELL-READY')
	# What comes before the shell's prompt is thrown away.
	hear(PROMPT)
	size_is('30 100')
	resize(master, 43, 132)
	size_is('43 132')
finally:
	os.kill(child, signal.SIGTERM)
	os.waitpid(child, 0)
