#!/usr/bin/python3
"""A SPICE client without a window, driven by lines on stdin, that tells what happens as JSON lines on stdout.

It is spice-gtk's own client library through GObject introspection (Debian: gir1.2-spiceclientglib-2.0, python3-gi),
so what it sees is what remote-viewer sees.

	/usr/bin/python3 probe.py [--host H] [--port N] [--tls-port N] [--password P] [--ca FILE] [--host-subject S]
	         [--secure-channels a,b] [--channels a,b] [--uri URI] [--shared-dir DIR] [COMMAND ...]

Each COMMAND argument is one command; without any, commands are read from stdin, one a line. They run one after the
other; each answers with one line {"done": COMMAND, ...} or {"failed": COMMAND, "reason": ...}. After the last one,
after `quit` or at the end of stdin the probe leaves; its exit status is 1 if a command failed.

	connect                    done when the main channel is open; failed names the channel event (error-auth ...)
	wait EVENT [SECONDS]       the next event of that name that no earlier wait has used up (default 10 s)
	wait-primary [SECONDS]     until there is a marked primary surface; answers its width and height
	wait-quiet MS [SECONDS]    until nothing was drawn for MS
	dump FILE.ppm|FILE.png     writes the primary surface; answers width, height and the SHA-256 of its RGB bytes
	pixel X Y                  answers "rgb": "rrggbb"
	type TEXT                  presses and releases the keys of TEXT (US layout; \\n is Enter)
	key CODE [CODE ...]        presses the set-1 codes in turn and lets go in reverse; E0-prefixed as 0x14b = E0 4B
	down CODE / up CODE        one key
	latency CODE [SECONDS]     presses a key and answers the "ms" until the display is next drawn to
	leds MASK                  tells the guest the client's locks: 1 scroll, 2 num, 4 caps
	motion DX DY [MASK]        relative motion          position X Y [MASK]   absolute position
	press B [MASK] / release B [MASK]    button 1 left, 2 middle, 3 right, 4 wheel up, 5 wheel down, 6 side, 7 extra
	click B                    press and release
	mouse-mode server|client   asks for a mode
	wait-agent yes|no [SECONDS]    until the guest's agent is there and shares clipboards, or does not
	wait-capability NAME [SECONDS]     until the guest's agent has said that it has it
	clip-set SELECTION FORMAT FILE     owns a clipboard; FILE is handed over when the guest asks for it
	clip-get SELECTION FORMAT [FILE]   asks for the guest's; answers size, sha256 and ms
	clip-release SELECTION     gives a clipboard up
	copy FILE [FILE ...]       drops files on the guest; answers bytes and seconds
	copy-start FILE            the same without waiting for the end, which is an event copied {bytes} or copy-failed
	display-size WxH+X+Y [WxH+X+Y ...]     what windows of these sizes ask of the guest; other monitors are switched off
	port-send NAME FILE [SECONDS]      writes a file into the guest's port; answers bytes and seconds once all is written
	port-get NAME BYTES [FILE [SECONDS]]   so many bytes from the guest's port; answers sha256 and seconds
	state                      answers everything known: mouse mode, agent, its capabilities, name, uuid, leds, primary,
	                           cursor, draws
	sleep SECONDS
	disconnect                 leaves; `connect` may follow
	quit

Events, as {"event": NAME, "t": seconds since start, ...}: channel {channel, id, state}, primary {width, height},
primary-destroy, mark {mark}, draw {x, y, width, height}, monitors {monitors: [{id, surface, x, y, width, height}]}, mouse-mode {mode}, agent {connected},
modifiers {leds}, cursor-set {width, height, hot_x, hot_y, sha256}, cursor-move {x, y}, cursor-hide, cursor-reset,
clipboard-grab {selection, formats}, clipboard-request {selection, format}, clipboard-release {selection},
port {port, opened}, disconnected. SELECTION is clipboard, primary or secondary, FORMAT text, png, bmp, tiff or jpg. Events `draw` are printed at most 20 times a second; all are counted and all can be waited for.
"""

import argparse
import ctypes
import hashlib
import json
import os
import struct
import sys
import time
import zlib

import gi

gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import Gio, GLib, GObject, SpiceClientGLib as Spice  # noqa: E402

# Sessions and channels have a connect() of their own, which hides the one for signals.
listen = GObject.Object.connect

STATES = {
	0: 'none', 10: 'opened', 11: 'switching', 12: 'closed',
	20: 'error-connect', 21: 'error-tls', 22: 'error-link', 23: 'error-auth', 24: 'error-io',
}
CHANNELS = {
	1: 'main', 2: 'display', 3: 'inputs', 4: 'cursor', 5: 'playback', 6: 'record',
	8: 'smartcard', 9: 'usbredir', 10: 'port', 11: 'webdav',
}
KEYS = {
	'\n': 0x1c, '\t': 0x0f, ' ': 0x39, '\x1b': 0x01, '\b': 0x0e,
	**{c: 0x02 + i for i, c in enumerate('1234567890-=')},
	**{c: 0x10 + i for i, c in enumerate('qwertyuiop[]')},
	**{c: 0x1e + i for i, c in enumerate("asdfghjkl;'`")},
	**{c: 0x2b + i for i, c in enumerate('\\zxcvbnm,./')},
}
SHIFTED = dict(zip('!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"~|ZXCVBNM<>?', '1234567890-=qwertyuiop[]asdfghjkl;\'`\\zxcvbnm,./'))
SHIFT = 0x2a
BUTTON_MASK = {1: 1, 2: 2, 3: 4, 6: 32, 7: 64}


SELECTIONS = ['clipboard', 'primary', 'secondary']
FORMATS = ['none', 'text', 'png', 'bmp', 'tiff', 'jpg']
# Monitors that a window may stand for.
MONITORS = 4
# VD_AGENT_CAP_* in their order.
CAPABILITIES = [
	'mouse-state', 'monitors-config', 'reply', 'clipboard', 'display-config', 'clipboard-by-demand',
	'clipboard-selection', 'sparse-monitors-config', 'guest-lineend-lf', 'guest-lineend-crlf', 'max-clipboard',
	'audio-volume-sync', 'monitors-config-position', 'file-xfer-disabled', 'file-xfer-detailed-errors',
	'graphics-device-info', 'clipboard-no-release-on-regrab', 'clipboard-grab-serial',
]


class Failed(Exception):
	pass


class Probe:
	def __init__(self, args):
		self.args = args
		self.start = time.monotonic()
		self.loop = GLib.MainContext.default()
		self.events = []
		self.last_draw_line = 0.0
		self.last_draw = time.monotonic()
		self.reset()

	def reset(self):
		self.session = None
		self.channels = {}
		self.open = set()
		self.primary = None
		self.marked = False
		self.cursor = None
		self.leds = None
		self.draws = 0
		self.buttons = 0
		self.owned = {}
		self.received = []
		self.ports = {}

	# What the session tells.

	def say(self, line):
		print(json.dumps(line), flush=True)

	def event(self, name, quiet=False, **fields):
		line = {'event': name, 't': round(time.monotonic() - self.start, 4), **fields}
		self.events.append(line)
		del self.events[:-2000]
		if not quiet:
			self.say(line)

	def on_channel_new(self, session, channel):
		kind = channel.get_property('channel-type')
		name = CHANNELS.get(kind, str(kind))
		wanted = self.args.channels
		if name != 'main' and wanted and name not in wanted:
			return
		ident = channel.get_property('channel-id')
		self.channels[(name, ident)] = channel
		listen(channel, 'channel-event', lambda c, e: self.on_channel_event(c, name, ident, int(e)))
		if name == 'main':
			listen(channel, 'main-mouse-update', lambda c: self.event('mouse-mode', mode=self.mouse_mode()))
			listen(channel, 'main-agent-update', lambda c: self.event('agent', connected=bool(c.get_property('agent-connected'))))
			listen(channel, 'main-clipboard-selection-grab', self.on_clipboard_grab)
			listen(channel, 'main-clipboard-selection-request', self.on_clipboard_request)
			listen(channel, 'main-clipboard-selection-release', lambda c, s: self.event('clipboard-release', selection=SELECTIONS[s]))
			listen(channel, 'main-clipboard-selection', self.on_clipboard)
		elif name == 'display':
			listen(channel, 'display-primary-create', self.on_primary)
			listen(channel, 'display-primary-destroy', self.on_primary_destroy)
			listen(channel, 'display-mark', self.on_mark)
			listen(channel, 'display-invalidate', self.on_draw)
			listen(channel, 'notify::monitors', self.on_monitors)
			Spice.Channel.connect(channel)
		elif name == 'inputs':
			listen(channel, 'inputs-modifiers', self.on_modifiers)
			Spice.Channel.connect(channel)
		elif name == 'cursor':
			listen(channel, 'cursor-set', self.on_cursor)
			listen(channel, 'cursor-move', lambda c, x, y: self.event('cursor-move', x=x, y=y))
			listen(channel, 'cursor-hide', lambda c: self.event('cursor-hide'))
			listen(channel, 'cursor-reset', lambda c: self.event('cursor-reset'))
			Spice.Channel.connect(channel)
		elif name in ('port', 'webdav'):
			listen(channel, 'notify::port-name', self.on_port)
			listen(channel, 'notify::port-opened', self.on_port)
			if name == 'port':
				listen(channel, 'port-data', self.on_port_data)
			Spice.Channel.connect(channel)

	def on_channel_event(self, channel, name, ident, number):
		state = STATES.get(number, str(number))
		if state == 'opened':
			self.open.add(channel)
		else:
			self.open.discard(channel)
		self.event('channel', channel=name, id=ident, state=state)

	def on_channel_destroy(self, session, channel):
		for key, value in list(self.channels.items()):
			if value == channel:
				del self.channels[key]

	def on_primary(self, channel, fmt, width, height, stride, shmid, data):
		# The pointer arrives as an integer or, with other versions of PyGObject, is not usable: then ask the channel.
		self.primary = {'format': fmt, 'width': width, 'height': height, 'stride': stride, 'address': data}
		self.event('primary', width=width, height=height, format=fmt)

	def on_primary_destroy(self, channel):
		self.primary = None
		self.marked = False
		self.event('primary-destroy')

	def on_mark(self, channel, mark):
		self.marked = bool(mark)
		self.event('mark', mark=bool(mark))

	def on_draw(self, channel, x, y, width, height):
		now = time.monotonic()
		self.draws += 1
		self.last_draw = now
		quiet = now - self.last_draw_line < 0.05
		if not quiet:
			self.last_draw_line = now
		self.event('draw', quiet=quiet, x=x, y=y, width=width, height=height)

	def on_monitors(self, channel, _):
		self.event('monitors', monitors=monitors(channel))

	def on_modifiers(self, channel):
		self.leds = int(channel.get_property('key-modifiers'))
		self.event('modifiers', leds=self.leds)

	def on_cursor(self, channel, width, height, hot_x, hot_y, rgba):
		pixels = memory(rgba, width * height * 4)
		digest = hashlib.sha256(pixels).hexdigest() if pixels else None
		self.cursor = {'width': width, 'height': height, 'hot_x': hot_x, 'hot_y': hot_y, 'sha256': digest}
		self.event('cursor-set', **self.cursor)

	def on_clipboard_grab(self, channel, selection, types, count):
		# PyGObject hands the array over as a list.
		self.event('clipboard-grab', selection=SELECTIONS[selection], formats=[FORMATS[word] for word in types])
		return True

	def on_clipboard_request(self, channel, selection, kind):
		self.event('clipboard-request', selection=SELECTIONS[selection], format=FORMATS[kind])
		data = self.owned.get((selection, kind))
		if data is None:
			return False
		channel.clipboard_selection_notify(selection, kind, data)
		return True

	def on_clipboard(self, channel, selection, kind, data, size):
		self.received.append((selection, kind, memory(data, size) if size else b''))

	def on_port(self, channel, _):
		name = channel.get_property('port-name')
		if name:
			self.ports.setdefault(name, (channel, bytearray()))
			self.event('port', port=name, opened=bool(channel.get_property('port-opened')))

	def on_port_data(self, channel, data, size):
		self.ports[channel.get_property('port-name')][1].extend(memory(data, size) if size else b'')

	# Helpers of the commands.

	def channel(self, name):
		"""The open channel of that name; waits for one that is still linking."""
		def find():
			for (kind, _), channel in self.channels.items():
				if kind == name and channel in self.open:
					return channel
			return None

		return self.until(find, 5, f'open {name} channel')

	def mouse_mode(self):
		return 'client' if int(self.channel('main').get_property('mouse-mode')) == 2 else 'server'

	def until(self, condition, seconds, what):
		value = condition()
		if value is not None and value is not False:
			return value
		end = time.monotonic() + seconds
		wake = GLib.timeout_add(20, lambda: True)
		try:
			while True:
				value = condition()
				if value is not None and value is not False:
					return value
				if time.monotonic() > end:
					raise Failed(f'no {what} within {seconds:g} s')
				self.loop.iteration(True)
		finally:
			GLib.source_remove(wake)

	def settle(self):
		"""Lets what was sent leave."""
		for _ in range(50):
			if not self.loop.iteration(False):
				break

	def rgb(self):
		primary = self.primary
		if primary is None:
			raise Failed('there is no primary surface')
		width, height, stride = primary['width'], primary['height'], primary['stride']
		data = memory(primary['address'], abs(stride) * height)
		if data is None:
			data = memory(self.channel('display').get_primary(0)[1].data, abs(stride) * height)
		if data is None:
			raise Failed('this PyGObject gives no access to the pixels')
		out = bytearray(width * height * 3)
		if primary['format'] not in (32, 96):
			return width, height, rgb16(data, width, height, stride, primary['format'])
		for y in range(height):
			row = data[y * stride:y * stride + width * 4]
			at = y * width * 3
			end = at + width * 3
			out[at:end:3] = row[2::4]
			out[at + 1:end:3] = row[1::4]
			out[at + 2:end:3] = row[0::4]
		return width, height, bytes(out)

	def press_key(self, code):
		self.channel('inputs').key_press(code)

	def release_key(self, code):
		self.channel('inputs').key_release(code)

	def mask(self, words, index):
		return int(words[index], 0) if len(words) > index else self.buttons

	# The commands.

	def do_connect(self, words):
		self.reset()
		args = self.args
		session = Spice.Session()
		self.session = session
		session.set_property('client-sockets', False)
		if args.uri:
			session.set_property('uri', args.uri)
		else:
			session.set_property('host', args.host)
		if args.port:
			session.set_property('port', str(args.port))
		if args.tls_port:
			session.set_property('tls-port', str(args.tls_port))
		if args.password is not None:
			session.set_property('password', args.password)
		if args.ca:
			session.set_property('ca-file', args.ca)
		if args.host_subject:
			session.set_property('cert-subject', args.host_subject)
			session.set_property('verify', Spice.SessionVerify.SUBJECT)
		if args.secure_channels:
			session.set_property('secure-channels', args.secure_channels.split(','))
		if args.shared_dir:
			session.set_property('shared-dir', args.shared_dir)
		listen(session, 'channel-new', self.on_channel_new)
		listen(session, 'channel-destroy', self.on_channel_destroy)
		listen(session, 'disconnected', lambda s: self.event('disconnected'))
		first = len(self.events)
		if not Spice.Session.connect(session):
			raise Failed('the session does not start')

		def opened():
			for event in self.events[first:]:
				if event['event'] == 'channel' and event['channel'] == 'main' and event['state'] != 'none':
					return event['state']
			return None

		state = self.until(opened, 15, 'main channel')
		if state != 'opened':
			raise Failed(state)
		return {}

	def do_disconnect(self, words):
		if self.session:
			self.session.disconnect()
			self.settle()
		self.reset()

	def do_wait(self, words):
		name = words[1]

		def found():
			for index, event in enumerate(self.events):
				if event['event'] == name:
					del self.events[:index + 1]
					return event
			return None

		return {'found': self.until(found, float(words[2]) if len(words) > 2 else 10, name)}

	def do_wait_primary(self, words):
		seconds = float(words[1]) if len(words) > 1 else 10
		self.until(lambda: self.primary is not None and self.marked, seconds, 'marked primary surface')
		return {'width': self.primary['width'], 'height': self.primary['height']}

	def do_wait_quiet(self, words):
		quiet = float(words[1]) / 1000
		seconds = float(words[2]) if len(words) > 2 else 30
		self.until(lambda: time.monotonic() - self.last_draw >= quiet, seconds, f'{words[1]} ms without drawing')

	def do_dump(self, words):
		width, height, rgb = self.rgb()
		with open(words[1], 'wb') as out:
			out.write(png(width, height, rgb) if words[1].endswith('.png') else b'P6\n%d %d\n255\n' % (width, height) + rgb)
		return {'width': width, 'height': height, 'sha256': hashlib.sha256(rgb).hexdigest()}

	def do_pixel(self, words):
		width, height, rgb = self.rgb()
		x, y = int(words[1]), int(words[2])
		if not (0 <= x < width and 0 <= y < height):
			raise Failed(f'{x},{y} is outside {width}x{height}')
		at = (y * width + x) * 3
		return {'rgb': rgb[at:at + 3].hex()}

	def do_type(self, words, line):
		text = line[len('type '):].replace('\\n', '\n').replace('\\t', '\t')
		for char in text:
			shift = char in SHIFTED
			code = KEYS.get(SHIFTED.get(char, char))
			if code is None:
				raise Failed(f'no key for {char!r}')
			if shift:
				self.press_key(SHIFT)
			self.press_key(code)
			self.release_key(code)
			if shift:
				self.release_key(SHIFT)
			# Faster than fingers but slow enough for a PS/2 queue of 16 bytes.
			self.sleep(0.02)

	def do_key(self, words):
		codes = [int(word, 0) for word in words[1:]]
		for code in codes:
			self.press_key(code)
		for code in reversed(codes):
			self.release_key(code)
		self.settle()

	def do_down(self, words):
		self.press_key(int(words[1], 0))
		self.settle()

	def do_up(self, words):
		self.release_key(int(words[1], 0))
		self.settle()

	def do_latency(self, words):
		code = int(words[1], 0)
		self.settle()
		before = self.draws
		start = time.monotonic()
		self.press_key(code)
		try:
			self.until(lambda: self.draws > before, float(words[2]) if len(words) > 2 else 5, 'drawing')
			return {'ms': round((self.last_draw - start) * 1000, 3)}
		finally:
			self.release_key(code)
			self.settle()

	def do_leds(self, words):
		self.channel('inputs').set_key_locks(int(words[1], 0))
		self.settle()

	def do_motion(self, words):
		self.buttons = self.mask(words, 3)
		self.channel('inputs').motion(int(words[1]), int(words[2]), self.buttons)
		self.settle()

	def do_position(self, words):
		self.buttons = self.mask(words, 3)
		self.channel('inputs').position(int(words[1]), int(words[2]), 0, self.buttons)
		self.settle()

	def do_press(self, words):
		button = int(words[1])
		self.buttons = self.mask(words, 2) | BUTTON_MASK.get(button, 0)
		self.channel('inputs').button_press(button, self.buttons)
		self.settle()

	def do_release(self, words):
		button = int(words[1])
		self.buttons = self.mask(words, 2) & ~BUTTON_MASK.get(button, 0)
		self.channel('inputs').button_release(button, self.buttons)
		self.settle()

	def do_click(self, words):
		self.do_press(words)
		self.sleep(0.03)
		self.do_release(words)

	def do_mouse_mode(self, words):
		self.channel('main').request_mouse_mode(2 if words[1] == 'client' else 1)
		self.settle()

	def do_wait_agent(self, words):
		main = self.channel('main')
		seconds = float(words[2]) if len(words) > 2 else 30

		def there():
			connected = main.get_property('agent-connected')
			return connected and 'clipboard-selection' in self.capabilities()

		self.until(there if words[1] == 'yes' else lambda: not there(), seconds, f'agent {words[1]}')

	def capabilities(self):
		main = self.channel('main')
		return [name for bit, name in enumerate(CAPABILITIES) if main.agent_test_capability(bit)]

	def do_wait_capability(self, words):
		seconds = float(words[2]) if len(words) > 2 else 30
		self.until(lambda: words[1] in self.capabilities(), seconds, f'capability {words[1]}')

	def do_clip_set(self, words):
		selection, kind = SELECTIONS.index(words[1]), FORMATS.index(words[2])
		with open(words[3], 'rb') as file:
			self.owned = {key: data for key, data in self.owned.items() if key[0] != selection}
			self.owned[(selection, kind)] = file.read()
		self.channel('main').clipboard_selection_grab(selection, [kind])
		self.settle()

	def do_clip_get(self, words):
		selection, kind = SELECTIONS.index(words[1]), FORMATS.index(words[2])
		self.received.clear()
		start = time.monotonic()
		self.channel('main').clipboard_selection_request(selection, kind)
		wanted = lambda: next((data for s, k, data in self.received if s == selection), None)
		data = self.until(wanted, 30, 'clipboard')
		ms = (time.monotonic() - start) * 1000
		if len(words) > 3:
			with open(words[3], 'wb') as file:
				file.write(data)
		return {'size': len(data), 'sha256': hashlib.sha256(data).hexdigest(), 'ms': round(ms, 3)}

	def do_clip_release(self, words):
		selection = SELECTIONS.index(words[1])
		self.owned = {key: data for key, data in self.owned.items() if key[0] != selection}
		self.channel('main').clipboard_selection_release(selection)
		self.settle()

	def start_copy(self, files):
		outcome = []

		def finished(channel, result):
			try:
				channel.file_copy_finish(result)
				outcome.append('')
				self.event('copied', bytes=size)
			except GLib.Error as error:
				outcome.append(error.message)
				self.event('copy-failed', reason=error.message)

		size = sum(os.path.getsize(file) for file in files)
		sources = [Gio.File.new_for_path(file) for file in files]
		self.channel('main').file_copy_async(sources, Gio.FileCopyFlags.NONE, None, None, None, finished)
		return outcome, size

	def do_copy(self, words):
		start = time.monotonic()
		outcome, size = self.start_copy(words[1:])
		self.until(lambda: len(outcome) > 0, 120, 'end of the copy')
		if outcome[0] != '':
			raise Failed(outcome[0])
		return {'bytes': size, 'seconds': round(time.monotonic() - start, 3)}

	def do_copy_start(self, words):
		self.start_copy(words[1:])
		self.settle()

	def do_display_size(self, words):
		main = self.channel('main')
		for ident in range(MONITORS):
			wanted = words[1 + ident] if ident + 1 < len(words) else None
			if wanted:
				width, height, x, y = (int(number) for number in wanted.replace('x', '+').split('+'))
				main.update_display(ident, x, y, width, height, False)
			main.update_display_enabled(ident, wanted is not None, False)
		if not main.send_monitor_config():
			raise Failed('no agent')
		self.settle()

	def port(self, name):
		return self.until(lambda: self.ports.get(name), 5, f'port {name}')

	def do_port_send(self, words):
		channel, _ = self.port(words[1])
		with open(words[2], 'rb') as file:
			left = file.read()
		seconds = float(words[3]) if len(words) > 3 else 60
		self.until(lambda: channel.get_property('port-opened'), seconds, 'program in the guest that has the port open')
		size, start = len(left), time.monotonic()
		while left:
			writing = PortWrite(channel, left[:65536])
			self.until(lambda: writing.written is not None, seconds, 'end of writing')
			if writing.written < 0:
				raise Failed('the port cannot be written')
			left = left[writing.written:]
		return {'bytes': size, 'seconds': round(time.monotonic() - start, 3)}

	def do_port_get(self, words):
		_, waiting = self.port(words[1])
		size, start = int(words[2]), time.monotonic()
		self.until(lambda: len(waiting) >= size, float(words[4]) if len(words) > 4 else 60, f'{size} bytes')
		data = bytes(waiting[:size])
		del waiting[:size]
		if len(words) > 3:
			with open(words[3], 'wb') as file:
				file.write(data)
		return {'sha256': hashlib.sha256(data).hexdigest(), 'seconds': round(time.monotonic() - start, 3)}

	def do_state(self, words):
		primary = self.primary and {key: self.primary[key] for key in ('width', 'height', 'format')}
		return {
			'mouseMode': self.mouse_mode(),
			'agent': bool(self.channel('main').get_property('agent-connected')),
			'capabilities': self.capabilities(),
			'name': self.session.get_property('name'),
			'uuid': uuid_text(self.session.get_property('uuid')),
			'leds': self.leds,
			'primary': primary,
			'marked': self.marked,
			'cursor': self.cursor,
			'draws': self.draws,
			'channels': sorted(f'{name} {ident}' for name, ident in self.channels),
		}

	def sleep(self, seconds):
		end = time.monotonic() + seconds
		GLib.timeout_add(max(1, int(seconds * 1000)), lambda: False)
		while time.monotonic() < end:
			self.loop.iteration(True)

	def do_sleep(self, words):
		self.sleep(float(words[1]))

	def run(self, line):
		words = line.split()
		method = getattr(self, 'do_' + words[0].replace('-', '_'), None)
		try:
			if method is None:
				raise Failed('there is no such command')
			answer = method(words, line) if words[0] == 'type' else method(words)
			self.say({'done': line, **(answer or {})})
			return True
		except Failed as error:
			self.say({'failed': line, 'reason': str(error)})
		except (IndexError, ValueError) as error:
			self.say({'failed': line, 'reason': f'bad arguments: {error}'})
		return False


class PortWrite:
	"""One write to a port. The library keeps no copy of the bytes until it is done, nor does PyGObject: C does it."""

	def __init__(self, channel, data):
		self.written = None
		self.lib = ctypes.CDLL('libspice-client-glib-2.0.so.8')
		self.lib.spice_port_channel_write_finish.restype = ctypes.c_ssize_t
		self.data = ctypes.create_string_buffer(data, len(data))
		self.done = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(self.finish)
		pointer, size = ctypes.c_void_p(hash(channel)), ctypes.c_size_t(len(data))
		self.lib.spice_port_channel_write_async(pointer, self.data, size, None, self.done, None)

	def finish(self, channel, result, _):
		call = self.lib.spice_port_channel_write_finish
		self.written = call(ctypes.c_void_p(channel), ctypes.c_void_p(result), None)


def memory(pointer, size):
	"""Bytes behind a pointer as PyGObject hands it over: an integer, a capsule-like object with an address, or bytes."""
	if isinstance(pointer, (bytes, bytearray)):
		return bytes(pointer[:size])
	try:
		address = int(pointer) if isinstance(pointer, int) else hash(pointer)
	except TypeError:
		return None
	return ctypes.string_at(address, size) if address else None


def monitors(channel):
	"""The heads of a display channel: PyGObject cannot read the property's array of structs, C can."""
	glib = ctypes.CDLL('libgobject-2.0.so.0')
	array = ctypes.c_void_p()
	glib.g_object_get(ctypes.c_void_p(hash(channel)), b'monitors', ctypes.byref(array), None)
	if not array.value:
		return []
	data, count = struct.unpack('@PI', ctypes.string_at(array.value, 12))
	# SpiceDisplayMonitorConfig: id, surface_id, x, y, width, height.
	heads = [struct.unpack_from('=6I', ctypes.string_at(data, 24 * count), 24 * i) for i in range(count)]
	glib.g_array_unref(array)
	return [dict(zip(('id', 'surface', 'x', 'y', 'width', 'height'), head)) for head in heads]


def rgb16(data, width, height, stride, fmt):
	out = bytearray()
	green_bits = 6 if fmt == 80 else 5
	for y in range(height):
		for pixel in struct.unpack_from(f'<{width}H', data, y * stride):
			blue = pixel & 31
			green = (pixel >> 5) & ((1 << green_bits) - 1)
			red = (pixel >> (5 + green_bits)) & 31
			green = (green << 2 | green >> 4) if green_bits == 6 else (green << 3 | green >> 2)
			out += bytes((red << 3 | red >> 2, green, blue << 3 | blue >> 2))
	return bytes(out)


def png(width, height, rgb):
	def chunk(kind, body):
		return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

	rows = b''.join(b'\0' + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
	header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
	return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows, 6)) + chunk(b'IEND', b'')


def uuid_text(value):
	raw = memory(value, 16) if value is not None else None
	if raw is None:
		return None
	text = raw.hex()
	return '-'.join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def main():
	parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
	parser.add_argument('--host', default='127.0.0.1')
	parser.add_argument('--port', type=int)
	parser.add_argument('--tls-port', type=int)
	parser.add_argument('--password')
	parser.add_argument('--ca')
	parser.add_argument('--host-subject')
	parser.add_argument('--secure-channels', default='')
	parser.add_argument('--channels', type=lambda text: text.split(','), default=[])
	parser.add_argument('--uri')
	parser.add_argument('--shared-dir')
	parser.add_argument('commands', nargs='*')
	args = parser.parse_args()
	probe = Probe(args)
	lines = args.commands or stdin_lines(probe)
	good = True
	for line in lines:
		line = line.rstrip('\r\n')
		if line.strip() == '':
			continue
		if line.strip() == 'quit':
			break
		good = probe.run(line) and good
	probe.do_disconnect([])
	sys.exit(0 if good else 1)


def stdin_lines(probe):
	"""Lines of stdin, while the session goes on in between."""
	pending = b''
	closed = []
	ready = []
	GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, lambda *_: ready.append(True) or True)
	while not closed:
		while not ready:
			probe.loop.iteration(True)
		ready.clear()
		chunk = os.read(0, 65536)
		if not chunk:
			closed.append(True)
		pending += chunk
		*lines, pending = pending.split(b'\n')
		for line in lines:
			yield line.decode()
	if pending:
		yield pending.decode()


main()
