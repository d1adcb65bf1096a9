#!/usr/bin/python3
"""A client that only listens: spice-gtk's own library, what it decodes written to a file, events to stdout.

Usage: listen.py PORT FILE    (FILE gets 48 kHz stereo 16-bit samples; ends with stdin)
Needs gir1.2-spiceclientglib-2.0 and python3-gi. SPICE_DISABLE_OPUS=1 makes it ask for raw samples.
"""
import ctypes
import json
import sys
import time

import gi

gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib as Spice  # noqa: E402

# Spice.Channel and Spice.Session have a connect() of their own.
listen = GObject.GObject.connect


def main():
	port, path = sys.argv[1:3]
	out = open(path, 'wb', buffering=0)
	start = time.monotonic()
	loop = GLib.MainLoop()

	def say(event, **fields):
		print(json.dumps({'event': event, 't': round(time.monotonic() - start, 4), **fields}), flush=True)

	def on_data(channel, data, size):
		address = data if isinstance(data, int) else hash(data)
		out.write(ctypes.string_at(address, size))

	def on_volume(channel, _):
		count = channel.get_property('nchannels')
		address = channel.get_property('volume')
		words = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint16))
		say('volume', volume=[words[i] for i in range(count)])

	def on_channel(session, channel):
		if isinstance(channel, Spice.MainChannel):
			listen(channel, 'channel-event', lambda c, e: say('main', state=e.value_nick))
		if not isinstance(channel, Spice.PlaybackChannel):
			return
		listen(channel, 'playback-start', lambda c, fmt, channels, rate: say('start', channels=channels, rate=rate))
		listen(channel, 'playback-data', on_data)
		listen(channel, 'playback-stop', lambda c: say('stop'))
		listen(channel, 'notify::volume', on_volume)
		listen(channel, 'notify::mute', lambda c, _: say('mute', mute=bool(c.get_property('mute'))))
		listen(channel, 'notify::min-latency', lambda c, _: say('latency', ms=c.get_property('min-latency')))
		listen(channel, 'channel-event', lambda c, e: say('playback', state=e.value_nick))
		Spice.Channel.connect(channel)

	session = Spice.Session()
	session.set_property('host', '127.0.0.1')
	session.set_property('port', port)
	listen(session, 'channel-new', on_channel)
	Spice.Session.connect(session)
	GLib.io_add_watch(0, GLib.IO_HUP, lambda *_: loop.quit())
	loop.run()
	session.disconnect()


main()
