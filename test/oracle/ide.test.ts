/** The IDE function, a disk and a CD-ROM drive beside QEMU's: the same walks, the same answers. */
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { AtaDisk, AtapiCdrom, Piix3Ide } from '../../devices/ide/index.ts';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { MemoryImage } from '../helpers/memory-image.ts';
import { compareConfig, type DeviceDriver, Pair } from './driver.ts';

const DISK = 64 << 20;
const CD = 40 * 2048;
const BUS_MASTER = 0xc000;
/** Guest memory of ours is small: what DMA tests use lies below 1 MiB. */
const TABLE = 0x1000;

interface Channel {
	readonly base: number;
	readonly control: number;
	readonly bm: number;
	readonly irq: number;
}
const primary: Channel = { base: 0x1f0, control: 0x3f6, bm: BUS_MASTER, irq: 14 };
const secondary: Channel = { base: 0x170, control: 0x376, bm: BUS_MASTER + 8, irq: 15 };

/** The media, which QEMU takes for its own with what is written kept aside. */
const media = { disk: MemoryImage.patterned(DISK), cd: MemoryImage.patterned(CD) };
media.disk.bytes.fill(0, 0, 512);
const prefix = join(tmpdir(), `tsvm-oracle-${process.pid}`);
const files = [`${prefix}.disk`, `${prefix}.cd`];
test.before(() => {
	writeFileSync(files[0], media.disk.bytes);
	writeFileSync(files[1], media.cd.bytes);
});
test.after.always(() => {
	for (const file of files) rmSync(file, { force: true });
});

/** Both machines with the same 64 MiB disk as primary master and the same CD as secondary master. */
async function pair(t: ExecutionContext): Promise<Pair> {
	const [disk, cd] = [new MemoryImage(DISK), new MemoryImage(CD)];
	disk.bytes.set(media.disk.bytes);
	cd.bytes.set(media.cd.bytes);
	const board = new ChipsetBoard();
	const ide = new Piix3Ide({
		host: board.host,
		ports: board.ports,
		irqs: [board.isa.source(14), board.isa.source(15)],
		drives: [new AtaDisk({ image: disk }), undefined, new AtapiCdrom({ image: cd })],
	});
	board.bus.plug(1, ide.pci, 1);
	const both = await Pair.start(board, {
		memory: MEMORY,
		args: [
			...['-drive', `file=${files[0]},format=raw,if=ide,index=0,snapshot=on`],
			...['-drive', `file=${files[1]},format=raw,if=ide,index=2,media=cdrom,readonly=on`],
		],
	});
	t.teardown(() => both.close());
	return both;
}

const hex = (values: readonly number[]) => values.map((v) => v.toString(16).padStart(2, '0')).join(' ');

/** QEMU's drives work while its main loop turns; ours are done at once. */
async function idle(d: DeviceDriver, { control }: Channel): Promise<void> {
	for (let i = 0; i < 500 && (await d.in8(control)) & 0x80; i++) await sleep(5);
}

/** Error, count, address, device, alternate status; the interrupt stays as it is. */
async function registers(d: DeviceDriver, { base, control }: Channel): Promise<string> {
	const values: number[] = [];
	for (const reg of [1, 2, 3, 4, 5, 6]) values.push(await d.in8(base + reg));
	values.push(await d.in8(control));
	return hex(values);
}

async function same<T>(
	t: ExecutionContext,
	both: Pair,
	what: string,
	ask: (d: DeviceDriver) => Promise<T>,
): Promise<T> {
	const [qemu, tsvm] = await both.both(ask);
	t.deepEqual(tsvm, qemu, what);
	return tsvm;
}

interface Command {
	readonly opcode: number;
	readonly features?: number;
	readonly count?: number;
	readonly lba?: number;
	readonly select?: number;
}

async function issue(d: DeviceDriver, channel: Channel, command: Command): Promise<void> {
	const { opcode, features = 0, count = 1, lba = 0, select = 0xe0 } = command;
	await d.out8(channel.base + 6, select);
	await d.out8(channel.base + 1, features);
	await d.out8(channel.base + 2, count);
	for (const [reg, shift] of [
		[3, 0],
		[4, 8],
		[5, 16],
	])
		await d.out8(channel.base + reg, (lba >>> shift) & 0xff);
	await d.out8(channel.base + 7, opcode);
	await idle(d, channel);
}

/** Everything the drive offers, block by block, with the registers at each stop and the interrupt line. */
async function transfer(d: DeviceDriver, channel: Channel, bytesOf: (d: DeviceDriver) => Promise<number>) {
	const stops: string[] = [];
	const data: number[] = [];
	for (let block = 0; block < 64; block++) {
		await idle(d, channel);
		const at = await registers(d, channel);
		stops.push(`${at} ${d.level(channel.irq) ? 'irq' : '-'}`);
		const status = await d.in8(channel.base + 7);
		if (!(status & 8)) break;
		const count = await bytesOf(d);
		for (let i = 0; i < count; i += 2) data.push(await d.in16(channel.base));
	}
	return { stops, data };
}

test('configuration space', async (t) => {
	const both = await pair(t);
	t.deepEqual(await compareConfig(both, 1, 1), []);
});

test('both channels after power-on, software reset and diagnostic', async (t) => {
	const both = await pair(t);
	for (const channel of [primary, secondary]) {
		const name = channel === primary ? 'disk' : 'CD';
		const walk = async (d: DeviceDriver) => {
			const seen: string[] = [];
			const look = async (what: string, interrupt = true) => {
				seen.push(`${what}: ${await registers(d, channel)} ${interrupt && d.level(channel.irq)}`);
				await d.in8(channel.base + 7);
			};
			await look('power-on');
			await d.out8(channel.base + 6, 0xb0);
			await look('slave');
			await d.out8(channel.base + 6, 0xa0);
			for (const opcode of [0x90, 0x10, 0x00, 0x08, 0xff]) {
				await d.out8(channel.base + 7, opcode);
				await idle(d, channel);
				// After a diagnostic QEMU's CD drive keeps quiet; ATA/ATAPI-6 9.10 has every drive interrupt.
				await look(`command ${opcode.toString(16)}`, opcode !== 0x90);
			}
			await d.out8(channel.control, 4);
			await d.out8(channel.control, 0);
			await idle(d, channel);
			await sleep(20);
			// QEMU raises an interrupt here, which ATA/ATAPI-6 9.2 does not; drivers mask it while they reset.
			await look('after software reset', false);
			return seen;
		};
		await same(t, both, name, walk);
	}
});

/** Words with names, and the serial number. */
const NAMES = [...Array(10).keys()].map((i) => 10 + i).concat([...Array(24).keys()].map((i) => 23 + i));

test('IDENTIFY DEVICE and IDENTIFY PACKET DEVICE, but for the names', async (t) => {
	const both = await pair(t);
	for (const [channel, opcode] of [
		[primary, 0xec],
		[secondary, 0xa1],
	] as const)
		await same(t, both, `command ${opcode.toString(16)}`, async (d) => {
			await issue(d, channel, { opcode });
			const { stops, data } = await transfer(d, channel, async () => 512);
			return { stops, words: data.map((word, i) => (NAMES.includes(i) ? 0 : word)) };
		});
});

test('a disk without a partition table: geometry', async (t) => {
	const both = await pair(t);
	const words = await same(t, both, 'geometry', async (d) => {
		await issue(d, primary, { opcode: 0xec });
		const { data } = await transfer(d, primary, async () => 512);
		return [data[1], data[3], data[6], data[54], data[55], data[56]];
	});
	t.deepEqual(words, [130, 16, 63, 130, 16, 63]);
});

test('disk commands: PIO reads, errors, features', async (t) => {
	const both = await pair(t);
	const commands: readonly Command[] = [
		{ opcode: 0x20, lba: 5, count: 3 },
		{ opcode: 0xc4, lba: 1, count: 20 },
		{ opcode: 0x20, lba: 17, count: 1, select: 0xa0 },
		{ opcode: 0x20, lba: 0x020103, count: 2, select: 0xa5 },
		{ opcode: 0x24, lba: 9, count: 2 },
		{ opcode: 0x40, lba: 9, count: 2 },
		{ opcode: 0xe7 },
		{ opcode: 0xea },
		{ opcode: 0xe5, count: 0 },
		{ opcode: 0xef, features: 0x03, count: 0x45 },
		{ opcode: 0xef, features: 0x03, count: 0x22 },
		{ opcode: 0xef, features: 0x03, count: 0xff },
		{ opcode: 0xef, features: 0x77 },
		{ opcode: 0xc6, count: 3 },
		{ opcode: 0xc6, count: 8 },
		{ opcode: 0x91, count: 17, select: 0xa3 },
		{ opcode: 0xb0, features: 0xda, lba: 0xc24f00 },
		{ opcode: 0xb0, features: 0xda, lba: 0 },
		{ opcode: 0xa0 },
		{ opcode: 0xa1 },
		...[0x94, 0x95, 0x96, 0x97, 0x99, 0xe0, 0xe1, 0xe2, 0xe3, 0xe6].map((opcode) => ({ opcode })),
		{ opcode: 0x70, lba: 5 },
	];
	for (const command of commands)
		await same(t, both, `command ${command.opcode.toString(16)} ${JSON.stringify(command)}`, async (d) => {
			await issue(d, primary, command);
			const multiple = command.opcode === 0xc4 ? 16 : 1;
			let left = command.count ?? 1;
			return transfer(d, primary, async () => {
				const sectors = Math.min(multiple, left);
				left -= sectors;
				return sectors * 512;
			});
		});
});

test('addresses that do not exist', async (t) => {
	const both = await pair(t);
	// A write is refused here before its data, by QEMU after it; so only reads are compared.
	await same(t, both, 'READ SECTORS', async (d) => {
		await issue(d, primary, { opcode: 0x20, lba: DISK / 512, count: 2 });
		return [await d.in8(0x1f1), (await d.in8(0x1f7)) & 1];
	});
});

test('bus master: registers, reads, tables that are too short and too long', async (t) => {
	const both = await pair(t);
	const walk = async (d: DeviceDriver) => {
		const seen: string[] = [];
		await d.configWrite(1, 1, 0x20, 4, BUS_MASTER);
		await d.configWrite(1, 1, 4, 2, 5);
		const look = async (what: string) => {
			const values: number[] = [];
			for (let at = 0; at < 16; at++) values.push(await d.in8(BUS_MASTER + at));
			seen.push(`${what}: ${hex(values)}; ${await registers(d, primary)} ${d.level(14)}`);
		};
		await look('reset');
		for (const width of [2, 4] as const)
			for (let at = 0; at < 8; at += width) seen.push((await d.in(BUS_MASTER + at, width)).toString(16));
		await d.out32(primary.bm + 4, 0xffffffff);
		await d.out8(primary.bm + 2, 0xff);
		await d.out8(primary.bm, 0xf6);
		await look('ones');
		for (const [what, length, sectors] of [
			['exact', 0x400, 2],
			['longer than the transfer', 0x800, 2],
			['shorter than the transfer', 0x200, 2],
		] as const) {
			await d.write(TABLE, 4, 0x10000);
			await d.write(TABLE + 4, 4, 0x80000000 + length);
			await d.out32(primary.bm + 4, TABLE);
			await d.out8(primary.bm, 8);
			await d.out8(primary.bm + 2, 6);
			await issue(d, primary, { opcode: 0xc8, lba: 33, count: sectors });
			await d.out8(primary.bm, 9);
			for (let i = 0; i < 100 && !((await d.in8(primary.bm + 2)) & 4) && (await d.in8(primary.bm + 2)) & 1; i++)
				await sleep(5);
			await look(what);
			seen.push((await d.read(0x10000, 4)).toString(16), (await d.read(0x101fc, 4)).toString(16));
			await d.in8(primary.base + 7);
			await d.out8(primary.bm, 0);
			await look(`${what}, stopped`);
		}
		return seen;
	};
	await same(t, both, 'bus master', walk);
});

test('packet commands', async (t) => {
	const both = await pair(t);
	const packets: readonly (readonly [what: string, cdb: readonly number[], limit?: number])[] = [
		['TEST UNIT READY', [0]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['INQUIRY, page 0', [0x12, 1, 0, 0, 64]],
		['INQUIRY, page 80h', [0x12, 1, 0x80, 0, 64]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['READ CAPACITY', [0x25]],
		['READ TOC', [0x43, 0, 0, 0, 0, 0, 0, 0, 100]],
		['READ TOC, MSF', [0x43, 2, 0, 0, 0, 0, 0, 0, 100]],
		['READ TOC, lead-out', [0x43, 0, 0, 0, 0, 0, 0xaa, 0, 100]],
		['READ TOC, no such track', [0x43, 0, 0, 0, 0, 0, 5, 0, 100]],
		['READ TOC, header only', [0x43, 0, 0, 0, 0, 0, 0, 0, 4]],
		['READ TOC, sessions', [0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40]],
		['READ TOC, full', [0x43, 0, 0, 0, 0, 0, 0, 0, 100, 0x80]],
		['READ TOC, full, MSF', [0x43, 2, 0, 0, 0, 0, 0, 0, 100, 0x80]],
		['GET CONFIGURATION', [0x46, 0, 0, 0, 0, 0, 0, 0, 200]],
		['GET CONFIGURATION, one feature', [0x46, 2, 0, 3, 0, 0, 0, 0, 200]],
		['GET EVENT STATUS', [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]],
		['GET EVENT STATUS, waiting', [0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8]],
		['GET EVENT STATUS, another class', [0x4a, 1, 0, 0, 4, 0, 0, 0, 8]],
		['READ DISC INFORMATION', [0x51, 0, 0, 0, 0, 0, 0, 0, 100]],
		['MODE SENSE, errors', [0x5a, 0, 0x01, 0, 0, 0, 0, 0, 100]],
		['MODE SENSE, audio', [0x5a, 0, 0x0e, 0, 0, 0, 0, 0, 100]],
		['MODE SENSE, capabilities', [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]],
		['MODE SENSE, all', [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 128]],
		['MODE SENSE, saved', [0x5a, 0, 0xea, 0, 0, 0, 0, 0, 128]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['MECHANISM STATUS', [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]],
		['SET CD SPEED', [0xbb]],
		['SEEK', [0x2b, 0, 0, 0, 0, 5]],
		['SEEK, too far', [0x2b, 0, 0, 0, 1, 5]],
		['READ(10)', [0x28, 0, 0, 0, 0, 39, 0, 0, 1]],
		['READ(10), 3000 bytes at a time', [0x28, 0, 0, 0, 0, 0, 0, 0, 3], 3000],
		['READ(10), nothing', [0x28, 0, 0, 0, 0, 3]],
		['READ(10), too far', [0x28, 0, 0, 0, 0, 39, 0, 0, 2]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['READ(12)', [0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 2]],
		['READ CD, nothing', [0xbe, 0, 0, 0, 0, 1, 0, 0, 1, 0]],
		['READ CD, data', [0xbe, 0, 0, 0, 0, 1, 0, 0, 1, 0x10]],
		['READ CD, raw', [0xbe, 0, 0, 0, 0, 1, 0, 0, 1, 0xf8]],
		['READ DVD STRUCTURE', [0xad, 0, 0, 0, 0, 0, 0, 0, 0, 100]],
		['no such command', [0xff]],
		['PREVENT REMOVAL', [0x1e, 0, 0, 0, 1]],
		['MODE SENSE, locked', [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]],
		['eject, locked', [0x1b, 0, 0, 0, 2]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['ALLOW REMOVAL', [0x1e]],
		['eject', [0x1b, 0, 0, 0, 2]],
		['TEST UNIT READY, open', [0]],
		['REQUEST SENSE', [3, 0, 0, 0, 18]],
		['GET EVENT STATUS, open', [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]],
		['GET CONFIGURATION, open', [0x46, 0, 0, 0, 0, 0, 0, 0, 8]],
		['load', [0x1b, 0, 0, 0, 3]],
		['TEST UNIT READY, loaded', [0]],
		['GET EVENT STATUS, loaded', [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]],
	];
	const { base } = secondary;
	for (const [what, cdb, limit = 0xfffe] of packets)
		await same(t, both, what, async (d) => {
			await d.out8(base + 6, 0xa0);
			await d.out8(base + 1, 0);
			await d.out8(base + 4, limit & 0xff);
			await d.out8(base + 5, limit >> 8);
			await d.out8(base + 7, 0xa0);
			const asked = await registers(d, secondary);
			for (let i = 0; i < 12; i += 2) await d.out16(base, (cdb[i] ?? 0) | ((cdb[i + 1] ?? 0) << 8));
			const answer = await transfer(d, secondary, async () => (await d.in8(base + 4)) | ((await d.in8(base + 5)) << 8));
			return { asked, ...answer };
		});
});
