/**
 * The description of a machine: one schema from which the API's types, the checks, the defaults and the JSON Schema
 * come. Units are bytes where a field says nothing else.
 */
import * as z from 'zod';
import { TsvmError } from '../core/index.ts';
import { formatSize, KiB, MiB, Path, refuse, Size, UnixPath } from './config-kit.ts';

import { Chardev, Device, Drive } from './devices.ts';
import { PANIC_ACTIONS } from './panic.ts';
import { PlanError } from './plan.ts';
import { displayWords, planDevices } from './planner.ts';

export { formatSize, parseSize } from './config-kit.ts';

/** The core's address arithmetic is signed 32-bit: RAM and video memories together end below 2 GiB - 64 KiB. */
const CORE_LIMIT = 0x7fff0000;
export const MIN_MEMORY = 4 * MiB;

/** A QXL memory: a power of two, so that a BAR can hold it. */
const powerOfTwo = (min: number, max: number) =>
	Size.superRefine((bytes, ctx) => {
		if (bytes < min || bytes > max || (bytes & (bytes - 1)) !== 0)
			refuse(
				ctx,
				`${formatSize(bytes)} is no power of two from ${formatSize(min)} to ${formatSize(max)}`,
				`give ${formatSize(Math.max(min, Math.min(max, 2 ** Math.ceil(Math.log2(bytes)))))}`,
			);
	});

const Port = z.number().int().min(1, 'expected a port from 1 to 65535').max(65535, 'expected a port from 1 to 65535');

export const SPICE_CHANNELS = [
	'main',
	'display',
	'inputs',
	'cursor',
	'playback',
	'record',
	'smartcard',
	'usbredir',
	'port',
	'webdav',
] as const;

/** spice-protocol, protocol.h: SPICE_MAX_PASSWORD_LENGTH. */
const MAX_PASSWORD = 60;

const Disk = z.strictObject({
	file: Path,
	readonly: z.boolean().default(false),
	snapshot: z.boolean().default(false).meta({ description: 'writes go to a throw-away overlay' }),
	discard: z
		.enum(['ignore', 'unmap'], { error: 'expected ignore or unmap' })
		.default('ignore')
		.meta({ description: 'unmap: what the guest discards takes no more room in the file' }),
	werror: z
		.enum(['report', 'ignore', 'enospc', 'stop'], { error: 'expected report, ignore, enospc or stop' })
		.default('enospc')
		.meta({ description: 'after a write that failed: enospc stops the machine when the host has no space left' }),
	rerror: z
		.enum(['report', 'ignore', 'stop'], { error: 'expected report, ignore or stop' })
		.default('report')
		.meta({ description: 'after a read that failed' }),
	bus: z.enum(['ide', 'virtio'], { error: 'expected ide or virtio' }).default('ide'),
	serial: z.string().max(20, 'a serial number has at most 20 characters').optional(),
});

const Balloon = z.strictObject({
	target: Size.optional().meta({ description: 'memory that the guest is to keep; all of it if left out' }),
	deflateOnOom: z.boolean().default(false).meta({ description: 'the guest may take memory back when it runs out' }),
	freePageReporting: z.boolean().default(false).meta({ description: 'memory that the guest does not use goes back' }),
	freePageHint: z.boolean().default(false),
});

const Boot = z.strictObject({
	order: bootOrder('cd').meta({ description: 'c hard disk, d CD-ROM, first to last' }),
	once: bootOrder(undefined).meta({ description: 'order of the first boot only' }),
	menu: z.boolean().default(false),
});

function bootOrder(fallback: string): z.ZodDefault<z.ZodString>;
function bootOrder(fallback: undefined): z.ZodOptional<z.ZodString>;
function bootOrder(fallback: string | undefined) {
	const letters = z.string().regex(/^(c|d|cd|dc)$/, 'expected c (hard disk), d (CD-ROM), cd or dc');
	return fallback === undefined ? letters.optional() : letters.default(fallback);
}

/** Where a serial port's bytes go. */
export type SerialConfig =
	| { readonly kind: 'none' }
	| { readonly kind: 'stdio' }
	| { readonly kind: 'file'; readonly path: string }
	| { readonly kind: 'unix'; readonly path: string }
	| { readonly kind: 'chardev'; readonly id: string };

const Serial = z
	.string()
	.transform((spec, ctx): SerialConfig => {
		const hint = 'write stdio, none, file:PATH, unix:PATH or chardev:ID';
		if (spec === 'none' || spec === 'stdio') return { kind: spec };
		if (spec.startsWith('chardev:')) return { kind: 'chardev', id: spec.slice('chardev:'.length) };
		const match = /^(file|unix):(.+)$/s.exec(spec);
		if (!match) return refuse(ctx, `'${spec}' is no serial back end`, hint);
		const path = match[1] === 'unix' ? socketPath(match[2]) : match[2];
		const checked = (match[1] === 'unix' ? UnixPath : Path).safeParse(path);
		if (!checked.success) return refuse(ctx, checked.error.issues[0].message, hint);
		return { kind: match[1] === 'unix' ? 'unix' : 'file', path };
	})
	.meta({ description: 'stdio, none, file:PATH, unix:PATH or chardev:ID' });

/** QEMU's own spelling has options after the path; the only behaviour there is that of server=on,wait=off. */
function socketPath(text: string): string {
	return text.replace(/(,(server(=on)?|wait=off|nowait))+$/, '');
}

const Qmp = z
	.string()
	.transform((spec, ctx) => {
		const hint = 'write unix:PATH';
		const match = /^unix:(.+)$/s.exec(spec);
		if (!match) return refuse(ctx, `'${spec}' is no place for a QMP socket`, hint);
		const checked = UnixPath.safeParse(socketPath(match[1]));
		if (!checked.success) return refuse(ctx, checked.error.issues[0].message, hint);
		return { path: checked.data };
	})
	.meta({ description: 'unix:PATH' });

/** Where sound goes beside SPICE. */
export type AudioConfig = { readonly kind: 'none' } | { readonly kind: 'wav'; readonly path: string };

const Audio = z
	.string()
	.transform((spec, ctx): AudioConfig => {
		if (spec === 'none') return { kind: 'none' };
		const match = /^wav:(.+)$/s.exec(spec);
		if (!match) return refuse(ctx, `'${spec}' is no place for sound`, 'write wav:FILE or none');
		return { kind: 'wav', path: match[1] };
	})
	.meta({ description: 'wav:FILE, or none: not even to SPICE clients' });

const Tls = z.strictObject({
	port: Port,
	cert: Path.optional().meta({ description: 'PEM file; without one a certificate is made for this run' }),
	key: Path.optional(),
	ca: Path.optional(),
});

const HOST_NAME = /^[\w-]+(\.[\w-]+)*$/;

const Spice = z
	.strictObject({
		port: z
			.union([Port, z.literal('auto')], { error: 'expected a port from 1 to 65535, or auto' })
			.optional()
			.meta({ description: 'plain port; auto takes the next free one from 5900' }),
		addr: z.string().min(1).default('127.0.0.1'),
		password: z
			.string()
			.max(MAX_PASSWORD, `a SPICE password has at most ${MAX_PASSWORD} characters`)
			.optional()
			.meta({ description: 'without one anybody who reaches the port may connect' }),
		tls: Tls.optional(),
		secureChannels: z
			.array(z.enum(SPICE_CHANNELS, { error: `expected one of ${SPICE_CHANNELS.join(', ')}` }))
			.default([])
			.meta({ description: 'channels that only the TLS port serves' }),
		webHosts: z
			.array(z.string().regex(HOST_NAME, 'expected a host name without a port, such as box.lan'))
			.default([])
			.meta({ description: 'names by which pages in browsers reach the port' }),
		playbackCompression: z.boolean().default(true).meta({ description: 'false: sound is sent as raw samples' }),
	})
	.superRefine((spice, ctx) => {
		if (spice.port === undefined && !spice.tls) refuse(ctx, 'neither a plain nor a TLS port', 'give at least one');
		if (spice.tls && spice.port === spice.tls.port)
			refuse(ctx, `port ${spice.port} cannot be both the plain and the TLS port`, 'choose two ports');
		if (spice.tls && (spice.tls.cert === undefined) !== (spice.tls.key === undefined))
			refuse(ctx, 'a certificate and its key go together', 'give both cert and key, or neither', ['tls']);
		if (spice.secureChannels.length > 0 && !spice.tls)
			refuse(ctx, 'secure channels need a TLS port', 'give a TLS port too', ['secureChannels']);
	});

const Display = z
	.strictObject({
		ram: powerOfTwo(2 * MiB, 1024 * MiB).prefault('64M'),
		vram: powerOfTwo(4 * KiB, 1024 * MiB).prefault('64M'),
		vgamem: powerOfTwo(8 * MiB, 256 * MiB).prefault('16M'),
		maxOutputs: z
			.int('expected a number of monitors from 0 to 65535')
			.min(0, 'expected a number of monitors from 0 to 65535')
			.max(65535, 'expected a number of monitors from 0 to 65535')
			.default(0)
			.meta({ description: "monitors that clients may use at most; 0: as many as the guest's driver allows" }),
		fastVideo: z.boolean().default(true).meta({ description: 'false: video memory by plain MMIO, slow' }),
	})
	// As QEMU does (hw/display/qxl.c, qxl_init_ramsize), so that advice to raise vgamem for large screens works alone.
	.transform((display) => ({ ...display, ram: Math.max(display.ram, 2 * display.vgamem) }));

const Agent = z.strictObject({
	copyPaste: z.boolean().default(true).meta({ description: 'guest and client share their clipboards' }),
	fileTransfer: z.boolean().default(true).meta({ description: 'clients may send files to the guest' }),
});

/** Names under /dev/virtio-ports. */
const PortName = z.string().regex(/^[\w.:-]{1,128}$/, 'expected a name of letters, digits, dots and dashes');

const Trace = z
	.string()
	.transform((spec, ctx) => {
		const [glob, ...file] = spec.split('=');
		if (glob === '' || (file.length > 0 && file.join('=') === ''))
			return refuse(ctx, `'${spec}' names no trace points`, 'write GLOB or GLOB=FILE, such as qxl.*=qxl.log');
		return { glob, file: file.length > 0 ? file.join('=') : undefined };
	})
	.meta({ description: 'GLOB[=FILE]: trace points to write to stderr or to a file' });

export const NO_UUID = '00000000-0000-0000-0000-000000000000';

export const MachineConfig = z
	.strictObject({
		name: z.string().max(255).default('').meta({ description: 'shown to clients as the title' }),
		uuid: z.guid('expected a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8').default(NO_UUID),
		memory: Size.prefault('512M').meta({ description: 'guest RAM' }),
		kernel: Path.optional().meta({ description: 'bzImage for direct boot' }),
		initrd: Path.optional(),
		append: z.string().max(2047, 'a kernel command line has at most 2047 characters').optional(),
		disks: z.array(Disk).max(16, 'there is room for 16 disks').default([]),
		cdrom: Path.optional().meta({ description: 'medium in the CD-ROM drive, which is there without one too' }),
		boot: Boot.prefault({}),
		sound: z.boolean().default(true).meta({ description: 'an AC97 controller, and the PC speaker heard' }),
		audio: z.array(Audio).default([]).meta({ description: 'where sound goes beside SPICE' }),
		serials: z.array(Serial).max(4, 'there are four serial ports').default([]),
		spice: Spice.nullable().default(null),
		agent: Agent.nullable()
			.prefault({})
			.meta({ description: "the guest agent's port, with SPICE; null: a machine without one" }),
		spicePorts: z
			.array(PortName)
			.max(16, 'there is room for 16 ports')
			.default([])
			.meta({ description: 'virtio ports that clients see as channels; org.spice-space.webdav.0 shares folders' }),
		qmp: z.array(Qmp).default([]),
		display: Display.prefault({}),
		balloon: Balloon.nullable().prefault({}).meta({ description: 'null: a machine without one' }),
		rng: z.boolean().default(false).meta({ description: 'virtio-rng: random numbers for the guest' }),
		tablet: z.boolean().default(false).meta({ description: 'virtio-tablet: a pointer that knows where it is' }),
		packedRings: z.boolean().default(false).meta({ description: 'virtio devices offer packed rings' }),
		drives: z.array(Drive).default([]).meta({ description: "drives in QEMU's words, as its -drive has them" }),
		chardevs: z.array(Chardev).default([]).meta({ description: "byte streams in QEMU's words, as its -chardev" }),
		devices: z.array(Device).default([]).meta({ description: "devices in QEMU's words, as its -device has them" }),
		panic: z
			.enum(PANIC_ACTIONS, { error: `expected ${PANIC_ACTIONS.slice(0, -1).join(', ')} or ${PANIC_ACTIONS.at(-1)}` })
			.default('shutdown')
			.meta({ description: 'what happens when the guest tells of a panic, by pvpanic' }),
		clock: z.enum(['real', 'virtual'], { error: 'expected real or virtual' }).default('real'),
		firmware: z
			.strictObject({ bios: Path.optional(), vgaBios: Path.optional() })
			.prefault({})
			.meta({ description: 'firmware images instead of the ones found' }),
		trace: z.array(Trace).default([]),
	})
	.transform((config, ctx) => {
		// What a description has words of its own for is said with those from here on.
		const { devices } = config;
		const qxl = devices.find((device) => device.driver === 'qxl-vga');
		const display = qxl ? Display.safeParse({ ...config.display, ...given(displayWords(qxl)) }) : undefined;
		if (display?.error) {
			const [issue] = display.error.issues;
			const at = ['devices', devices.indexOf(qxl as Device)];
			refuse(ctx, `qxl-vga's ${issue.path.join('.')}: ${issue.message}`, hintOf(issue), at);
		}
		const balloon = devices.find((device) => device.driver === 'virtio-balloon-pci');
		return {
			...config,
			display: display?.data ?? config.display,
			sound: config.sound || devices.some((device) => device.driver === 'AC97'),
			balloon: balloon
				? {
						...(config.balloon ?? {}),
						deflateOnOom: balloon['deflate-on-oom'] ?? config.balloon?.deflateOnOom ?? false,
						freePageReporting: balloon['free-page-reporting'] ?? config.balloon?.freePageReporting ?? false,
						freePageHint: balloon['free-page-hint'] ?? config.balloon?.freePageHint ?? false,
					}
				: config.balloon,
		};
	})
	.superRefine((config, ctx) => {
		const most = maxMemory(config.display);
		const at: PropertyKey[] = ['memory'];
		if (config.memory < MIN_MEMORY)
			refuse(ctx, `${formatSize(config.memory)} is too little`, `give at least ${formatSize(MIN_MEMORY)}`, at);
		else if (config.memory > most)
			refuse(
				ctx,
				`${formatSize(config.memory)} is more than a 32-bit machine can have here`,
				`give at most ${formatSize(most)}, beside ${formatSize(videoMemorySize(config.display))} of video memory`,
				at,
			);
		else if (config.memory % MiB !== 0) refuse(ctx, 'memory is counted in whole MiB', '', at);
		if (config.initrd !== undefined && config.kernel === undefined)
			refuse(ctx, 'an initrd needs a kernel', 'give a kernel too', ['initrd']);
		if (config.append !== undefined && config.kernel === undefined)
			refuse(ctx, 'a kernel command line needs a kernel', 'give a kernel too', ['append']);
		if (!config.sound && config.audio.some((audio) => audio.kind !== 'none'))
			refuse(ctx, 'a machine without sound has nothing to record', 'leave no-sound or audio out', ['audio']);
		if (config.audio.length > 1 && config.audio.some((audio) => audio.kind === 'none'))
			refuse(ctx, 'none goes with nothing else', '', ['audio']);
		if (config.balloon?.target !== undefined && config.balloon.target > config.memory)
			refuse(ctx, `the guest has only ${formatSize(config.memory)}`, 'give less', ['balloon', 'target']);
		try {
			planDevices(config);
		} catch (error) {
			if (!(error instanceof PlanError)) throw error;
			refuse(ctx, error.message, error.hint, error.path);
		}
	});

/** A complete description, defaults filled in. */
export type MachineConfig = z.output<typeof MachineConfig>;
/** What a caller writes. */
export type MachineOptions = z.input<typeof MachineConfig>;
export type SpiceConfig = NonNullable<MachineConfig['spice']>;
export type DisplayConfig = MachineConfig['display'];

/** Only the fields that have a value. */
function given<T extends object>(fields: T): Partial<T> {
	return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Bytes of QXL's ram and vram BARs together. */
export function videoMemorySize(display: Pick<DisplayConfig, 'ram' | 'vram'>): number {
	return display.ram + display.vram;
}

/** The most guest RAM that goes with these video memories, bytes. */
export function maxMemory(display: Pick<DisplayConfig, 'ram' | 'vram'>): number {
	return Math.max(0, Math.floor((CORE_LIMIT - videoMemorySize(display)) / MiB) * MiB);
}

/** Checks options and fills in the defaults. Throws TsvmError 'config' (exit code 2) with one line. */
export function parseConfig(options: MachineOptions): MachineConfig {
	const result = MachineConfig.safeParse(options);
	if (result.success) return result.data;
	const [first, ...others] = result.error.issues;
	const more = others.length > 0 ? ` (and ${others.length} more)` : '';
	throw new TsvmError('config', describe(first) + more, hintOf(first), 2);
}

/** The schema that editors and other programs can check a description against. */
export function configJsonSchema(): Record<string, unknown> {
	return z.toJSONSchema(MachineConfig, { io: 'input' });
}

function describe(issue: z.core.$ZodIssue): string {
	const where = issue.path.map((part, i) =>
		typeof part === 'number' ? `[${part}]` : `${i > 0 ? '.' : ''}${String(part)}`,
	);
	const message = issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
	return where.length > 0 ? `${where.join('')}: ${message}` : message;
}

function hintOf(issue: z.core.$ZodIssue): string {
	if (issue.code === 'custom' && typeof issue.params?.hint === 'string') return issue.params.hint;
	return '';
}
