/**
 * QXLRam: rings, interrupt words and parameters that device and guest share, in the last 8 KiB of BAR 0.
 * The guest may write anything at any time, so counts and sizes come from qxl_dev.h, never from here.
 */
import { type Codec, decode, type VideoMemory } from '../../../src/core/index.ts';
import {
	COMMAND_RING_SIZE,
	COMMAND_SIZE,
	LOG_BUF_SIZE,
	RAM_HEADER_SIZE,
	RAM_MAGIC,
	Ram,
	RELEASE_ITEM_SIZE,
	RELEASE_RING_SIZE,
	Ring,
} from './layout.ts';

export class RamHeader {
	/** Byte offset in BAR 0. */
	readonly offset: number;
	readonly #memory: VideoMemory;
	#view: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0));

	constructor(memory: VideoMemory) {
		this.#memory = memory;
		this.offset = memory.size - RAM_HEADER_SIZE;
	}

	/** Ask again after control went back to the guest. */
	get view(): DataView<ArrayBufferLike> {
		const bytes = this.#memory.bytes();
		if (bytes.buffer !== this.#view.buffer)
			this.#view = new DataView(bytes.buffer, bytes.byteOffset + this.offset, RAM_HEADER_SIZE);
		return this.#view;
	}

	/** As the device leaves it after a reset (SPICE_RING_INIT). */
	reset(): void {
		const { view } = this;
		view.setUint32(Ram.magic, RAM_MAGIC, true);
		view.setUint32(Ram.intPending, 0, true);
		view.setUint32(Ram.intMask, 0, true);
		view.setUint32(Ram.updateSurface, 0, true);
		view.setBigUint64(Ram.monitorsConfig, 0n, true);
		for (const [at, size] of [
			[Ram.cmdRing, COMMAND_RING_SIZE],
			[Ram.cursorRing, COMMAND_RING_SIZE],
			[Ram.releaseRing, RELEASE_RING_SIZE],
		]) {
			view.setUint32(at + Ring.numItems, size, true);
			view.setUint32(at + Ring.prod, 0, true);
			view.setUint32(at + Ring.cons, 0, true);
			view.setUint32(at + Ring.notifyOnProd, 1, true);
			view.setUint32(at + Ring.notifyOnCons, 0, true);
		}
		view.setBigUint64(Ram.releaseRing + Ring.items, 0n, true);
	}

	get pending(): number {
		return this.view.getUint32(Ram.intPending, true);
	}
	set pending(value: number) {
		this.view.setUint32(Ram.intPending, value, true);
	}
	get mask(): number {
		return this.view.getUint32(Ram.intMask, true);
	}

	/** A parameter block, by offset in the header. */
	read<T>(codec: Codec<T>, at: number): T {
		const bytes = this.#memory.bytes();
		return decode(codec, bytes.subarray(this.offset + at, this.offset + RAM_HEADER_SIZE));
	}

	/** What the guest wants logged: log_buf up to its NUL, without control characters. */
	log(): string {
		const at = this.offset + Ram.logBuf;
		const text = this.#memory.bytes().subarray(at, at + LOG_BUF_SIZE);
		const end = text.indexOf(0);
		let out = '';
		for (const c of text.subarray(0, end < 0 ? LOG_BUF_SIZE : end))
			out += c >= 32 && c < 127 ? String.fromCharCode(c) : ' ';
		return out.trim();
	}
}

/** A ring whose consumer is the device: commands, cursor commands. Indices run freely and are masked on use. */
export class CommandRing {
	readonly #header: RamHeader;
	readonly #at: number;
	constructor(header: RamHeader, at: number) {
		this.#header = header;
		this.#at = at;
	}

	/** Commands waiting; more than fit means that the guest broke the ring. */
	get count(): number {
		const { view } = this.#header;
		return (view.getUint32(this.#at + Ring.prod, true) - view.getUint32(this.#at + Ring.cons, true)) >>> 0;
	}

	/** The next command; there must be one. */
	peek(): { readonly data: bigint; readonly type: number } {
		const { view } = this.#header;
		const index = view.getUint32(this.#at + Ring.cons, true) & (COMMAND_RING_SIZE - 1);
		const at = this.#at + Ring.items + index * COMMAND_SIZE;
		return { data: view.getBigUint64(at, true), type: view.getUint32(at + 8, true) };
	}

	/** Consumes it; true if the guest wants to be told. */
	pop(): boolean {
		const { view } = this.#header;
		const cons = (view.getUint32(this.#at + Ring.cons, true) + 1) >>> 0;
		view.setUint32(this.#at + Ring.cons, cons, true);
		return cons === view.getUint32(this.#at + Ring.notifyOnCons, true);
	}

	/** Asks for a kick at the next command; false if one has come meanwhile. */
	wait(): boolean {
		const { view } = this.#header;
		const prod = view.getUint32(this.#at + Ring.prod, true);
		view.setUint32(this.#at + Ring.notifyOnProd, (prod + 1) >>> 0, true);
		return this.count === 0;
	}
}

/** The release ring, whose producer is the device: each item heads a list of resources that the guest may free. */
export class ReleaseRing {
	readonly #header: RamHeader;
	constructor(header: RamHeader) {
		this.#header = header;
	}

	get empty(): boolean {
		const { view } = this.#header;
		return view.getUint32(Ram.releaseRing + Ring.prod, true) === view.getUint32(Ram.releaseRing + Ring.cons, true);
	}

	/** One item stays free: it is the list being built. */
	get full(): boolean {
		const { view } = this.#header;
		const prod = view.getUint32(Ram.releaseRing + Ring.prod, true);
		const used = (prod - view.getUint32(Ram.releaseRing + Ring.cons, true)) >>> 0;
		return used + 1 >= RELEASE_RING_SIZE;
	}

	get head(): bigint {
		return this.#header.view.getBigUint64(this.#item(), true);
	}
	set head(id: bigint) {
		this.#header.view.setBigUint64(this.#item(), id, true);
	}

	/** Hands the list over and begins an empty one; true if the guest wants to be told. */
	push(): boolean {
		const { view } = this.#header;
		const prod = (view.getUint32(Ram.releaseRing + Ring.prod, true) + 1) >>> 0;
		view.setUint32(Ram.releaseRing + Ring.prod, prod, true);
		this.head = 0n;
		return prod === view.getUint32(Ram.releaseRing + Ring.notifyOnProd, true);
	}

	#item(): number {
		const prod = this.#header.view.getUint32(Ram.releaseRing + Ring.prod, true);
		return Ram.releaseRing + Ring.items + (prod & (RELEASE_RING_SIZE - 1)) * RELEASE_ITEM_SIZE;
	}
}
