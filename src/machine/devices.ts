/**
 * Drives, byte streams and devices in QEMU's words, names and values included, as its -drive, -chardev and -device have
 * them: a description made for QEMU fits here. plan.ts says what comes of them. QEMU 7.2, qemu-options.hx and the
 * property lists that `-device DRIVER,help` prints.
 */
import * as z from 'zod';
import { PVPANIC_EVENTS, PVPANIC_PORT } from '../../devices/misc/index.ts';
import { MSIX_MOST_VECTORS } from '../core/index.ts';
import { MiB, Path, parseSize, refuse, UnixPath } from './config-kit.ts';

const Id = z.string().regex(/^[a-zA-Z][\w.-]*$/, 'an id begins with a letter, then letters, digits, dots and dashes');
const MAX_SERIAL = 20;
/** Slot 0 is the host bridge's. */
const LAST_SLOT = 31;
const ON = ['on', 'yes', 'true', 'y'];
const OFF = ['off', 'no', 'false', 'n'];

/** What `help` shows for a property, beside its doc. */
type Kind = 'str' | 'bool' | 'on/off/auto' | 'int' | 'size';

function property<T extends z.ZodType>(kind: Kind, schema: T, description: string): z.ZodOptional<T> {
	return schema.optional().meta({ description, kind });
}

const OnOff = z.union([z.boolean(), z.string()]).transform((value, ctx) => {
	if (typeof value === 'boolean') return value;
	if (ON.includes(value)) return true;
	return OFF.includes(value) ? false : refuse(ctx, `'${value}' is neither on nor off`);
});
const OnOffAuto = z.union([z.boolean(), z.string()]).transform((value, ctx): boolean | 'auto' => {
	if (typeof value === 'boolean' || value === 'auto') return value;
	if (ON.includes(value)) return true;
	return OFF.includes(value) ? false : refuse(ctx, `'${value}' is none of on, off and auto`);
});
const Int = z.union([z.number(), z.string()]).transform((value, ctx) => {
	const number = typeof value === 'string' && !/^(0x[\da-f]+|\d+)$/i.test(value) ? Number.NaN : Number(value);
	return Number.isSafeInteger(number) && number >= 0 ? number : refuse(ctx, `'${value}' is no whole number`);
});
/** Unlike elsewhere a number alone counts bytes. */
const Bytes = z.union([z.number(), z.string()]).transform((value, ctx) => {
	const bytes = /^\d+$/.test(String(value)) ? Number(value) : parseSize(String(value));
	return bytes !== undefined && Number.isSafeInteger(bytes) ? bytes : refuse(ctx, `'${value}' is no size`);
});
const Block = Bytes.superRefine((bytes, ctx) => {
	if (bytes < 512 || bytes > 2 * MiB || (bytes & (bytes - 1)) !== 0)
		refuse(ctx, `${bytes} is no power of two from 512 to 2M`);
});
const UInt8 = atMost(0xff);
const UInt16 = atMost(0xffff);
/** SLOT or SLOT.0 in hexadecimal. */
const Addr = z.string().transform((text, ctx) => {
	const match = /^(?:0x)?([\da-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(text);
	const slot = match ? Number.parseInt(match[1], 16) : 0;
	if (slot < 1 || slot > LAST_SLOT) return refuse(ctx, `'${text}' is no PCI slot`, 'write 01 to 1f, in hexadecimal');
	if ((match?.[2] ?? '0') !== '0') return refuse(ctx, `'${text}': devices sit in function 0`);
	return slot;
});
const Vectors = Int.superRefine((count, ctx) => {
	if (count > MSIX_MOST_VECTORS) refuse(ctx, `${count} vectors are more than the ${MSIX_MOST_VECTORS} that fit`);
});
/** A 16-bit number in QEMU. */
const Outputs = Int.superRefine((count, ctx) => {
	if (count > 0xffff) refuse(ctx, `${count} monitors are too many`, 'give 0 to 65535');
});
/** block.c, bdrv_parse_discard_flags. */
const Discard = z
	.enum(['ignore', 'off', 'unmap', 'on'], 'expected unmap (on) or ignore (off)')
	.transform((value) => (value === 'unmap' || value === 'on' ? 'unmap' : 'ignore'));
/** blockdev.c, parse_block_error_action. */
const WriteError = z.enum(['report', 'ignore', 'enospc', 'stop'], 'expected report, ignore, enospc or stop');
const ReadError = z.enum(['report', 'ignore', 'stop'], 'expected report, ignore or stop');
const Serial = z.string().max(MAX_SERIAL, `a serial number has at most ${MAX_SERIAL} characters`);

function atMost(most: number) {
	return Int.superRefine((value, ctx) => {
		if (value > most) refuse(ctx, `${value} is more than ${most}`);
	});
}

/** An object whose complaint about an unknown key names those that are known. */
function words<Tag extends string, Name extends string, Shape extends z.core.$ZodLooseShape>(
	tag: Tag,
	name: Name,
	shape: Shape,
) {
	const known = Object.keys(shape).sort().join(', ');
	return z.strictObject({ [tag]: z.literal(name), ...shape } as { [K in Tag]: z.ZodLiteral<Name> } & Shape, {
		error: (issue) =>
			issue.code === 'unrecognized_keys'
				? `${name} has no property '${(issue as z.core.$ZodIssueUnrecognizedKeys).keys[0]}'; it has ${known}`
				: undefined,
	});
}

const ID = property('str', Id, 'name of the device');
const BOOT_INDEX = property('int', Int, 'place in the boot order, lowest first');
const PCI = { id: ID, addr: property('str', Addr, 'PCI slot, in hexadecimal') };
const VIRTIO = {
	...PCI,
	'disable-modern': property('bool', OnOff, 'only the interface of before virtio 1.0'),
	'disable-legacy': property('on/off/auto', OnOffAuto, 'only the interface of virtio 1.0 and later'),
	packed: property('bool', OnOff, 'offer packed rings'),
	vectors: property('int', Vectors, 'messages of MSI-X, 0 for INTA# only'),
};
const DRIVE = { drive: property('str', Id, 'id of a drive with if=none'), bootindex: BOOT_INDEX };
const PORT = {
	id: ID,
	bus: property('str', z.string(), 'ID.0 of a virtio-serial-pci; the first one otherwise'),
	chardev: property('str', Id, 'id of a chardev'),
	name: property('str', z.string().max(128), 'how the guest finds it under /dev/virtio-ports'),
	nr: property('int', Int, 'port number, 0 .. 30; the next free one otherwise'),
};

const EVENTS = property('int', UInt8, `events that the guest is told of, bits (${PVPANIC_EVENTS})`);

const DEVICES = {
	'virtio-blk-pci': words('driver', 'virtio-blk-pci', {
		...VIRTIO,
		...DRIVE,
		serial: property('str', Serial, 'serial number, at most 20 characters'),
		logical_block_size: property('size', Block, 'smallest unit of a request, bytes'),
		physical_block_size: property('size', Block, 'smallest unit that is written at once, bytes'),
		min_io_size: property('size', Bytes, 'suggested least transfer, bytes'),
		opt_io_size: property('size', Bytes, 'suggested transfer, bytes'),
	}),
	'virtio-serial-pci': words('driver', 'virtio-serial-pci', VIRTIO),
	virtserialport: words('driver', 'virtserialport', PORT),
	virtconsole: words('driver', 'virtconsole', PORT),
	'virtio-balloon-pci': words('driver', 'virtio-balloon-pci', {
		...VIRTIO,
		'deflate-on-oom': property('bool', OnOff, 'the guest may take memory back when it runs out'),
		'free-page-reporting': property('bool', OnOff, 'memory that the guest does not use goes back'),
		'free-page-hint': property('bool', OnOff, 'the guest tells which pages are free when asked'),
	}),
	'virtio-rng-pci': words('driver', 'virtio-rng-pci', VIRTIO),
	'virtio-tablet-pci': words('driver', 'virtio-tablet-pci', VIRTIO),
	'virtio-keyboard-pci': words('driver', 'virtio-keyboard-pci', VIRTIO),
	AC97: words('driver', 'AC97', PCI),
	'qxl-vga': words('driver', 'qxl-vga', {
		id: ID,
		ram_size: property('size', Bytes, 'ram BAR, bytes'),
		ram_size_mb: property('int', Int, 'the same in MiB'),
		vram_size: property('size', Bytes, 'vram BAR, bytes'),
		vram_size_mb: property('int', Int, 'the same in MiB'),
		vgamem_mb: property('int', Int, 'frame buffer, MiB'),
		max_outputs: property('int', Outputs, "monitors at most; 0: as many as the guest's driver allows"),
	}),
	'ide-hd': words('driver', 'ide-hd', {
		id: ID,
		...DRIVE,
		serial: property('str', Serial, 'serial number, at most 20 characters'),
	}),
	'ide-cd': words('driver', 'ide-cd', { id: ID, ...DRIVE }),
	pvpanic: words('driver', 'pvpanic', {
		id: ID,
		ioport: property('int', UInt16, `I/O port (0x${PVPANIC_PORT.toString(16)})`),
		events: EVENTS,
	}),
	'pvpanic-pci': words('driver', 'pvpanic-pci', { ...PCI, events: EVENTS }),
};

/** One line about each, for `help`. */
export const DRIVERS: Readonly<Record<keyof typeof DEVICES, string>> = {
	'virtio-blk-pci': 'disk on virtio',
	'virtio-serial-pci': 'carries ports; the first one takes the place of the one that every machine has',
	virtserialport: 'named byte stream, /dev/virtio-ports/NAME in the guest',
	virtconsole: 'terminal, /dev/hvcN in the guest',
	'virtio-balloon-pci': 'memory balloon; takes the place of the one that every machine has',
	'virtio-rng-pci': 'random numbers from the host',
	'virtio-tablet-pci': 'absolute pointer',
	'virtio-keyboard-pci': 'keyboard',
	AC97: 'sound; takes the place of the one that every machine has',
	'qxl-vga': 'display; takes the place of the one that every machine has',
	'ide-hd': 'IDE disk',
	'ide-cd': 'IDE CD-ROM drive; there is one',
	pvpanic: 'the guest tells when its kernel panics, on the ISA bus; see --action',
	'pvpanic-pci': 'the same on PCI',
};

const CHARDEVS = {
	socket: words('backend', 'socket', {
		id: property('str', Id, 'name that devices use'),
		path: property('str', UnixPath, 'unix socket to listen on'),
		server: property('bool', OnOff, 'on: tsvm listens'),
		wait: property('bool', OnOff, 'off: the machine starts without a client'),
	}),
	file: words('backend', 'file', {
		id: property('str', Id, 'name that devices use'),
		path: property('str', Path, 'file to write to'),
	}),
	stdio: words('backend', 'stdio', { id: property('str', Id, 'name that devices use') }),
	null: words('backend', 'null', { id: property('str', Id, 'name that devices use') }),
	spicevmc: words('backend', 'spicevmc', {
		id: property('str', Id, 'name that devices use'),
		name: property('str', z.literal('vdagent', "spicevmc: only name=vdagent, the agent's"), 'vdagent'),
	}),
	spiceport: words('backend', 'spiceport', {
		id: property('str', Id, 'name that devices use'),
		name: property('str', z.string().min(1).max(128), 'name of the channel that SPICE clients see'),
	}),
};
export const CHARDEV_BACKENDS: Readonly<Record<keyof typeof CHARDEVS, string>> = {
	socket: 'unix socket that tsvm listens on',
	file: 'what the guest says goes to a file',
	stdio: "tsvm's own standard input and output",
	null: 'nobody',
	spicevmc: "SPICE: the guest agent's own channel",
	spiceport: 'SPICE: a port channel by name; org.spice-space.webdav.0 shares folders',
};

const DRIVE_SHAPE = {
	file: property('str', Path, 'raw image, or a block device; a CD-ROM drive may be without'),
	if: property('str', z.enum(['ide', 'virtio', 'none'], 'expected ide, virtio or none'), 'ide, virtio or none'),
	id: property('str', Id, 'name that -device uses'),
	media: property('str', z.enum(['disk', 'cdrom'], 'expected disk or cdrom'), 'disk or cdrom'),
	format: property('str', z.literal('raw', 'only raw images are known: convert others with qemu-img'), 'raw'),
	readonly: property('bool', OnOff, 'the guest may not write'),
	snapshot: property('bool', OnOff, 'writes are forgotten at the end'),
	discard: property('str', Discard, 'unmap: what the guest discards takes no more room in the file; or ignore'),
	werror: property(
		'str',
		WriteError,
		'after a write that failed: report, ignore, stop, or enospc: stop if the host is full',
	),
	rerror: property('str', ReadError, 'after a read that failed: report, ignore or stop'),
	serial: property('str', Serial, 'serial number, at most 20 characters'),
};

export const Drive = z.strictObject(DRIVE_SHAPE, {
	error: (issue) =>
		issue.code === 'unrecognized_keys'
			? `a drive has no property '${(issue as z.core.$ZodIssueUnrecognizedKeys).keys[0]}'; it has ${Object.keys(DRIVE_SHAPE).sort().join(', ')}`
			: undefined,
});
export type Drive = z.output<typeof Drive>;

export const Chardev = oneOf('backend', CHARDEVS, 'back end');
export type Chardev = z.output<(typeof CHARDEVS)[keyof typeof CHARDEVS]>;

export const Device = oneOf('driver', DEVICES, 'driver');
export type Device = z.output<(typeof DEVICES)[keyof typeof DEVICES]>;
export type DeviceOf<Driver extends Device['driver']> = Extract<Device, { driver: Driver }>;

function oneOf<Options extends Readonly<Record<string, z.core.$ZodTypeDiscriminable>>>(
	tag: string,
	options: Options,
	what: string,
) {
	const known = Object.keys(options).join(', ');
	type Members = [Options[keyof Options], ...Options[keyof Options][]];
	return z.discriminatedUnion(tag, Object.values(options) as unknown as Members, {
		error: (issue) => {
			const given = (issue.input as Readonly<Record<string, unknown>> | undefined)?.[tag];
			return given === undefined
				? `no ${what} is named; there are ${known}`
				: `there is no ${what} '${String(given)}'; there are ${known}`;
		},
	});
}

/** `name=<kind> doc` of every property, for `help`; undefined: no such driver, back end. */
export function helpOf(kind: 'device' | 'chardev' | 'drive', name: string): string[] | undefined {
	const shapes: Readonly<Record<string, z.ZodObject>> =
		kind === 'device' ? DEVICES : kind === 'chardev' ? CHARDEVS : { [name]: Drive };
	const shape = Object.hasOwn(shapes, name) ? shapes[name].shape : undefined;
	if (!shape) return undefined;
	return Object.entries(shape)
		.map(([key, schema]) => [key, z.globalRegistry.get(schema as z.ZodType)] as const)
		.flatMap(([key, meta]) => (meta ? [`  ${`${key}=<${String(meta.kind)}>`.padEnd(31)}- ${meta.description}`] : []))
		.sort();
}
