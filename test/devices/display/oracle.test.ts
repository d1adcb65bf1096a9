/** The display adapter held against QEMU's qxl-vga: identity, BARs, ROM, RAM header, ports, VGA registers, and pictures. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import * as L from '../../../devices/display/qxl/layout.ts';
import { encode } from '../../../src/core/index.ts';
import {
	access,
	type DisplayBoard,
	displayBoard,
	IO_BASE,
	RAM_BASE,
	ROM_BASE,
	VRAM_BASE,
} from '../../helpers/display-board.ts';
import { boardAccess, type QxlAccess, QxlDriver, rectOf, words } from '../../helpers/qxl-driver.ts';
import { biosFont, MODES, type VgaAccess, VgaDriver } from '../../helpers/vga-driver.ts';
import { Qtest } from '../../oracle/qtest.ts';

const DEVICE = 'qxl-vga,ram_size_mb=64,vram_size_mb=32,vgamem_mb=16,addr=2';
const FUNCTION = 0x80001000;
const BIOS = '/usr/share/seabios/vgabios-qxl.bin';

async function qemu(t: ExecutionContext): Promise<Qtest> {
	const q = await Qtest.start({ args: ['-device', DEVICE] });
	t.teardown(() => q.close());
	return q;
}
async function configRead(q: Qtest, at: number): Promise<number> {
	await q.command(`outl 0xcf8 ${FUNCTION + at}`);
	return q.value('inl 0xcfc');
}
async function configWrite(q: Qtest, at: number, value: number): Promise<void> {
	await q.command(`outl 0xcf8 ${FUNCTION + at}`);
	await q.command(`outl 0xcfc ${value}`);
}
/** BARs where our own board has them. */
async function mapped(t: ExecutionContext): Promise<Qtest> {
	const q = await qemu(t);
	for (const [i, base] of [RAM_BASE, VRAM_BASE, ROM_BASE, IO_BASE].entries()) await configWrite(q, 0x10 + i * 4, base);
	await configWrite(q, 4, 7);
	return q;
}
async function bytes(q: Qtest, address: number, length: number): Promise<Uint8Array> {
	const [hex] = await q.command(`read 0x${address.toString(16)} ${length}`);
	return new Uint8Array(Buffer.from(hex.slice(2), 'hex'));
}

test.serial('configuration space and BAR sizes', async (t) => {
	const q = await qemu(t);
	const { device } = displayBoard(undefined, new Uint8Array(await readFile(BIOS)));
	device.pci.reset();
	for (let at = 0; at < 0x40; at += 4)
		t.is(device.pci.read(at, 4).toString(16), (await configRead(q, at)).toString(16), `offset 0x${at.toString(16)}`);
	for (const at of [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30]) {
		await configWrite(q, at, 0xffffffff);
		device.pci.write(at, 4, 0xffffffff);
		t.is(device.pci.read(at, 4).toString(16), (await configRead(q, at)).toString(16), `mask of 0x${at.toString(16)}`);
	}
});

test.serial('the ROM, mode list included, and the RAM header after reset', async (t) => {
	const q = await mapped(t);
	const board = displayBoard();
	const rom = Uint8Array.from({ length: 8192 }, (_, i) => board.mmio.read8(ROM_BASE + i));
	t.deepEqual(rom, await bytes(q, ROM_BASE, 8192));
	const at = (64 << 20) - L.RAM_HEADER_SIZE;
	// The items of the rings are nobody's business before something is in them.
	t.deepEqual(board.ram.bytes().slice(at, at + 8192), await bytes(q, RAM_BASE + at, 8192));
});

test.serial('I/O ports read as ones', async (t) => {
	const q = await mapped(t);
	const board = displayBoard();
	for (let i = 0; i < 32; i++) t.is(board.ports.in8(IO_BASE + i), await q.value(`inb ${IO_BASE + i}`));
	t.is(board.ports.in32(IO_BASE), await q.value(`inl ${IO_BASE}`));
});

/** QEMU's device, with its machine running: it raises no interrupt while stopped. */
function qemuAccess(q: Qtest): QxlAccess {
	const write = async (address: number, data: Uint8Array) => {
		await q.command(`write 0x${address.toString(16)} ${data.length} 0x${Buffer.from(data).toString('hex')}`);
	};
	return {
		out8: async (port, value) => {
			await q.command(`outb ${IO_BASE + port} ${value}`);
		},
		read: (address, length) => bytes(q, address, length),
		write,
		settle: () => new Promise((resolve) => setTimeout(resolve, 60)),
	};
}

interface Step {
	readonly what: string;
	run(d: QxlDriver): Promise<unknown>;
}

/** What a driver does, right and wrong; after each step both devices must show the same interrupts and rings. */
const STEPS: readonly Step[] = [
	{ what: 'reset and memslots', run: (d) => d.init() },
	{ what: 'an async that makes no sense in VGA mode', run: (d) => d.async(L.Io.destroyPrimaryAsync) },
	{ what: 'create primary', run: (d) => d.createPrimary(640, 480) },
	{ what: 'fill', run: (d) => d.fill(rectOf(0, 0, 64, 64), 0x123456) },
	{ what: 'copy', run: (d) => d.copy(10, 10, 4, 4, new Uint32Array(16).fill(0x00ff00)) },
	{ what: 'update area', run: (d) => d.updateArea(0, rectOf(0, 0, 64, 64)) },
	{ what: 'flush surfaces', run: (d) => d.async(L.Io.flushSurfacesAsync) },
	{ what: 'flush release', run: async (d) => d.io.out8(L.Io.flushRelease, 0) },
	{ what: 'destroy primary', run: (d) => d.async(L.Io.destroyPrimaryAsync) },
	{ what: 'destroy it again', run: (d) => d.async(L.Io.destroyPrimaryAsync) },
	{
		what: 'the mode of a driver of interface version 1',
		run: async (d) => {
			await d.setMode(1);
			await d.compatFill(rectOf(3, 3, 60, 60), 0x345678);
			await d.io.settle();
			await d.writeHeader(L.Ram.updateArea, encode(L.Rect, rectOf(0, 0, 64, 64)));
			await d.io.out8(L.Io.updateArea, 0);
		},
	},
	{ what: 'and one that is not in the list', run: (d) => d.setMode(200) },
	{ what: 'a new start', run: (d) => d.init() },
	{ what: 'another primary', run: (d) => d.createPrimary(320, 200) },
	{ what: 'destroy all', run: (d) => d.async(L.Io.destroyAllSurfacesAsync) },
	{ what: 'memslot out of range', run: async (d) => d.io.out8(L.Io.memslotAdd, 8) },
	{ what: 'nothing is heard', run: async (d) => d.io.out8(L.Io.createPrimary, 0) },
	{ what: 'reset', run: (d) => d.init() },
	{ what: 'a memslot outside', run: (d) => d.addSlot(3, 0, 4096) },
	{ what: 'reset again', run: (d) => d.init() },
	{
		what: 'an empty update',
		run: async (d) => {
			await d.createPrimary(64, 64);
			await d.updateArea(0, rectOf(5, 5, 5, 5));
		},
	},
	{
		what: 'one upside down',
		run: (d) => d.updateArea(0, rectOf(9, 0, 5, 5)),
	},
	{ what: 'one more reset', run: (d) => d.init() },
	{
		what: 'an unknown port',
		run: async (d) => {
			await d.createPrimary(64, 64);
			await d.ack();
			await d.io.out8(30, 0);
		},
	},
];

test.serial('a driver sees the same interrupts, rings and pixels', async (t) => {
	const q = await mapped(t);
	await q.qmp('cont');
	const board = displayBoard();
	const ours = new QxlDriver(boardAccess(board));
	const theirs = new QxlDriver(qemuAccess(q));
	const state = async (d: QxlDriver) => {
		await d.io.settle();
		const { prod, cons } = await d.ring(L.Ram.cmdRing);
		const release = await d.ring(L.Ram.releaseRing);
		// libspice-server tells QEMU of its (missing) clients whenever a display begins.
		return { pending: (await d.pending()) & ~L.Interrupt.client, prod, cons, released: release.prod };
	};
	for (const { what, run } of STEPS) {
		await run(ours);
		await run(theirs);
		t.deepEqual(await state(ours), await state(theirs), what);
		if (what === 'update area') {
			const [a, b] = await Promise.all([ours.io.read(RAM_BASE, 16384), theirs.io.read(RAM_BASE, 16384)]);
			t.deepEqual(words(a), words(b), 'pixels written back');
		}
		if (what.startsWith('the mode')) {
			// A negative stride: the first rows of the screen are the last in memory.
			const at = RAM_BASE + 470 * 2560;
			const [a, b] = await Promise.all([ours.io.read(at, 25600), theirs.io.read(at, 25600)]);
			t.deepEqual(words(a), words(b), what);
			t.true(words(a).includes(0x345678));
		}
	}
	await q.qmp('stop');
});

/** Commands go out without waiting; QEMU answers them in order. */
class QemuVga implements VgaAccess {
	readonly q: Qtest;
	constructor(q: Qtest) {
		this.q = q;
	}
	#send(line: string): void {
		void this.q.command(line);
	}
	out8(port: number, value: number): void {
		this.#send(`outb ${port} ${value}`);
	}
	out16(port: number, value: number): void {
		this.#send(`outw ${port} ${value}`);
	}
	in8(port: number): number {
		this.#send(`inb ${port}`);
		return 0;
	}
	in16(port: number): number {
		this.#send(`inw ${port}`);
		return 0;
	}
	write8(address: number, value: number): void {
		this.#send(`writeb ${address} ${value}`);
	}
	read8(address: number): number {
		this.#send(`readb ${address}`);
		return 0;
	}
	write(address: number, data: Uint8Array): void {
		this.#send(`write ${address} ${data.length} 0x${Buffer.from(data).toString('hex')}`);
	}
	async picture(): Promise<{ width: number; height: number; rgb: Uint8Array }> {
		// The answer to this one comes after all that went before it.
		await this.q.command('inb 0x80');
		const folder = await mkdtemp(join(tmpdir(), 'tsvm-oracle-'));
		const filename = join(folder, 'shot.ppm');
		await this.q.qmp('screendump', { filename });
		const ppm = await readFile(filename);
		await rm(folder, { recursive: true });
		const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(ppm.subarray(0, 40).toString('latin1'));
		if (!header) throw new Error('not a PPM');
		return { width: Number(header[1]), height: Number(header[2]), rgb: ppm.subarray(header[0].length) };
	}
}

type Fill = (address: number, data: Uint8Array) => void;
interface Scene {
	readonly name: string;
	draw(vga: VgaDriver, fill: Fill): void;
}
const noise = (length: number, seed: number) => {
	let x = seed;
	return Uint8Array.from({ length }, () => {
		x = (Math.imul(x, 1103515245) + 12345) >>> 0;
		return x >>> 16;
	});
};
/** Characters B0h-BFh are left out: QEMU repeats their eighth dot as well, which the VGA does from C0h on. */
const text = (cells: number) =>
	noise(cells * 2, 7).map((b, i) => (i % 2 === 0 && b >= 0xb0 && b < 0xc0 ? b - 0x70 : b));
function textScene(vga: VgaDriver, mode: keyof typeof MODES): void {
	vga.setMode(MODES[mode]);
	vga.egaColors();
	vga.loadFont(biosFont());
	vga.crtc(0x0a, 0x20);
	// Blinking is a matter of time: sixteen background colours instead.
	vga.attribute(0x10, 0x04);
}
const greys = (vga: VgaDriver) => {
	for (let i = 0; i < 256; i++) vga.color(i, i & 63, (i * 7) & 63, (i * 29) & 63);
};

const SCENES: readonly Scene[] = [
	{
		name: '80x25 text',
		draw: (vga, fill) => {
			textScene(vga, 'text80');
			fill(0xb8000, text(2000));
		},
	},
	{
		name: '80x25 text, scrolled, split, in 8 dots',
		draw: (vga, fill) => {
			textScene(vga, 'text80');
			fill(0xb8000, text(4000));
			vga.sequencer(1, 1);
			vga.crtc(0x0c, 2);
			vga.crtc(0x0d, 0x30);
		},
	},
	{
		name: '16 colours',
		draw: (vga, fill) => {
			vga.setMode(MODES.planar);
			vga.egaColors();
			for (let plane = 0; plane < 4; plane++) {
				vga.sequencer(2, 1 << plane);
				fill(0xa0000, noise(38400, plane + 1));
			}
		},
	},
	{
		name: '16 colours through write mode 2 and set/reset, split screen',
		draw: (vga, fill) => {
			vga.setMode(MODES.planar);
			vga.egaColors();
			vga.graphics(5, 2);
			fill(0xa0000, noise(20000, 5));
			vga.graphics(5, 0);
			vga.graphics(1, 0x0a);
			vga.graphics(0, 0x02);
			vga.graphics(3, 0x1b);
			fill(0xa0000 + 20000, noise(18000, 6));
			vga.crtc(0x18, 0x80);
			vga.crtc(7, 0x2e);
			vga.crtc(9, 0x00);
		},
	},
	{
		name: '320x200, 256 colours',
		draw: (vga, fill) => {
			vga.setMode(MODES.mode13);
			greys(vga);
			fill(0xa0000, noise(64000, 9));
		},
	},
	{
		name: '320x200, 4 colours',
		draw: (vga, fill) => {
			vga.setMode(MODES.cga4);
			vga.egaColors();
			fill(0xb8000, noise(16384, 11));
		},
	},
	...[8, 24, 32].map((bpp) => ({
		name: `VBE ${bpp}`,
		draw: (vga: VgaDriver, fill: Fill) => {
			vga.setVbe(640, 480, bpp);
			if (bpp === 8) greys(vga);
			fill(RAM_BASE, noise((640 * 480 * bpp) / 8, bpp));
		},
	})),
	{
		name: 'VBE 32, panned',
		draw: (vga, fill) => {
			vga.setVbe(640, 480, 32);
			vga.vbe(6, 800);
			vga.vbe(8, 40);
			vga.vbe(9, 100);
			fill(RAM_BASE, noise(800 * 600 * 4, 3));
		},
	},
];

test.serial("pictures of every kind are QEMU's, pixel for pixel", async (t) => {
	t.timeout(240_000);
	for (const scene of SCENES) {
		const q = await mapped(t);
		const theirs = new QemuVga(q);
		const board = displayBoard();
		scene.draw(new VgaDriver(theirs), (address, data) => {
			for (let at = 0; at < data.length; at += 4096) theirs.write(address + at, data.subarray(at, at + 4096));
		});
		scene.draw(new VgaDriver(access(board)), (address, data) => fillBoard(board, address, data));
		const picture = await theirs.picture();
		board.refresh();
		const { width, height, pixels } = board.sink.primary;
		t.deepEqual([width, height], [picture.width, picture.height], scene.name);
		let wrong = 0;
		for (let i = 0; i < pixels.length; i++) {
			const [r, g, b] = picture.rgb.subarray(i * 3, i * 3 + 3);
			if (pixels[i] !== ((r << 16) | (g << 8) | b)) wrong++;
		}
		t.is(wrong, 0, scene.name);
		await q.close();
	}
});

function fillBoard(board: DisplayBoard, address: number, data: Uint8Array): void {
	for (const [i, byte] of data.entries()) board.mmio.write8(address + i, byte);
}

test.serial('VGA and VBE registers read back the same', async (t) => {
	const q = await mapped(t);
	const board = displayBoard();
	const io = access(board);
	const out = async (port: number, value: number, width: 'b' | 'w' = 'b') => {
		await q.command(`out${width} ${port} ${value}`);
		if (width === 'b') io.out8(port, value);
		else io.out16(port, value);
	};
	const same = async (port: number, what: string, width: 'b' | 'w' = 'b') =>
		t.is(width === 'b' ? io.in8(port) : io.in16(port), await q.value(`in${width} ${port}`), what);
	for (const misc of [0, 1]) {
		await out(0x3c2, misc);
		for (let port = 0x3b0; port < 0x3e0; port++) {
			// The pixel mask (3C6h) is not there in QEMU; status (3xAh) depends on time.
			if (port !== 0x3c6 && (port & 0x0f) !== 0x0a) await same(port, `port ${port.toString(16)}, misc ${misc}`);
		}
	}
	for (const [index, data, count] of [
		[0x3c4, 0x3c5, 8],
		[0x3ce, 0x3cf, 16],
		[0x3d4, 0x3d5, 0x19],
	]) {
		for (let i = 0; i < count; i++) {
			for (const value of [0xff, 0x5a]) {
				await out(index, i);
				await out(data, value);
				await same(data, `${index.toString(16)} index ${i}`);
			}
		}
	}
	for (const [index, value] of [
		[1, 1023],
		[2, 768],
		[3, 32],
		[4, 1],
		[6, 2000],
		[9, 3000],
		[8, 17],
		[5, 999],
		[2, 60000],
		[3, 5],
		[1, 60000],
		[4, 3],
		[0, 0xb0c2],
		[0, 0x1234],
	]) {
		await out(0x1ce, index, 'w');
		await out(0x1cf, value, 'w');
		for (let i = 0; i < 13; i++) {
			await out(0x1ce, i, 'w');
			await same(0x1d0, `DISPI ${i} after ${index} = ${value}`, 'w');
		}
	}
});
