/**
 * A guest's QXL driver in miniature: sets the adapter up as Linux's drm/qxl does, and pushes commands through its
 * rings. Written against a few calls only, so that the same driver runs on our device and on QEMU's.
 */
import * as L from '../../devices/display/qxl/layout.ts';
import { type Codec, encode, type Infer, Ropd } from '../../src/core/index.ts';
import { type DisplayBoard, IO_BASE, RAM_BASE, ROM_BASE, VRAM_BASE } from './display-board.ts';

/** The adapter as the CPU reaches it. Memory is named by guest-physical address. */
export interface QxlAccess {
	out8(port: number, value: number): void | Promise<void>;
	read(address: number, length: number): Uint8Array | Promise<Uint8Array>;
	write(address: number, bytes: Uint8Array): void | Promise<void>;
	/** Lets the device finish what it has put off. */
	settle(): void | Promise<void>;
}

/** Our device, on a board without a CPU. */
export function boardAccess(board: DisplayBoard): QxlAccess {
	const memory = (address: number) => {
		if (address >= ROM_BASE) throw new Error('the ROM is read through MMIO');
		return address >= VRAM_BASE
			? { video: board.vram, at: address - VRAM_BASE }
			: { video: board.ram, at: address - RAM_BASE };
	};
	return {
		out8: (port, value) => board.ports.out8(IO_BASE + port, value),
		read: (address, length) => {
			if (address >= ROM_BASE) return Uint8Array.from({ length }, (_, i) => board.mmio.read8(address + i));
			const { video, at } = memory(address);
			return video.bytes().slice(at, at + length);
		},
		write: (address, bytes) => {
			const { video, at } = memory(address);
			video.bytes().set(bytes, at);
		},
		settle: () => board.host.settle(),
	};
}

type DrawBody = Parameters<typeof encode>[1];
export type WireRect = Infer<typeof L.Rect>;
const NO_RECT = { top: 0, left: 0, bottom: 0, right: 0 };
export const NO_MASK = { flags: 0, pos: { x: 0, y: 0 }, bitmap: 0n };
export const rectOf = (left: number, top: number, right: number, bottom: number): WireRect => ({
	top,
	left,
	bottom,
	right,
});

const RAM_SLOT = 1;
const VRAM_SLOT = 2;

export class QxlDriver {
	readonly io: QxlAccess;
	readonly #header: number;
	readonly #vramSize: number;
	/** Next free byte of BAR 0 and BAR 1, by offset. */
	#ramFree: number;
	#vramFree = 0;
	#nextId = 1;
	/** Where the command with a release id lies. */
	readonly commands = new Map<bigint, bigint>();

	/** Sizes in bytes. */
	constructor(io: QxlAccess, ramSize = 64 << 20, vramSize = 32 << 20, vgamem = 16 << 20) {
		this.io = io;
		this.#header = RAM_BASE + ramSize - L.RAM_HEADER_SIZE;
		this.#vramSize = vramSize;
		this.#ramFree = vgamem;
	}

	/** Resets the adapter and registers both memories, as drm/qxl's probe does. */
	async init(): Promise<void> {
		await this.io.out8(L.Io.reset, 0);
		await this.writeHeader(L.Ram.intMask, u32(0x3f));
		await this.addSlot(RAM_SLOT, RAM_BASE, this.#header);
		await this.addSlot(VRAM_SLOT, VRAM_BASE, VRAM_BASE + this.#vramSize);
	}

	async addSlot(slot: number, start: number, end: number): Promise<void> {
		await this.writeHeader(L.Ram.memSlot, encode(L.MemSlot, { memStart: BigInt(start), memEnd: BigInt(end) }));
		await this.async(L.Io.memslotAddAsync, slot);
	}

	/** An asynchronous port; returns whether the command has completed with its interrupt. */
	async async(port: number, value = 0): Promise<boolean> {
		await this.ack();
		await this.io.out8(port, value);
		await this.io.settle();
		return ((await this.pending()) & L.Interrupt.ioCmd) !== 0;
	}

	async pending(): Promise<number> {
		return word(await this.readHeader(L.Ram.intPending, 4));
	}
	/** Takes all pending interrupts, as the handler does. */
	async ack(): Promise<void> {
		await this.writeHeader(L.Ram.intPending, u32(0));
		await this.io.out8(L.Io.updateIrq, 0);
	}

	async createPrimary(
		width: number,
		height: number,
		more: Partial<Infer<typeof L.SurfaceCreate>> = {},
	): Promise<boolean> {
		const create = {
			width,
			height,
			stride: width * 4,
			format: 32,
			position: 0,
			mouseMode: 0,
			flags: 0,
			type: 0,
			mem: this.ramAddress(0),
			...more,
		};
		await this.writeHeader(L.Ram.createSurface, encode(L.SurfaceCreate, create));
		return this.async(L.Io.createPrimaryAsync);
	}

	async updateArea(surface: number, area: WireRect): Promise<boolean> {
		await this.writeHeader(L.Ram.updateArea, encode(L.Rect, area));
		await this.writeHeader(L.Ram.updateSurface, u32(surface));
		return this.async(L.Io.updateAreaAsync);
	}

	ramAddress(offset: number): bigint {
		return (BigInt(RAM_SLOT) << 56n) | BigInt(offset);
	}
	vramAddress(offset: number): bigint {
		return (BigInt(VRAM_SLOT) << 56n) | BigInt(offset);
	}

	/** Puts bytes into BAR 0 and returns their address. */
	async place(bytes: Uint8Array): Promise<bigint> {
		const at = this.#ramFree;
		this.#ramFree += (bytes.length + 15) & ~15;
		await this.io.write(RAM_BASE + at, bytes);
		return this.ramAddress(at);
	}
	/** Room in BAR 1: its offset. */
	reserve(length: number): number {
		const at = this.#vramFree;
		this.#vramFree += (length + 4095) & ~4095;
		return at;
	}
	async overwrite(address: bigint, bytes: Uint8Array): Promise<void> {
		await this.io.write(RAM_BASE + Number(address & 0xffffffffffffn), bytes);
	}

	/** A chain of chunks of at most `most` bytes. */
	async chunks(data: Uint8Array, most = Number.POSITIVE_INFINITY): Promise<bigint> {
		const starts: number[] = [];
		for (let at = 0; at < data.length || at === 0; at += most) starts.push(at);
		let next = 0n;
		for (const at of starts.reverse()) next = await this.place(chunk(data.subarray(at, at + most), next));
		return next;
	}

	/** An image of 32-bit pixels, top row first. */
	async image(width: number, height: number, pixels: Uint32Array, most?: number): Promise<bigint> {
		const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength);
		return this.bitmap({ x: width, y: height, stride: width * 4, data: await this.chunks(bytes, most) });
	}
	async bitmap(bitmap: Partial<Infer<typeof L.Bitmap>> & { x: number; y: number }): Promise<bigint> {
		const id = (BigInt(this.#nextId++) << 32n) | 1n;
		return this.place(
			concat(
				encode(L.ImageDescriptor, { id, type: 0, flags: 0, width: bitmap.x, height: bitmap.y }),
				encode(L.Bitmap, { format: 8, flags: L.BitmapFlags.topDown, stride: 0, palette: 0n, data: 0n, ...bitmap }),
			),
		);
	}

	/** A command in memory, its release_info first; ids count on from image ids. */
	async command(bytes: Uint8Array): Promise<bigint> {
		const id = BigInt(this.#nextId++);
		new DataView(bytes.buffer).setBigUint64(0, id, true);
		const address = await this.place(bytes);
		this.commands.set(id, address);
		return address;
	}

	/** A drawing command in memory. */
	async drawable<T extends DrawBody>(
		type: number,
		bbox: WireRect,
		codec: Codec<T>,
		body: T,
		more: Partial<Infer<typeof L.Drawable>> = {},
	): Promise<bigint> {
		const header = encode(L.Drawable, {
			releaseInfo: 0n,
			surfaceId: 0,
			effect: 1,
			type,
			selfBitmap: 0,
			selfBitmapArea: NO_RECT,
			bbox,
			clip: { type: 0, data: 0n },
			mmTime: 0,
			surfacesDest: [-1, -1, -1],
			surfacesRects: [NO_RECT, NO_RECT, NO_RECT],
			...more,
		});
		return this.command(concat(header, encode(codec, body)));
	}

	/** Draws 32-bit pixels at x, y, as drm/qxl does. */
	async copy(x: number, y: number, width: number, height: number, pixels: Uint32Array, surfaceId = 0): Promise<void> {
		const src = await this.image(width, height, pixels);
		const body = { src, srcArea: rectOf(0, 0, width, height), rop: Ropd.put, scaleMode: 0, mask: NO_MASK };
		await this.push(
			L.Cmd.draw,
			await this.drawable(L.DrawType.copy, rectOf(x, y, x + width, y + height), L.Copy, body, { surfaceId }),
		);
	}
	async fill(area: WireRect, color: number, surfaceId = 0): Promise<void> {
		const brush = { type: L.BrushType.solid, pattern: BigInt(color), pos: { x: 0, y: 0 } };
		const body = { brush, rop: Ropd.put, mask: NO_MASK };
		await this.push(L.Cmd.draw, await this.drawable(L.DrawType.fill, area, L.Fill, body, { surfaceId }));
	}

	/** Chooses a mode of the ROM's list, as drivers of interface version 1 did; interrupts on. */
	async setMode(index: number): Promise<void> {
		await this.io.out8(L.Io.setMode, index);
		await this.writeHeader(L.Ram.intMask, u32(0x3f));
	}
	/** A fill as such a driver pushes it: addresses are the CPU's. */
	async compatFill(bbox: WireRect, color: number): Promise<void> {
		const brush = { type: L.BrushType.solid, pattern: BigInt(color), pos: { x: 0, y: 0 } };
		const header = encode(L.CompatDrawable, {
			releaseInfo: 0n,
			effect: 1,
			type: L.DrawType.fill,
			bitmapOffset: 0,
			bitmapArea: NO_RECT,
			bbox,
			clip: { type: 0, data: 0n },
			mmTime: 0,
		});
		const address = await this.command(concat(header, encode(L.Fill, { brush, rop: Ropd.put, mask: NO_MASK })));
		await this.push(L.Cmd.draw, BigInt(RAM_BASE) + (address & 0xffffffffffffn));
	}

	/** Pushes a command and kicks if the device asked for it. Returns false when the ring is full. */
	async push(type: number, data: bigint, ring: number = L.Ram.cmdRing): Promise<boolean> {
		const [, prod, notify, cons] = words(await this.readHeader(ring, 20));
		if ((prod - cons) >>> 0 === L.COMMAND_RING_SIZE) return false;
		const at = ring + L.Ring.items + (prod % L.COMMAND_RING_SIZE) * L.COMMAND_SIZE;
		const command = new DataView(new ArrayBuffer(L.COMMAND_SIZE));
		command.setBigUint64(0, data, true);
		command.setUint32(8, type, true);
		await this.writeHeader(at, new Uint8Array(command.buffer));
		const next = (prod + 1) >>> 0;
		await this.writeHeader(ring + L.Ring.prod, u32(next));
		if (next === notify) await this.io.out8(L.Io.notifyCmd, 0);
		return true;
	}
	async pushCursor<T>(type: number, codec: Codec<T>, body: T): Promise<void> {
		const header = encode(L.CursorCmd, { releaseInfo: 0n, type });
		await this.push(
			L.Cmd.cursor,
			await this.command(concat(header, encode(codec, body), new Uint8Array(128))),
			L.Ram.cursorRing,
		);
	}
	/** A surface command; `data` is where its pixels live in BAR 1. */
	async surface(id: number, type: number, shape?: Infer<typeof L.Surface>, flags = 0): Promise<void> {
		const header = encode(L.SurfaceCmd, { releaseInfo: 0n, surfaceId: id, type, flags });
		const surface = shape ?? { format: 0, width: 0, height: 0, stride: 0, data: 0n };
		await this.push(L.Cmd.surface, await this.command(concat(header, encode(L.Surface, surface))));
	}

	/** Prod and cons of a ring. */
	async ring(at: number): Promise<{ prod: number; notifyOnProd: number; cons: number }> {
		const [, prod, notifyOnProd, cons] = words(await this.readHeader(at, 20));
		return { prod, notifyOnProd, cons };
	}

	/** Takes all that the release ring holds, following its lists. Returns the commands' addresses in order. */
	async collect(): Promise<bigint[]> {
		const released: bigint[] = [];
		const ring = L.Ram.releaseRing;
		let { prod, cons } = await this.ring(ring);
		while (cons !== prod) {
			const item = ring + L.Ring.items + (cons % L.RELEASE_RING_SIZE) * L.RELEASE_ITEM_SIZE;
			let id = quad(await this.readHeader(item, 8));
			while (id !== 0n) {
				const command = this.commands.get(id);
				if (command === undefined) throw new Error(`release of ${id}, which was never pushed`);
				this.commands.delete(id);
				released.push(command);
				id = quad(await this.io.read(RAM_BASE + Number(command & 0xffffffffffffn), 8));
			}
			cons = (cons + 1) >>> 0;
			await this.writeHeader(ring + L.Ring.cons, u32(cons));
		}
		return released;
	}

	async readHeader(at: number, length: number): Promise<Uint8Array> {
		return this.io.read(this.#header + at, length);
	}
	async writeHeader(at: number, bytes: Uint8Array): Promise<void> {
		await this.io.write(this.#header + at, bytes);
	}
}

export function chunk(data: Uint8Array, next: bigint): Uint8Array {
	return concat(encode(L.DataChunk, { dataSize: data.length, prevChunk: 0n, nextChunk: next }), data);
}
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
	const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}
export function u32(value: number): Uint8Array {
	const out = new Uint8Array(4);
	new DataView(out.buffer).setUint32(0, value, true);
	return out;
}
export function words(bytes: Uint8Array): number[] {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	return Array.from({ length: bytes.length >> 2 }, (_, i) => view.getUint32(i * 4, true));
}
function word(bytes: Uint8Array): number {
	return words(bytes)[0];
}
function quad(bytes: Uint8Array): bigint {
	return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}
