/** Tablet and keyboard: what they say they are, and events as evdev has them. Virtio 1.2, 5.8; linux/input-event-codes.h. */
import test from 'ava';
import { VirtioKeyboard } from '../../../devices/virtio/keyboard.ts';
import { VirtioTablet } from '../../../devices/virtio/tablet.ts';
import { MouseButton } from '../../../src/core/index.ts';
import { type DriverOptions, guestErrors, VirtioDriver } from '../../helpers/virtio-driver.ts';

const EVENTS = 0;
const STATUS = 1;
const EV_SYN = 0;
const EV_KEY = 1;
const EV_REL = 2;
const EV_ABS = 3;
const EV_LED = 0x11;
const BTN_LEFT = 0x110;
const BTN_RIGHT = 0x111;

/** What Linux's virtio_input does: a ring full of buffers of eight bytes. */
class Guest extends VirtioDriver {
	constructor(model: VirtioTablet | VirtioKeyboard, options: DriverOptions & { readonly buffers?: number } = {}) {
		super(model, options);
		this.start();
		this.offer(options.buffers ?? 64);
	}

	offer(buffers: number): void {
		for (let i = 0; i < buffers; i++) this.queue(EVENTS).add({ in: [8] });
		this.kick(EVENTS);
	}

	/** Events that came, as [type, code, value]; their buffers are put back. */
	get events(): number[][] {
		const events = this.queue(EVENTS)
			.used()
			.map(({ bytes }) => {
				const view = new DataView(bytes.buffer);
				return [view.getUint16(0, true), view.getUint16(2, true), view.getInt32(4, true)];
			});
		this.offer(events.length);
		return events;
	}

	/** The configuration's answer, `size` bytes of it. */
	ask(select: number, subselect: number): Uint8Array {
		this.writeConfig(0, 1, select);
		this.writeConfig(1, 1, subselect);
		return Uint8Array.from({ length: this.readConfig(2, 1) }, (_, i) => this.readConfig(8 + i, 1));
	}

	led(code: number, value: number): void {
		const bytes = new Uint8Array(8);
		const view = new DataView(bytes.buffer);
		view.setUint16(0, EV_LED, true);
		view.setUint16(2, code, true);
		view.setInt32(4, value, true);
		this.send(STATUS, { out: [bytes] });
	}
}

const syn = [EV_SYN, 0, 0];
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test('the tablet says what it is', (t) => {
	const guest = new Guest(new VirtioTablet());
	t.is(text(guest.ask(1, 0)), 'QEMU Virtio Tablet\0');
	t.deepEqual([...guest.ask(3, 0)], [6, 0, 0x27, 6, 3, 0, 2, 0]);
	t.deepEqual([...guest.ask(0x11, EV_ABS)], [3], 'two axes');
	t.deepEqual([...guest.ask(0x11, EV_REL)], [0, 1], 'a wheel');
	t.is(guest.ask(0x11, EV_KEY)[BTN_LEFT >> 3] & 7, 7, 'three buttons at least');
	const axis = new DataView(guest.ask(0x12, 0).buffer);
	t.is(axis.getUint32(0, true), 0);
	t.is(axis.getUint32(4, true), 0x7fff);
	t.is(guest.ask(0x12, 2).length, 0, 'no third axis');
	t.is(guest.ask(0x77, 0).length, 0);
	t.is(guest.readConfig(8, 4), 0);
});

test('the keyboard says which keys it has', (t) => {
	const guest = new Guest(new VirtioKeyboard());
	t.is(text(guest.ask(1, 0)), 'QEMU Virtio Keyboard\0');
	const keys = guest.ask(0x11, EV_KEY);
	const has = (code: number) => ((keys[code >> 3] >> (code & 7)) & 1) === 1;
	for (const code of [1, 28, 57, 88, 105, 125, 127]) t.true(has(code), `key ${code}`);
	t.false(has(0));
	t.deepEqual([...guest.ask(0x11, EV_LED)], [7]);
});

for (const kind of [{}, { packed: true }])
	test(`a movement is two axes and a mark ${JSON.stringify(kind)}`, (t) => {
		const tablet = new VirtioTablet();
		const guest = new Guest(tablet, kind);
		tablet.position(0, 0, 1024, 768, 0, 0);
		t.deepEqual(guest.events, [[EV_ABS, 0, 16], [EV_ABS, 1, 21], syn]);
		tablet.position(1023, 767, 1024, 768, 0, 0);
		t.deepEqual(guest.events, [[EV_ABS, 0, 0x7fff - 15], [EV_ABS, 1, 0x7fff - 21], syn]);
		tablet.position(1023, 10, 1024, 768, 0, 0);
		t.deepEqual(guest.events, [[EV_ABS, 1, 448], syn], 'an axis that stays is not told again');
		tablet.position(1023, 10, 1024, 768, 0, 0);
		t.deepEqual(guest.events, []);
		t.is(guest.takeIsr(), 1);
	});

test('every pixel of a screen is found again by a guest that rounds', (t) => {
	const tablet = new VirtioTablet();
	const guest = new Guest(tablet);
	for (const width of [640, 1024, 1366, 1920])
		for (let x = 0; x < width; x += 13) {
			tablet.position(x, 0, width, 600, 0, 0);
			const [moved] = guest.events;
			if (moved[0] === EV_ABS && moved[1] === 0) t.is(Math.floor((moved[2] * width) / 0x8000), x);
		}
});

test('buttons and the wheel', (t) => {
	const tablet = new VirtioTablet();
	const guest = new Guest(tablet);
	tablet.position(5, 5, 100, 100, 0, 0);
	void guest.events;
	tablet.position(5, 5, 100, 100, 0, MouseButton.left | MouseButton.right);
	t.deepEqual(guest.events, [[EV_KEY, BTN_LEFT, 1], [EV_KEY, BTN_RIGHT, 1], syn]);
	tablet.position(5, 5, 100, 100, 2, MouseButton.right);
	t.deepEqual(guest.events, [[EV_KEY, BTN_LEFT, 0], [EV_REL, 8, -2], syn]);
	tablet.position(5, 5, 100, 100, -1, 0);
	t.deepEqual(guest.events, [[EV_KEY, BTN_RIGHT, 0], [EV_REL, 8, 1], syn]);
});

test('a guest without room never sees half a movement, and all of the next one', (t) => {
	const tablet = new VirtioTablet();
	const guest = new Guest(tablet, { buffers: 2 });
	tablet.position(10, 10, 100, 100, 0, MouseButton.left);
	t.deepEqual(guest.queue(EVENTS).used(), []);
	guest.offer(2);
	tablet.position(11, 11, 100, 100, 0, MouseButton.left);
	t.deepEqual(guest.events.length, 4);
});

test('keys: set 1 scan codes become key codes', (t) => {
	const keyboard = new VirtioKeyboard();
	const guest = new Guest(keyboard);
	const typed = (...codes: number[]) => {
		keyboard.scancodes(Uint8Array.from(codes));
		return guest.events;
	};
	t.deepEqual(typed(0x1e, 0x9e), [[EV_KEY, 30, 1], syn, [EV_KEY, 30, 0], syn], 'A');
	t.deepEqual(typed(0xe0, 0x48), [[EV_KEY, 103, 1], syn], 'Up');
	t.deepEqual(typed(0xe0, 0xc8), [[EV_KEY, 103, 0], syn]);
	t.deepEqual(typed(0xe0), []);
	t.deepEqual(typed(0x5b), [[EV_KEY, 125, 1], syn], 'in two calls');
	t.deepEqual(typed(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5), [[EV_KEY, 119, 1], syn, [EV_KEY, 119, 0], syn], 'Pause');
	t.deepEqual(typed(0x00, 0x7f), [], 'no such keys');
});

test('the guest sets the LEDs', (t) => {
	const keyboard = new VirtioKeyboard();
	const seen: number[] = [];
	keyboard.onLeds = (leds) => void seen.push(leds);
	const guest = new Guest(keyboard);
	guest.led(1, 1);
	guest.led(0, 1);
	guest.led(1, 0);
	guest.led(2, 0);
	guest.led(9, 1);
	t.deepEqual(seen, [4, 6, 2], 'as SPICE numbers them');
	t.is(keyboard.leds, 2);
	guest.status = 0;
	t.is(keyboard.leds, 0);
});

test('a status event that is too short is worth one line', (t) => {
	const guest = new Guest(new VirtioKeyboard());
	const log = guestErrors(() => {
		for (let i = 0; i < 20; i++) guest.send(STATUS, { out: [new Uint8Array(7)] });
	});
	t.is(log.length, 1);
	t.regex(log[0], /7 bytes/);
});

test('nobody listens: nothing is kept, and the machine knows', (t) => {
	const tablet = new VirtioTablet();
	const active: boolean[] = [];
	tablet.onActive = (on) => void active.push(on);
	const guest = new VirtioDriver(tablet);
	tablet.position(1, 1, 10, 10, 0, 0);
	t.false(tablet.active);
	guest.start();
	t.true(tablet.active);
	guest.queue(EVENTS).add({ in: [8] });
	guest.kick(EVENTS);
	t.deepEqual(guest.queue(EVENTS).used(), []);
	guest.status = 0;
	t.deepEqual(active, [true, false]);
});

test('saved and restored: it listens, knows its place, and keeps buffers that it had taken', (t) => {
	const tablet = new VirtioTablet();
	const guest = new Guest(tablet, { buffers: 2 });
	tablet.position(10, 10, 100, 100, 0, 0);
	guest.ask(1, 0);
	const next = new VirtioTablet();
	const saved = guest.migrate(next);
	t.deepEqual(guest.device.save(), saved);
	t.true(next.active);
	t.is(guest.readConfig(0, 1), 1);
	guest.offer(1);
	next.position(10, 10, 100, 100, 0, 0);
	t.is(guest.events.length, 3);
});
