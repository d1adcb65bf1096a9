/** COM1 and the DMA controllers beside QEMU's: the same walks, the same answers. */
import test, { type ExecutionContext } from 'ava';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { Pair } from './driver.ts';

const COM1 = 0x3f8;

async function pair(t: ExecutionContext): Promise<Pair> {
	const both = await Pair.start(new ChipsetBoard(), { memory: MEMORY, args: ['-serial', 'null'] });
	t.teardown(() => both.close());
	return both;
}

async function sameRegisters(t: ExecutionContext, both: Pair, what: string, offsets = [0, 1, 2, 3, 4, 5, 6, 7]) {
	for (const offset of offsets) {
		const [qemu, tsvm] = await both.in(COM1 + offset);
		t.is(tsvm, qemu, `${what}: +${offset}`);
	}
	t.is(both.tsvm.level(4), both.qemu.level(4), `${what}: interrupt`);
}

test('UART: reset values and what sticks', async (t) => {
	const both = await pair(t);
	await sameRegisters(t, both, 'reset');
	for (const offset of [1, 3, 4, 7]) {
		// DLAB stays off, so that +0 and +1 remain what they are; loopback has a test of its own.
		await both.out(COM1 + offset, offset === 3 ? 0x7f : offset === 4 ? 0xef : 0xff);
		await sameRegisters(t, both, `wrote +${offset}`);
		await both.out(COM1 + offset, 0);
	}
	await both.out(COM1 + 3, 0x80);
	await sameRegisters(t, both, 'divisor latch');
	await both.out(COM1, 0x34);
	await both.out(COM1 + 1, 0x12);
	await sameRegisters(t, both, 'divisor written');
	await both.out(COM1 + 3, 0x03);
	await sameRegisters(t, both, 'latch closed');
	for (const fcr of [0x01, 0xc1, 0xc7, 0xff, 0x00, 0x06]) {
		await both.out(COM1 + 2, fcr);
		await sameRegisters(t, both, `FCR 0x${fcr.toString(16)}`, [2, 5]);
	}
});

test('UART: transmitter interrupt as Linux tests it', async (t) => {
	const both = await pair(t);
	await both.out(COM1 + 4, 0x0b);
	await both.out(COM1 + 1, 0x02);
	await sameRegisters(t, both, 'THRI enabled while empty', [2, 2, 5]);
	await both.out(COM1 + 1, 0x00);
	await both.out(COM1 + 1, 0x02);
	await sameRegisters(t, both, 'enabled again', [2, 2]);
	for (const fcr of [0x00, 0x01]) {
		await both.out(COM1 + 2, fcr);
		for (const byte of [0x41, 0x42]) await both.out(COM1, byte);
		await both.step(5e6);
		await sameRegisters(t, both, `sent with FCR ${fcr}`, [5, 2, 2]);
	}
	await both.out(COM1 + 1, 0x00);
	await sameRegisters(t, both, 'disabled', [2]);
});

test('UART: loopback with and without FIFOs', async (t) => {
	const both = await pair(t);
	await both.out(COM1 + 4, 0x1b);
	await both.out(COM1 + 1, 0x01);
	await both.out(COM1, 0x5a);
	await sameRegisters(t, both, 'one byte', [5, 2]);
	await sameRegisters(t, both, 'read', [0, 5, 2]);
	for (const [fcr, level] of [
		[0x01, 1],
		[0x41, 4],
		[0x81, 8],
		[0xc1, 14],
	]) {
		await both.out(COM1 + 2, fcr | 0x06);
		for (let i = 1; i <= 16; i++) {
			await both.out(COM1, i);
			await sameRegisters(t, both, `level ${level}, ${i} bytes`, [5, 2]);
		}
		for (let i = 1; i <= 16; i++) await sameRegisters(t, both, `level ${level}, read ${i}`, [0, 5, 2]);
	}
});

test('UART: bytes below the trigger level time out after four characters', async (t) => {
	const both = await pair(t);
	// 115200 baud, 8 bits, no parity.
	await both.out(COM1 + 3, 0x83);
	await both.out(COM1, 1);
	await both.out(COM1 + 1, 0);
	await both.out(COM1 + 3, 0x03);
	await both.out(COM1 + 2, 0xc7);
	await both.out(COM1 + 4, 0x1b);
	await both.out(COM1 + 1, 0x01);
	await both.out(COM1, 0x77);
	await sameRegisters(t, both, 'at once', [2]);
	await both.step(5e6);
	await sameRegisters(t, both, 'later', [2]);
	t.is((await both.in(COM1 + 2))[1], 0xcc);
	await sameRegisters(t, both, 'read', [0, 2]);
});

test('UART: modem lines in loopback', async (t) => {
	const both = await pair(t);
	for (let mcr = 0x10; mcr < 0x20; mcr++) {
		await both.out(COM1 + 4, mcr);
		const [qemu, tsvm] = await both.in(COM1 + 6);
		// QEMU shows no changes of lines while it loops back.
		t.is(tsvm & 0xf0, qemu & 0xf0, `MCR 0x${mcr.toString(16)}`);
	}
	await both.out(COM1 + 4, 0x08);
	await both.in(COM1 + 6);
	await sameRegisters(t, both, 'back on the line', [6]);
});

test('DMA controllers: registers as QEMU has them', async (t) => {
	const both = await pair(t);
	const same = async (what: string, ports: readonly number[]) => {
		for (const port of ports) {
			const [qemu, tsvm] = await both.in(port);
			t.is(tsvm, qemu, `${what}: port 0x${port.toString(16)}`);
		}
	};
	const pages = [0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f];
	for (const port of pages) await both.out(port, port ^ 0x5a);
	await same('pages', pages);
	for (const [base, step] of [
		[0x00, 1],
		[0xc0, 2],
	]) {
		await both.out(base + 12 * step, 0);
		for (let register = 0; register < 8; register++) {
			await both.out(base + register * step, 0x11 * register + 1);
			await both.out(base + register * step, 0x0f * register + 2);
		}
		for (let register = 0; register < 8; register++)
			await same(`register ${register}`, [base + register * step, base + register * step]);
		// Half a write is in the current register at once, as the data sheet says; in QEMU with the second byte.
		await same('low byte', [base]);
		await both.out(base + 12 * step, 0);
		await same('flip-flop cleared', [base, base]);
		await same('status', [base + 8 * step]);
		await both.out(base + 14 * step, 0);
		await both.out(base + 10 * step, 0x06);
		await both.out(base + 13 * step, 0);
		await same('after master clear', [base, base, base + 8 * step]);
	}
});
