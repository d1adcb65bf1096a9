/** QXLRom and the list of modes behind it: what the guest's driver reads first, in BAR 2. qxl_dev.h; values as QEMU 7.2. */
import { encode, type Infer, type IoHandler, type StateValue, wire } from '../../../src/core/index.ts';
import { MAX_HEADS } from './heads.ts';
import { RAM_HEADER_SIZE } from './layout.ts';

const { array, fixedArray, fixedBytes, struct, u16, u32, u64, u8 } = wire;

export const ROM_SIZE = 8192;
const ROM_MAGIC = 0x4f525851;
export const CAPABILITY_BYTES = 58;
export const SURFACES = 1024;

const Heads = struct({
	count: u16,
	padding: u16,
	heads: fixedArray(MAX_HEADS, struct({ top: u32, left: u32, bottom: u32, right: u32 })),
});
const Rom = struct({
	magic: u32,
	id: u32,
	updateId: u32,
	compressionLevel: u32,
	logLevel: u32,
	mode: u32,
	modesOffset: u32,
	numPages: u32,
	pagesOffset: u32,
	drawAreaOffset: u32,
	surface0AreaSize: u32,
	ramHeaderOffset: u32,
	mmClock: u32,
	nSurfaces: u32,
	flags: u64,
	slotsStart: u8,
	slotsEnd: u8,
	slotGenBits: u8,
	slotIdBits: u8,
	slotGeneration: u8,
	clientPresent: u8,
	clientCapabilities: fixedBytes(CAPABILITY_BYTES),
	clientMonitorsConfigCrc: u32,
	clientMonitorsConfig: Heads,
});
const At = {
	updateId: 8,
	mode: 20,
	mmClock: 48,
	clientPresent: 69,
	clientCapabilities: 70,
	crc: 128,
	heads: 132,
} as const;
const Mode = struct({ id: u32, x: u32, y: u32, bits: u32, stride: u32, xMili: u32, yMili: u32, orientation: u32 });
const Modes = array(u32, Mode);
export type QxlMode = Infer<typeof Mode>;

/** Millimetres a pixel, for the sizes in the mode list. */
const PIXEL_SIZE = 0.2936875;
// biome-ignore format: a table
const SIZES = [
	[640, 480], [800, 480], [800, 600], [832, 624], [960, 640], [1024, 600], [1024, 768], [1152, 864], [1152, 870],
	[1280, 720], [1280, 760], [1280, 768], [1280, 800], [1280, 960], [1280, 1024], [1360, 768], [1366, 768],
	[1400, 1050], [1440, 900], [1600, 900], [1600, 1200], [1680, 1050], [1920, 1080], [1920, 1200], [1920, 1440],
	[2000, 2000], [2048, 1536], [2048, 2048], [2560, 1440], [2560, 1600], [2560, 2048], [2800, 2100], [3200, 2400],
	[3840, 2160], [4096, 2160], [7680, 4320], [8192, 4320],
] as const;

/** Every size at 16 and 32 bits and in two orientations that fits; ids count those that do not fit, too. */
function modeList(vgamem: number): QxlMode[] {
	const modes: QxlMode[] = [];
	let id = 0;
	for (const [x, y] of SIZES) {
		for (const orientation of [0, 1]) {
			for (const bits of [16, 32]) {
				const stride = (x * bits) / 8;
				const xMili = Math.floor(x * PIXEL_SIZE);
				const yMili = Math.floor(y * PIXEL_SIZE);
				if (stride * y <= vgamem) modes.push({ id, x, y, bits, stride, xMili, yMili, orientation });
				id++;
			}
		}
	}
	return modes;
}

export interface ClientHead {
	readonly x: number;
	readonly y: number;
	readonly width: number;
	readonly height: number;
}

export class QxlRom {
	readonly modes: readonly QxlMode[];
	/** BAR 2. The guest cannot write it. */
	readonly handler: IoHandler;
	readonly #maxHeads: number;
	readonly #image: Uint8Array;
	readonly #bytes = new Uint8Array(ROM_SIZE);
	readonly #view = new DataView(this.#bytes.buffer);

	/** Sizes in bytes; `maxHeads` of a client's are published; `mmClock` gives the multimedia time in ms. */
	constructor(ramSize: number, vgamem: number, maxHeads: number, mmClock: () => number) {
		this.#maxHeads = maxHeads;
		this.modes = modeList(vgamem);
		const header = encode(Rom, {
			magic: ROM_MAGIC,
			id: 0,
			updateId: 0,
			compressionLevel: 0,
			logLevel: 0,
			mode: 0,
			modesOffset: Rom.min,
			numPages: (ramSize - RAM_HEADER_SIZE - vgamem) >>> 12,
			pagesOffset: vgamem,
			drawAreaOffset: 0,
			surface0AreaSize: vgamem,
			ramHeaderOffset: ramSize - RAM_HEADER_SIZE,
			mmClock: 0,
			nSurfaces: SURFACES,
			flags: 0n,
			slotsStart: 1,
			slotsEnd: 7,
			slotGenBits: 8,
			slotIdBits: 8,
			slotGeneration: 0,
			clientPresent: 0,
			clientCapabilities: new Uint8Array(CAPABILITY_BYTES),
			clientMonitorsConfigCrc: 0,
			clientMonitorsConfig: {
				count: 0,
				padding: 0,
				heads: Array.from({ length: MAX_HEADS }, () => ({ top: 0, left: 0, bottom: 0, right: 0 })),
			},
		});
		this.#image = new Uint8Array(ROM_SIZE);
		this.#image.set(header);
		this.#image.set(encode(Modes, [...this.modes]), header.length);
		const clock = (offset: number, size: number) => {
			if (offset < At.mmClock + 4 && offset + size > At.mmClock)
				this.#view.setUint32(At.mmClock, mmClock() >>> 0, true);
		};
		this.handler = {
			read8: (o) => {
				clock(o, 1);
				return this.#bytes[o];
			},
			read16: (o) => {
				clock(o, 2);
				return o + 2 <= ROM_SIZE ? this.#view.getUint16(o, true) : 0xffff;
			},
			read32: (o) => {
				clock(o, 4);
				return o + 4 <= ROM_SIZE ? this.#view.getUint32(o, true) : 0xffffffff;
			},
			write8: () => {},
			write16: () => {},
			write32: () => {},
		};
		this.reset();
	}

	/** Everything but what the clients said back to its first value; a reset guest still has its viewers. */
	reset(): void {
		const clients = this.#bytes.slice(At.clientPresent, At.clientCapabilities + CAPABILITY_BYTES);
		this.#bytes.set(this.#image);
		this.#bytes.set(clients, At.clientPresent);
	}

	/** QXLRom.mode: the mode that SET_MODE chose, by place in the list. */
	set mode(index: number) {
		this.#view.setUint32(At.mode, index, true);
	}
	set updateId(id: number) {
		this.#view.setUint32(At.updateId, id, true);
	}

	setClient(present: boolean, capabilities: Uint8Array): void {
		this.#bytes[At.clientPresent] = present ? 1 : 0;
		this.#bytes.fill(0, At.clientCapabilities, At.clientCapabilities + CAPABILITY_BYTES);
		this.#bytes.set(capabilities.subarray(0, CAPABILITY_BYTES), At.clientCapabilities);
	}

	/** Publishes the heads a client asks for; false if they are what is there already. */
	setMonitors(heads: readonly ClientHead[]): boolean {
		const count = Math.min(heads.length, this.#maxHeads);
		const config = encode(Heads, {
			count,
			padding: 0,
			heads: Array.from({ length: MAX_HEADS }, (_, i) => {
				const head = i < count ? heads[i] : { x: 0, y: 0, width: 0, height: 0 };
				return {
					top: head.y >>> 0,
					left: head.x >>> 0,
					bottom: (head.y + head.height) >>> 0,
					right: (head.x + head.width) >>> 0,
				};
			}),
		});
		const was = this.#bytes.subarray(At.heads, At.heads + config.length);
		if (config.every((byte, i) => byte === was[i])) return false;
		was.set(config);
		this.#view.setUint32(At.crc, crc32(config), true);
		return true;
	}

	save(): StateValue {
		return this.#bytes.slice(0, Rom.min);
	}

	restore(state: StateValue | undefined): void {
		this.#bytes.set(this.#image);
		if (state instanceof Uint8Array && state.length === Rom.min) {
			this.#bytes.set(state.subarray(At.clientPresent), At.clientPresent);
			for (const at of [At.updateId, At.mode]) this.#bytes.set(state.subarray(at, at + 4), at);
		}
	}
}

/** Linux's crc32(0, ...): CLIENT_MONITORS_CONFIG_CRC32_POLY, no inversion before or after. */
export function crc32(bytes: Uint8Array): number {
	let crc = 0;
	for (const byte of bytes) {
		crc ^= byte;
		for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc >>> 0;
}
