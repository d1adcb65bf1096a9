/** Virtio functions beside QEMU's: configuration space, capabilities, registers at rest and under a driver's first steps. */
import test from 'ava';
import { VirtioBalloon } from '../../devices/virtio/balloon.ts';
import { VirtioBlk } from '../../devices/virtio/blk.ts';
import { VirtioKeyboard } from '../../devices/virtio/keyboard.ts';
import { VirtioPci, type VirtioPciOptions } from '../../devices/virtio/pci.ts';
import { VirtioRng } from '../../devices/virtio/rng.ts';
import { VirtioSerial } from '../../devices/virtio/serial.ts';
import { VirtioTablet } from '../../devices/virtio/tablet.ts';
import type { VirtioModel } from '../../devices/virtio/virtio.ts';
import { ChipsetBoard, MEMORY } from '../helpers/chipset.ts';
import { MemoryImage } from '../helpers/memory-image.ts';
import { Common, Legacy } from '../helpers/virtio-driver.ts';
import { compareConfig, type DeviceDriver, Pair, type Width } from './driver.ts';

interface Subject {
	/** As in QEMU's -device. */
	readonly name: string;
	readonly model: () => VirtioModel;
	/** The device never had a legacy interface. */
	readonly modernOnly?: boolean;
	/** What the legacy interface answers otherwise than QEMU's when it is the only one, and why. */
	readonly legacyDifference?: { readonly line: string; readonly reason: string };
}

const silent = { write: (bytes: Uint8Array) => bytes.length, attach: () => {}, close: () => {} };
const DISK = 24 << 20;

const NO_SCSI = {
	line: 'QEMU port +0x0 (4): 0x71006ed4; tsvm port +0x0 (4): 0x79006e54',
	reason: 'QEMU offers SCSI requests (bit 7), which need a fixed layout (no bit 27), and then refuses each',
};

const SUBJECTS: readonly Subject[] = [
	{
		name: 'virtio-serial-pci',
		model: () => new VirtioSerial({ ports: [{ backend: silent, name: 'org.example.port' }] }),
	},
	{ name: 'virtio-balloon-pci', model: () => new VirtioBalloon() },
	{
		name: 'virtio-blk-pci,drive=disk',
		model: () => new VirtioBlk({ image: new MemoryImage(DISK) }),
		legacyDifference: NO_SCSI,
	},
	{
		name: 'virtio-blk-pci,drive=other,logical_block_size=4096,physical_block_size=16384,min_io_size=8192,opt_io_size=65536',
		model: () =>
			new VirtioBlk({
				image: new MemoryImage(DISK),
				logicalBlockSize: 4096,
				physicalBlockSize: 16384,
				minIoSize: 8192,
				optIoSize: 65536,
			}),
		legacyDifference: NO_SCSI,
	},
	{ name: 'virtio-rng-pci', model: () => new VirtioRng((into) => void into.fill(7)) },
	{ name: 'virtio-tablet-pci', model: () => new VirtioTablet(), modernOnly: true },
	{ name: 'virtio-keyboard-pci', model: () => new VirtioKeyboard(), modernOnly: true },
];

/** QEMU has at most one balloon; this one takes the plain one's place. */
const RICH_BALLOON: Subject = {
	name: 'virtio-balloon-pci,deflate-on-oom=on,free-page-reporting=on,free-page-hint=on,iothread=thread',
	model: () => new VirtioBalloon({ deflateOnOom: true, freePageReporting: true, freePageHint: true }),
};
const PAGE = 4096;
/** BAR 1 lies behind BAR 4. */
const MSIX = 8 * PAGE;
const CAP_MSIX = 0x11;

/** Where a function sits, and where firmware puts its BARs. */
interface Place {
	readonly slot: number;
	readonly io: number;
	readonly mmio: number;
}
const place = (n: number): Place => ({ slot: 5 + n, io: 0xc000 + n * 0x100, mmio: 0xe0000000 + n * 0x10000 });

/** Both machines with one of each in this form. */
async function pair(
	subjects: readonly Subject[],
	options: VirtioPciOptions = {},
	more: readonly string[] = [],
): Promise<Pair> {
	const board = new ChipsetBoard();
	const args = [
		'-object',
		'iothread,id=thread',
		'-blockdev',
		`driver=null-co,node-name=disk,size=${DISK},read-zeroes=on`,
		'-blockdev',
		`driver=null-co,node-name=other,size=${DISK},read-zeroes=on`,
	];
	for (const [n, { name, model }] of subjects.entries()) {
		const { slot } = place(n);
		board.bus.plug(slot, new VirtioPci(board.host, model(), options).pci);
		const words = [name, `addr=0x${slot.toString(16)}`];
		if (options.packed) words.push('packed=on');
		if (options.disableModern) words.push('disable-modern=on', 'disable-legacy=off');
		if (options.disableLegacy) words.push('disable-legacy=on');
		args.push('-device', words.join(','));
	}
	return Pair.start(board, { memory: MEMORY, args: [...args, ...more] });
}

async function assign(driver: DeviceDriver, { slot, io, mmio }: Place): Promise<void> {
	await driver.configWrite(slot, 0, 0x10, 4, io);
	await driver.configWrite(slot, 0, 0x14, 4, mmio + MSIX);
	await driver.configWrite(slot, 0, 0x20, 4, mmio);
	await driver.configWrite(slot, 0, 0x24, 4, 0);
	await driver.configWrite(slot, 0, 0x04, 2, 7);
}

/** Questions that both machines are asked; what was answered, one line each. */
class Script {
	readonly lines: string[] = [];
	readonly driver: DeviceDriver;
	readonly place: Place;
	constructor(driver: DeviceDriver, place: Place) {
		this.driver = driver;
		this.place = place;
	}
	note(what: string, value: number): void {
		this.lines.push(`${what}: 0x${value.toString(16)}`);
	}
	async read(page: number, at: number, width: Width): Promise<number> {
		const value = await this.driver.read(this.place.mmio + page * PAGE + at, width);
		this.note(`page ${page} +0x${at.toString(16)} (${width})`, value);
		return value;
	}
	async write(page: number, at: number, width: Width, value: number): Promise<void> {
		await this.driver.write(this.place.mmio + page * PAGE + at, width, value);
	}
	async in(at: number, width: Width): Promise<number> {
		const value = await this.driver.in(this.place.io + at, width);
		this.note(`port +0x${at.toString(16)} (${width})`, value);
		return value;
	}
	async out(at: number, width: Width, value: number): Promise<void> {
		await this.driver.out(this.place.io + at, width, value);
	}
	/** Every register of the common configuration that a driver reads. */
	async common(): Promise<void> {
		for (const [name, at] of Object.entries(Common)) {
			const wide = /Feature|queueD/.test(name);
			const narrow = name === 'deviceStatus' || name === 'configGeneration';
			await this.read(0, at, wide ? 4 : narrow ? 1 : 2);
		}
	}
}

async function compare(both: Pair, n: number, ask: (script: Script) => Promise<void>): Promise<string[]> {
	const [qemu, tsvm] = await both.both(async (driver) => {
		await assign(driver, place(n));
		const script = new Script(driver, place(n));
		await ask(script);
		return script.lines;
	});
	return qemu.flatMap((line, i) => (line === tsvm[i] ? [] : [`QEMU ${line}; tsvm ${tsvm[i]}`]));
}

async function modernWalk(script: Script): Promise<void> {
	await script.common();
	for (const half of [0, 1, 2]) {
		await script.write(0, Common.deviceFeatureSelect, 4, half);
		await script.read(0, Common.deviceFeature, 4);
	}
	for (let n = 0; n < 70; n++) {
		await script.write(0, Common.queueSelect, 2, n);
		for (const at of [Common.queueSize, Common.queueEnable, Common.queueNotifyOff]) await script.read(0, at, 2);
	}
	await script.read(1, 0, 1);
	for (const status of [1, 3]) {
		await script.write(0, Common.deviceStatus, 1, status);
		await script.read(0, Common.deviceStatus, 1);
	}
	for (const half of [0, 1]) {
		await script.write(0, Common.driverFeatureSelect, 4, half);
		await script.write(0, Common.driverFeature, 4, half === 0 ? 0x30000000 : 1);
		await script.read(0, Common.driverFeature, 4);
	}
	await script.write(0, Common.deviceStatus, 1, 11);
	await script.read(0, Common.deviceStatus, 1);
	await script.write(0, Common.queueSelect, 2, 0);
	await script.write(0, Common.queueSize, 2, 4);
	await script.write(0, Common.queueDesc, 4, 0x80000);
	await script.write(0, Common.queueDriver, 4, 0x81000);
	await script.write(0, Common.queueDevice, 4, 0x82000);
	await script.write(0, Common.queueEnable, 2, 1);
	await script.common();
	await script.write(0, Common.deviceStatus, 1, 15);
	await script.common();
	await script.write(0, Common.queueReset, 2, 1);
	await script.read(0, Common.queueEnable, 2);
	await script.write(0, Common.deviceStatus, 1, 0);
	// QEMU goes on showing what was selected and accepted before the reset.
	await script.write(0, Common.queueSelect, 2, 0);
	for (const at of [Common.numQueues, Common.queueSize, Common.queueEnable]) await script.read(0, at, 2);
	for (const at of [Common.deviceStatus, Common.configGeneration]) await script.read(0, at, 1);
}

async function configDump(script: Script): Promise<void> {
	for (const width of [1, 2, 4] as const) for (let at = 0; at < 64; at += width) await script.read(2, at, width);
}

async function legacyWalk(script: Script): Promise<void> {
	for (const [at, width] of [
		[Legacy.deviceFeatures, 4],
		[Legacy.driverFeatures, 4],
		[Legacy.queueAddress, 4],
		[Legacy.queueSize, 2],
		[Legacy.queueSelect, 2],
		[Legacy.deviceStatus, 1],
		[Legacy.isrStatus, 1],
	] as const)
		await script.in(at, width);
	for (let n = 0; n < 70; n++) {
		await script.out(Legacy.queueSelect, 2, n);
		await script.in(Legacy.queueSize, 2);
		await script.in(Legacy.queueAddress, 4);
	}
	for (let at = 0; at < 8; at++) await script.in(Legacy.config + at, 1);
	await script.out(Legacy.deviceStatus, 1, 3);
	await script.in(Legacy.deviceStatus, 1);
	await script.out(Legacy.driverFeatures, 4, 0x30000000);
	await script.in(Legacy.driverFeatures, 4);
	await script.out(Legacy.queueSelect, 2, 0);
	await script.out(Legacy.queueAddress, 4, 0x80);
	await script.in(Legacy.queueAddress, 4);
	await script.in(Legacy.queueSize, 2);
	await script.out(Legacy.deviceStatus, 1, 7);
	await script.in(Legacy.deviceStatus, 1);
	await script.out(Legacy.queueAddress, 4, 0);
	await script.in(Legacy.deviceStatus, 1);
	await script.in(Legacy.queueAddress, 4);
}

/** Table, pending bits and control of MSI-X, and the vectors of the common configuration. */
async function msixWalk(script: Script): Promise<void> {
	const { driver, place: at } = script;
	const table = at.mmio + MSIX;
	const read = async (offset: number) =>
		script.note(`table +0x${offset.toString(16)}`, await driver.read(table + offset, 4));
	const all = async () => {
		for (let offset = 0; offset < 0x40; offset += 4) await read(offset);
		for (const offset of [0x7fc, 0x800, 0x804, 0xffc]) await read(offset);
	};
	await all();
	for (let offset = 0; offset < 0x20; offset += 4) await driver.write(table + offset, 4, 0xfee01004 + offset);
	await driver.write(table + 0x800, 4, 0xffffffff);
	await all();
	let cap = await driver.configRead(at.slot, 0, 0x34, 1);
	while ((await driver.configRead(at.slot, 0, cap, 1)) !== CAP_MSIX)
		cap = await driver.configRead(at.slot, 0, cap + 1, 1);
	for (const control of [0xffff, 0xc000, 0x4000, 0x8000, 0]) {
		await driver.configWrite(at.slot, 0, cap + 2, 2, control);
		script.note(`control after 0x${control.toString(16)}`, await driver.configRead(at.slot, 0, cap + 2, 2));
	}
	const vectors = [Common.configMsixVector, Common.queueMsixVector];
	await script.write(0, Common.queueSelect, 2, 0);
	for (const vector of [0, 1, 2, 0x8000, 0xffff, 1]) {
		for (const register of vectors) await script.write(0, register, 2, vector);
		for (const register of vectors) await script.read(0, register, 2);
	}
	await script.write(0, Common.queueReset, 2, 1);
	for (const register of vectors) await script.read(0, register, 2);
	for (const register of vectors) await script.write(0, register, 2, 1);
	await script.write(0, Common.deviceStatus, 1, 0);
	await script.write(0, Common.queueSelect, 2, 0);
	for (const register of vectors) await script.read(0, register, 2);
}

/** While MSI-X is enabled the legacy header has two vectors more, and the device's configuration lies behind them. */
async function legacyMsixWalk(script: Script): Promise<void> {
	const { driver, place: at } = script;
	const cap = await driver.configRead(at.slot, 0, 0x34, 1);
	await driver.configWrite(at.slot, 0, cap + 2, 2, 0x8000);
	for (const vector of [0, 1, 2, 0xffff]) {
		await script.out(Legacy.config, 2, vector);
		await script.in(Legacy.config, 2);
		await script.out(Legacy.queueSelect, 2, 0);
		await script.out(Legacy.config + 2, 2, vector);
		await script.in(Legacy.config + 2, 2);
	}
	for (let offset = 4; offset < 12; offset++) await script.in(Legacy.config + offset, 1);
	await driver.configWrite(at.slot, 0, cap + 2, 2, 0);
	for (let offset = 0; offset < 8; offset++) await script.in(Legacy.config + offset, 1);
}

/** Every answer of an input device's configuration. */
async function inputAnswers(script: Script): Promise<void> {
	for (const select of [0, 1, 2, 3, 4, 0x10, 0x11, 0x12, 0x13])
		for (let sub = 0; sub < 0x20; sub++) {
			await script.write(2, 0, 1, select);
			await script.write(2, 1, 1, sub);
			for (let at = 0; at < 40; at += 4) await script.read(2, at, 4);
		}
}

const transitional = SUBJECTS.filter(({ modernOnly }) => !modernOnly);

test("transitional and modern functions answer as QEMU's", async (t) => {
	const both = await pair(SUBJECTS);
	t.teardown(() => both.close());
	for (const [n, { name, modernOnly }] of SUBJECTS.entries()) {
		t.deepEqual(await compareConfig(both, place(n).slot, 0), [], `${name}: configuration space`);
		t.deepEqual(await compare(both, n, modernWalk), [], `${name}: modern interface`);
		t.deepEqual(await compare(both, n, configDump), [], `${name}: device configuration`);
		if (modernOnly) t.deepEqual(await compare(both, n, inputAnswers), [], `${name}: configuration's answers`);
		else t.deepEqual(await compare(both, n, legacyWalk), [], `${name}: legacy interface`);
		if (!name.includes('balloon')) t.deepEqual(await compare(both, n, msixWalk), [], `${name}: MSI-X`);
	}
});

test("functions without a legacy interface have the identity of QEMU's", async (t) => {
	const both = await pair(transitional, { disableLegacy: true });
	t.teardown(() => both.close());
	for (const [n, { name }] of transitional.entries())
		t.deepEqual(await compareConfig(both, place(n).slot, 0), [], name);
});

test("functions with a legacy interface only answer as QEMU's", async (t) => {
	const both = await pair(transitional, { disableModern: true });
	t.teardown(() => both.close());
	for (const [n, { name, legacyDifference }] of transitional.entries()) {
		t.deepEqual(await compareConfig(both, place(n).slot, 0), [], `${name}: configuration space`);
		const known = legacyDifference ? [legacyDifference.line] : [];
		t.deepEqual(await compare(both, n, legacyWalk), known, `${name}: registers`);
		if (!name.includes('balloon')) t.deepEqual(await compare(both, n, legacyMsixWalk), [], `${name}: MSI-X`);
	}
});

test('with everything that can be asked for the same is offered', async (t) => {
	const subjects = SUBJECTS.map((subject) => (subject.name === 'virtio-balloon-pci' ? RICH_BALLOON : subject));
	const both = await pair(subjects, { packed: true });
	t.teardown(() => both.close());
	for (const [n, { name }] of subjects.entries()) {
		t.deepEqual(await compare(both, n, modernWalk), [], `${name}: modern interface`);
		t.deepEqual(await compare(both, n, configDump), [], `${name}: device configuration`);
	}
});

/** Control queues of a console device: eight buffers of 64 bytes to be written, and messages one at a time. */
class Conversation {
	static readonly #rings = { 2: 0x80000, 3: 0x84000 } as const;
	static readonly #buffers = 0x88000;
	readonly #script: Script;
	#sent = 0;
	#heard = 0;

	constructor(script: Script) {
		this.#script = script;
	}

	async begin(): Promise<void> {
		const { driver } = this.#script;
		for (let at = 0x80000; at < 0x8a000; at += 4) await driver.write(at, 4, 0);
		for (const status of [0, 1, 3]) await this.#script.write(0, Common.deviceStatus, 1, status);
		for (const [half, bits] of [2, 1].entries()) {
			await this.#script.write(0, Common.driverFeatureSelect, 4, half);
			await this.#script.write(0, Common.driverFeature, 4, bits);
		}
		await this.#script.write(0, Common.deviceStatus, 1, 11);
		for (const n of [2, 3] as const) {
			const ring = Conversation.#rings[n];
			await this.#script.write(0, Common.queueSelect, 2, n);
			await this.#script.write(0, Common.queueSize, 2, 8);
			for (const [i, at] of [Common.queueDesc, Common.queueDriver, Common.queueDevice].entries())
				await this.#script.write(0, at, 4, ring + i * PAGE);
			await this.#script.write(0, Common.queueEnable, 2, 1);
		}
		await this.#script.write(0, Common.deviceStatus, 1, 15);
		for (let i = 0; i < 8; i++) {
			await this.#descriptor(2, i, Conversation.#buffers + i * 64, 64, 2);
			await driver.write(Conversation.#rings[2] + PAGE + 4 + 2 * i, 2, i);
		}
		await driver.write(Conversation.#rings[2] + PAGE + 2, 2, 8);
		await this.#script.write(3, 2 * 4, 2, 2);
	}

	async #descriptor(n: 2 | 3, i: number, address: number, length: number, flags: number): Promise<void> {
		const at = Conversation.#rings[n] + 16 * i;
		for (const [k, value] of [address, 0, length, flags].entries())
			await this.#script.driver.write(at + 4 * k, 4, value);
	}

	/** Says this, and notes what came back: used lengths, messages, ISR status. */
	async say(port: number, event: number, value: number): Promise<void> {
		const { driver } = this.#script;
		const buffer = Conversation.#buffers + 0x400;
		await driver.write(buffer, 4, port);
		await driver.write(buffer + 4, 2, event);
		await driver.write(buffer + 6, 2, value);
		await this.#descriptor(3, this.#sent % 8, buffer, 8, 0);
		await driver.write(Conversation.#rings[3] + PAGE + 4 + 2 * (this.#sent % 8), 2, this.#sent % 8);
		await driver.write(Conversation.#rings[3] + PAGE + 2, 2, ++this.#sent);
		await this.#script.write(3, 3 * 4, 2, 3);
		this.#script.note('used by the device', await driver.read(Conversation.#rings[3] + 2 * PAGE + 2, 2));
		const end = await driver.read(Conversation.#rings[2] + 2 * PAGE + 2, 2);
		for (; this.#heard < end; this.#heard++) {
			const used = Conversation.#rings[2] + 2 * PAGE + 4 + 8 * (this.#heard % 8);
			const length = await driver.read(used + 4, 4);
			const bytes: number[] = [];
			for (let i = 0; i < Math.min(length, 64); i++)
				bytes.push(await driver.read(Conversation.#buffers + this.#heard * 64 + i, 1));
			this.#script.lines.push(`after ${event} for port ${port}: ${length} bytes, ${bytes.join(' ')}`);
		}
		await this.#script.read(1, 0, 1);
		await this.#script.read(1, 0, 1);
	}
}

test("the console device's control messages are QEMU's, byte for byte", async (t) => {
	const subject: Subject = {
		name: 'virtio-serial-pci,id=serial',
		model: () =>
			new VirtioSerial({
				ports: [
					{ backend: silent, console: true },
					{ backend: silent, name: 'org.example.port' },
				],
			}),
	};
	const both = await pair([subject], {}, [
		...['-chardev', 'file,id=one,path=/dev/null', '-device', 'virtconsole,bus=serial.0,chardev=one'],
		...[
			'-chardev',
			'file,id=two,path=/dev/null',
			'-device',
			'virtserialport,bus=serial.0,chardev=two,name=org.example.port',
		],
	]);
	t.teardown(() => both.close());
	let lines = 0;
	const differences = await compare(both, 0, async (script) => {
		const conversation = new Conversation(script);
		await conversation.begin();
		await conversation.say(0, 0, 1);
		for (const port of [0, 1, 5]) await conversation.say(port, 3, 1);
		for (const open of [1, 0, 1]) await conversation.say(1, 6, open);
		lines = script.lines.filter((line) => line.startsWith('after')).length;
	});
	t.deepEqual(differences, []);
	t.is(lines, 6, 'two ports added, a console and its opening, a name and its opening');
});
