#!/usr/bin/python3
"""A small window in the corner of the screen that files can be dragged from: drag-source.py X Y FILE [FILE ...]

It stands at X, Y and is 40 pixels wide and high. Says `ready` on stdout once it is shown.
"""

import sys

import gi

gi.require_version('Gtk', '3.0')
from gi.repository import Gdk, Gio, GLib, Gtk  # noqa: E402

x, y = int(sys.argv[1]), int(sys.argv[2])
uris = [Gio.File.new_for_path(path).get_uri() for path in sys.argv[3:]]

# No window manager moves or raises a popup.
window = Gtk.Window(type=Gtk.WindowType.POPUP)
window.set_default_size(40, 40)
window.move(x, y)
box = Gtk.EventBox()
box.add(Gtk.Label(label='files'))
window.add(box)
targets = [Gtk.TargetEntry.new('text/uri-list', 0, 0)]
box.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, targets, Gdk.DragAction.COPY)
box.connect('drag-data-get', lambda widget, context, data, info, time: data.set_uris(uris))
window.show_all()
GLib.idle_add(lambda: print('ready', flush=True))
Gtk.main()
