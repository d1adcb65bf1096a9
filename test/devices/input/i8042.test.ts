import test from 'ava';
import fc from 'fast-check';
import { I8042, Ps2Keyboard, Ps2Mouse } from '../../../devices/input/index.ts';
import { FakeBoard } from '../../helpers/board.ts';

function machine() {
	const board = new FakeBoard();
	const keyboard = new Ps2Keyboard();
	const mouse = new Ps2Mouse();
	let resets = 0;
	const i8042 = new I8042({
		ports: board.ports,
		keyboard,
		mouse,
		keyboardIrq: board.irqs[1],
		auxIrq: board.irqs[12],
		onReset: () => resets++,
	});
	const { ports } = board;
	const drain = () => {
		const out: number[] = [];
		for (let i = 0; i < 1000 && ports.in8(0x64) & 1; i++) out.push(ports.in8(0x60));
		return out;
	};
	const command = (byte: number, ...data: number[]) => {
		ports.out8(0x64, byte);
		for (const d of data) ports.out8(0x60, d);
		return drain();
	};
	const toKeyboard = (...bytes: number[]) =>
		bytes.flatMap((b) => {
			ports.out8(0x60, b);
			return drain();
		});
	const toMouse = (...bytes: number[]) =>
		bytes.flatMap((b) => {
			ports.out8(0x64, 0xd4);
			ports.out8(0x60, b);
			return drain();
		});
	return { board, ports, keyboard, mouse, i8042, drain, command, toKeyboard, toMouse, resets: () => resets };
}

/** As a PC's firmware leaves it: translation on, both interrupts on. */
function booted() {
	const m = machine();
	m.command(0xaa);
	m.command(0x60, 0x47);
	m.toKeyboard(0xf4);
	return m;
}

test('power-on state', (t) => {
	const { ports, board } = machine();
	t.is(ports.in8(0x64), 0x18);
	t.is(ports.in8(0x60), 0);
	t.false(board.irqs[1].level);
	t.false(board.irqs[12].level);
});

test('self-test, interface tests, command byte and output port', (t) => {
	const m = machine();
	t.deepEqual(m.command(0xaa), [0x55]);
	t.is(m.ports.in8(0x64) & 4, 4, 'system flag');
	t.deepEqual(m.command(0xab), [0]);
	t.deepEqual(m.command(0xa9), [0]);
	t.deepEqual(m.command(0x20), [0x03]);
	m.command(0x60, 0x65);
	t.deepEqual(m.command(0x20), [0x65]);
	m.command(0xa7);
	t.deepEqual(m.command(0x20), [0x65]);
	m.command(0xa8);
	t.deepEqual(m.command(0x20), [0x45]);
	m.command(0xad);
	t.deepEqual(m.command(0x20), [0x55]);
	m.command(0xae);
	t.deepEqual(m.command(0x20), [0x45]);
	t.deepEqual(m.command(0xc0), [0x80]);
	t.deepEqual(m.command(0xd0), [0xcf]);
});

test('the loop-back commands fill the buffer as if a device had sent', (t) => {
	const m = machine();
	m.ports.out8(0x64, 0xd3);
	m.ports.out8(0x60, 0xa5);
	t.is(m.ports.in8(0x64) & 0x21, 0x21);
	t.true(m.board.irqs[12].level);
	t.false(m.board.irqs[1].level);
	t.is(m.ports.in8(0x60), 0xa5);
	t.false(m.board.irqs[12].level);
	t.deepEqual(m.command(0xd2, 0x5a), [0x5a]);
});

test('the CPU is reset by a pulse of the low line only', (t) => {
	const m = machine();
	m.ports.out8(0x64, 0xff);
	t.is(m.resets(), 0);
	m.ports.out8(0x64, 0xfe);
	t.is(m.resets(), 1);
	m.ports.out8(0x64, 0xd1);
	m.ports.out8(0x60, 0xde);
	t.is(m.resets(), 2);
});

test('keyboard identification and scan code sets, translated and not', (t) => {
	const m = machine();
	t.deepEqual(m.toKeyboard(0xf2), [0xfa, 0xab, 0x83]);
	t.deepEqual(m.toKeyboard(0xf0, 0), [0xfa, 0xfa, 2]);
	m.command(0x60, 0x47);
	t.deepEqual(m.toKeyboard(0xf2), [0xfa, 0xab, 0x41]);
	t.deepEqual(m.toKeyboard(0xff), [0xfa, 0xaa]);
	t.deepEqual(m.toKeyboard(0xee), [0xee]);
	t.deepEqual(m.toKeyboard(0x77), [0xfe]);
});

test('a key makes one interrupt a byte and arrives as it was typed', (t) => {
	const m = booted();
	const edges = m.board.irqs[1].edges;
	m.keyboard.scancodes(Uint8Array.of(0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8));
	t.true(m.board.irqs[1].level);
	t.deepEqual(m.drain(), [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
	t.is(m.board.irqs[1].edges - edges, 6);
});

test('translation turns every set 1 code into set 2 and back', (t) => {
	const m = booted();
	for (let code = 1; code < 0x80; code++) {
		// 60h and 61h would be prefixes once released.
		if (code === 0x60 || code === 0x61) continue;
		m.keyboard.scancodes(Uint8Array.of(code, code | 0x80));
		t.deepEqual(m.drain(), [code, code | 0x80], `code ${code}`);
	}
	m.keyboard.scancodes(Uint8Array.of(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5));
	t.deepEqual(m.drain(), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], 'pause');
});

test('set 2 and set 3 without translation', (t) => {
	const m = machine();
	m.keyboard.scancodes(Uint8Array.of(0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8, 0x41));
	t.deepEqual(m.drain(), [0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75, 0x83]);
	t.deepEqual(m.toKeyboard(0xf0, 3), [0xfa, 0xfa]);
	m.keyboard.scancodes(Uint8Array.of(0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0x2a));
	t.deepEqual(m.drain(), [0x1c, 0xf0, 0x1c, 0x63]);
	t.deepEqual(m.toKeyboard(0xf0, 1), [0xfa, 0xfa]);
	m.keyboard.scancodes(Uint8Array.of(0x1e, 0x9e));
	t.deepEqual(m.drain(), [0x1e, 0x9e]);
});

test('a long burst of typing loses nothing and stays in order', (t) => {
	const m = booted();
	const typed: number[] = [];
	for (let i = 0; i < 120; i++) typed.push(0x10 + (i % 10), 0x90 + (i % 10));
	m.keyboard.scancodes(Uint8Array.from(typed));
	t.deepEqual(m.drain(), typed);
});

test('a keyboard that nobody reads forgets presses before releases, and memory stays bounded', (t) => {
	const m = booted();
	for (let i = 0; i < 5000; i++) m.keyboard.scancodes(Uint8Array.of(0x1e));
	m.keyboard.scancodes(Uint8Array.of(0x9e));
	const read = m.drain();
	t.true(read.length < 600);
	t.is(read[read.length - 1], 0x9e);
});

test('an answer overtakes keys that wait in the keyboard', (t) => {
	const m = booted();
	m.keyboard.scancodes(Uint8Array.of(0x1e, 0x9e));
	m.ports.out8(0x60, 0xee);
	t.deepEqual(m.drain(), [0x1e, 0xee, 0x9e]);
});

test('LEDs', (t) => {
	const m = booted();
	const seen: number[] = [];
	m.keyboard.onLeds = (leds) => seen.push(leds);
	t.deepEqual(m.toKeyboard(0xed, 0x02), [0xfa, 0xfa]);
	t.is(m.keyboard.leds, 2);
	m.toKeyboard(0xed, 0x06);
	m.toKeyboard(0xff);
	t.deepEqual(seen, [2, 6, 0]);
});

test('a disabled interface holds its bytes back', (t) => {
	const m = booted();
	m.command(0xad);
	m.keyboard.scancodes(Uint8Array.of(0x1e));
	t.deepEqual(m.drain(), []);
	m.ports.out8(0x64, 0xae);
	t.deepEqual(m.drain(), [0x1e]);
});

test('the mouse: reset, identification, wheel and five buttons as drivers ask for them', (t) => {
	const m = booted();
	t.deepEqual(m.toMouse(0xff), [0xfa, 0xaa, 0x00]);
	t.deepEqual(m.toMouse(0xf2), [0xfa, 0]);
	for (const rate of [200, 100, 80]) m.toMouse(0xf3, rate);
	t.deepEqual(m.toMouse(0xf2), [0xfa, 3]);
	for (const rate of [200, 200, 80]) m.toMouse(0xf3, rate);
	t.deepEqual(m.toMouse(0xf2), [0xfa, 4]);
	t.deepEqual(m.toMouse(0xe8, 3), [0xfa, 0xfa]);
	t.deepEqual(m.toMouse(0xe9), [0xfa, 0x00, 3, 80]);
	t.deepEqual(m.toMouse(0xf4), [0xfa]);
	t.deepEqual(m.toMouse(0xe9), [0xfa, 0x20, 3, 80]);
});

test('mouse packets: signs, buttons, wheel', (t) => {
	const m = booted();
	for (const rate of [200, 100, 80]) m.toMouse(0xf3, rate);
	m.toMouse(0xf4);
	m.mouse.motion(5, -3, 0, 0);
	t.true(m.board.irqs[12].level);
	t.deepEqual(m.drain(), [0x08, 5, 3, 0]);
	m.mouse.motion(-1, 2, 1, 1);
	t.deepEqual(m.drain(), [0x39, 0xff, 0xfe, 1]);
	m.mouse.motion(0, 0, -1, 4);
	t.deepEqual(m.drain(), [0x0a, 0, 0, 0xff]);
});

test('movements that pile up become one, clicks stay clicks', (t) => {
	const m = booted();
	m.toMouse(0xf4);
	m.mouse.motion(1, 0, 0, 0);
	for (let i = 0; i < 200; i++) m.mouse.motion(1, 1, 0, 0);
	m.mouse.motion(0, 0, 0, 1);
	m.mouse.motion(0, 0, 0, 0);
	m.mouse.motion(0, 0, 0, 1);
	m.mouse.motion(0, 0, 0, 0);
	const bytes = m.drain();
	let x = 0;
	let y = 0;
	const buttons: number[] = [];
	for (let i = 0; i < bytes.length; i += 3) {
		x += (bytes[i + 1] << 24) >> 24;
		y += (bytes[i + 2] << 24) >> 24;
		if (buttons[buttons.length - 1] !== (bytes[i] & 7)) buttons.push(bytes[i] & 7);
	}
	t.is(x, 201);
	t.is(y, -200);
	t.deepEqual(buttons, [0, 1, 0, 1, 0]);
	t.true(bytes.length < 30, 'packets were merged');
});

test('remote mode answers when asked', (t) => {
	const m = booted();
	t.deepEqual(m.toMouse(0xf0), [0xfa]);
	m.mouse.motion(3, 0, 0, 1);
	t.deepEqual(m.drain(), []);
	t.deepEqual(m.toMouse(0xeb), [0xfa, 0x09, 3, 0]);
});

test('save, restore, save again', (t) => {
	const m = booted();
	m.toMouse(0xf4);
	m.keyboard.scancodes(Uint8Array.from({ length: 60 }, (_, i) => 0x10 + (i % 8)));
	m.mouse.motion(300, 4, 1, 1);
	m.ports.out8(0x64, 0xd4);
	m.ports.in8(0x60);
	const saved = [m.i8042.save(), m.keyboard.save(), m.mouse.save()];
	const other = machine();
	other.i8042.restore(saved[0]);
	other.keyboard.restore(saved[1]);
	other.mouse.restore(saved[2]);
	t.deepEqual([other.i8042.save(), other.keyboard.save(), other.mouse.save()], saved);
	t.deepEqual(other.toKeyboard(0xf2), m.toKeyboard(0xf2));
	t.deepEqual(other.drain(), m.drain());
});

test('random accesses never throw, hang or grow', (t) => {
	fc.assert(
		fc.property(
			fc.array(
				fc.oneof(
					fc.record({ port: fc.constantFrom(0x60, 0x64), value: fc.nat(255) }),
					fc.record({ read: fc.constantFrom(0x60, 0x64) }),
					fc.record({ keys: fc.uint8Array({ maxLength: 20 }) }),
					fc.record({ move: fc.tuple(fc.integer(), fc.integer(), fc.integer(), fc.nat(127)) }),
				),
				{ maxLength: 200 },
			),
			(steps) => {
				const m = machine();
				for (const step of steps) {
					if ('port' in step) m.ports.out8(step.port, step.value);
					else if ('read' in step) m.ports.in8(step.read);
					else if ('keys' in step) m.keyboard.scancodes(step.keys);
					else m.mouse.motion(...step.move);
				}
				return m.drain().length < 1000;
			},
		),
	);
	t.pass();
});
