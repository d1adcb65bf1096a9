/** The driver's side of virtqueues, split (virtio 1.2, 2.7) and packed (2.8), in a fake machine's memory. */
import type { FakeDma } from './board.ts';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const DESC_SIZE = 16;
const PAGE = 4096;

/** One request: what the device reads, then how much room it has to write. */
export interface Buffers {
	readonly out?: readonly Uint8Array[];
	/** Length of each buffer that the device writes. */
	readonly in?: readonly number[];
	/** Put the descriptors into an indirect table. */
	readonly indirect?: boolean;
}

/** A request that the device has given back. */
export interface Used {
	/** What add() returned for it. */
	readonly id: number;
	/** As the device says. */
	readonly written: number;
	/** Everything in the buffers to be written, whatever `written` says. */
	readonly bytes: Uint8Array;
}

/** A descriptor; `next` is the buffer id in a packed ring. */
export interface Descriptor {
	readonly address: number;
	readonly length: number;
	readonly flags: number;
	readonly next?: number;
}

/** Interrupts on, off, or only once this place of the ring has been used (event index). */
export type Wish = 'on' | 'off' | { readonly after: number; readonly wrap?: boolean };

/** Memory for rings and buffers; buffers are free again when no request is under way. */
export class Arena {
	dma: FakeDma;
	readonly #from: number;
	#next: number;
	#base: number;
	#pending = 0;

	constructor(dma: FakeDma, from = 0x10000) {
		this.dma = dma;
		this.#from = this.#next = this.#base = from;
	}

	take(length: number, align = 16): number {
		const at = Math.ceil(this.#next / align) * align;
		this.#next = at + length;
		if (this.#next > this.dma.size) throw new Error('the test has used up its guest memory');
		return at;
	}

	/** For good, filled with zeros. */
	ring(length: number, align = 16): number {
		if (this.#pending > 0) throw new Error('rings are placed before requests are made');
		const at = this.take(length, align);
		this.#base = this.#next;
		this.dma.bytes.fill(0, at, at + length);
		return at;
	}

	begin(): void {
		if (this.#pending++ === 0) this.#next = this.#base;
	}

	end(): void {
		this.#pending--;
	}

	/** All of it is free again: the device was reset. */
	clear(): void {
		this.#pending = 0;
		this.#next = this.#base = this.#from;
	}
}

interface Request {
	readonly id: number;
	readonly slots: number;
	readonly in: readonly (readonly [address: number, length: number])[];
}

/** What both kinds of ring have. */
export abstract class DriverQueue {
	readonly size: number;
	/** Descriptor area, driver area, device area. */
	abstract readonly areas: readonly [desc: number, driver: number, device: number];
	protected readonly arena: Arena;
	protected readonly requests = new Map<number, Request>();

	constructor(arena: Arena, size: number) {
		this.arena = arena;
		this.size = size;
	}

	get dma(): FakeDma {
		return this.arena.dma;
	}

	/** Requests that the device has not given back. */
	get pending(): number {
		return this.requests.size;
	}

	/** Makes a request available; returns its id. Throws when the ring is full. */
	add(buffers: Buffers): number {
		this.arena.begin();
		const descriptors: Descriptor[] = [];
		const writable: (readonly [number, number])[] = [];
		for (const bytes of buffers.out ?? []) {
			const address = this.arena.take(bytes.length);
			this.dma.write(address, bytes);
			descriptors.push({ address, length: bytes.length, flags: 0 });
		}
		for (const length of buffers.in ?? []) {
			const address = this.arena.take(length);
			this.dma.bytes.fill(0, address, address + length);
			writable.push([address, length]);
			descriptors.push({ address, length, flags: WRITE });
		}
		const list = buffers.indirect ? [this.#table(descriptors)] : descriptors;
		const id = this.offer(list);
		this.requests.set(id, { id, slots: list.length, in: writable });
		return id;
	}

	#table(descriptors: readonly Descriptor[]): Descriptor {
		const length = descriptors.length * DESC_SIZE;
		const address = this.arena.take(length);
		for (const [i, descriptor] of descriptors.entries()) {
			const last = i === descriptors.length - 1;
			this.writeTableEntry(address + i * DESC_SIZE, descriptor, last ? undefined : i + 1);
		}
		return { address, length, flags: INDIRECT };
	}

	/** Everything that the device has given back since the last call, in its order. */
	used(): Used[] {
		const all: Used[] = [];
		for (let next = this.takeUsed(); next !== undefined; next = this.takeUsed()) {
			const request = this.requests.get(next.id);
			if (!request) throw new Error(`the device gave back ${next.id}, which it did not have`);
			this.requests.delete(next.id);
			this.arena.end();
			this.recycle(request.id, request.slots);
			const bytes = new Uint8Array(request.in.reduce((sum, [, length]) => sum + length, 0));
			let at = 0;
			for (const [address, length] of request.in) {
				bytes.set(this.dma.read(address, length), at);
				at += length;
			}
			all.push({ ...next, bytes });
		}
		return all;
	}

	/** Descriptors that can be added. */
	abstract readonly room: number;
	/** Puts descriptors, as they are, into the ring and makes them available as one chain; returns its id. */
	abstract offer(descriptors: readonly Descriptor[]): number;
	/** When the device shall interrupt. */
	abstract interrupts(wish: Wish): void;
	/** Whether the device wants to hear of what was added since it looked last. */
	abstract readonly needsKick: boolean;
	protected abstract takeUsed(): { readonly id: number; readonly written: number } | undefined;
	protected abstract recycle(id: number, slots: number): void;
	protected abstract writeTableEntry(at: number, descriptor: Descriptor, next: number | undefined): void;

	protected address(at: number, { address, length }: Descriptor): void {
		this.dma.write32(at, address % 2 ** 32);
		this.dma.write32(at + 4, Math.floor(address / 2 ** 32));
		this.dma.write32(at + 8, length);
	}
}

export class SplitDriverQueue extends DriverQueue {
	readonly areas: readonly [number, number, number];
	#free: number[];
	#availIndex = 0;
	#usedIndex = 0;
	#kicked = 0;
	#listening = true;
	readonly #chains = new Map<number, number[]>();

	/** `legacy`: one block, as the legacy interface wants it. */
	constructor(arena: Arena, size: number) {
		super(arena, size);
		const driver = 16 * size;
		const device = Math.ceil((driver + 6 + 2 * size) / PAGE) * PAGE;
		const base = arena.ring(device + 6 + 8 * size, PAGE);
		this.areas = [base, base + driver, base + device];
		this.#free = Array.from({ length: size }, (_, i) => i);
	}

	get room(): number {
		return this.#free.length;
	}

	get availIndex(): number {
		return this.#availIndex;
	}

	offer(descriptors: readonly Descriptor[]): number {
		if (descriptors.length > this.#free.length) throw new Error('the ring is full');
		const indices = this.#free.splice(0, descriptors.length);
		for (const [i, descriptor] of descriptors.entries())
			this.writeTableEntry(this.areas[0] + indices[i] * DESC_SIZE, descriptor, indices[i + 1]);
		this.#chains.set(indices[0], indices);
		this.publish(indices[0]);
		return indices[0];
	}

	/** Writes one descriptor of the table as it is. */
	write(index: number, { flags, next = 0, ...rest }: Descriptor): void {
		const at = this.areas[0] + index * DESC_SIZE;
		this.address(at, { flags, ...rest });
		this.dma.write16(at + 12, flags);
		this.dma.write16(at + 14, next);
	}

	/** Puts `head` into the available ring, whatever the table says there. */
	publish(head: number): void {
		this.dma.write16(this.areas[1] + 4 + 2 * (this.#availIndex % this.size), head);
		this.setAvailIndex(this.#availIndex + 1);
	}

	setAvailIndex(value: number): void {
		this.#availIndex = value & 0xffff;
		this.dma.write16(this.areas[1] + 2, this.#availIndex);
	}

	/** As drivers do: who wants interrupts moves the event index on with what it has taken. */
	override used(): Used[] {
		const all = super.used();
		if (this.#listening) this.interrupts('on');
		return all;
	}

	interrupts(wish: Wish): void {
		this.#listening = wish === 'on';
		this.dma.write16(this.areas[1], wish === 'off' ? 1 : 0);
		// With event indices the flag means nothing: "off" is an index far away.
		const event = typeof wish === 'object' ? wish.after : wish === 'on' ? this.#usedIndex : this.#usedIndex - 1;
		this.dma.write16(this.areas[1] + 4 + 2 * this.size, event & 0xffff);
	}

	/** Free-running index of the next used element. */
	get usedIndex(): number {
		return this.#usedIndex;
	}

	/** By event index; without that feature a device here always wants to be kicked. */
	get needsKick(): boolean {
		const event = this.dma.read16(this.areas[2] + 4 + 8 * this.size);
		const news = (this.#availIndex - this.#kicked) & 0xffff;
		this.#kicked = this.#availIndex;
		return ((this.#availIndex - event - 1) & 0xffff) < news;
	}

	protected takeUsed(): { id: number; written: number } | undefined {
		if (this.dma.read16(this.areas[2] + 2) === this.#usedIndex) return undefined;
		const at = this.areas[2] + 4 + 8 * (this.#usedIndex % this.size);
		this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
		return { id: this.dma.read32(at), written: this.dma.read32(at + 4) };
	}

	protected recycle(id: number): void {
		this.#free.push(...(this.#chains.get(id) ?? []));
		this.#chains.delete(id);
	}

	protected writeTableEntry(at: number, descriptor: Descriptor, next: number | undefined): void {
		this.address(at, descriptor);
		this.dma.write16(at + 12, descriptor.flags | (next === undefined ? 0 : NEXT));
		this.dma.write16(at + 14, next ?? 0);
	}
}

export class PackedDriverQueue extends DriverQueue {
	readonly areas: readonly [number, number, number];
	#next = 0;
	#wrap = true;
	#usedNext = 0;
	#usedWrap = true;
	#free: number;
	#ids: number[];
	/** Where the first descriptor is that the device was not told of. */
	#kicked = { at: 0, wrap: true };
	readonly #slots = new Map<number, number>();

	constructor(arena: Arena, size: number) {
		super(arena, size);
		const desc = arena.ring(size * DESC_SIZE);
		this.areas = [desc, arena.ring(4, 4), arena.ring(4, 4)];
		this.#free = size;
		this.#ids = Array.from({ length: size }, (_, i) => i);
	}

	get room(): number {
		return this.#free;
	}

	/** Where the next chain goes, and the driver's wrap counter there. */
	get position(): { readonly at: number; readonly wrap: boolean } {
		return { at: this.#next, wrap: this.#wrap };
	}

	get usedPosition(): { readonly at: number; readonly wrap: boolean } {
		return { at: this.#usedNext, wrap: this.#usedWrap };
	}

	offer(descriptors: readonly Descriptor[]): number {
		const id = this.#ids.shift();
		if (id === undefined || descriptors.length > this.#free) throw new Error('the ring is full');
		const first = this.#next;
		const flagsOf = (wrap: boolean) => (wrap ? AVAIL : USED);
		let firstFlags = 0;
		for (const [i, descriptor] of descriptors.entries()) {
			const at = this.areas[0] + this.#next * DESC_SIZE;
			const flags = descriptor.flags | (i < descriptors.length - 1 ? NEXT : 0) | flagsOf(this.#wrap);
			this.address(at, descriptor);
			this.dma.write16(at + 12, id);
			// The first one's flags are written last (2.8.20).
			if (i === 0) firstFlags = flags;
			else this.dma.write16(at + 14, flags);
			this.#next++;
			if (this.#next === this.size) {
				this.#next = 0;
				this.#wrap = !this.#wrap;
			}
		}
		this.dma.write16(this.areas[0] + first * DESC_SIZE + 14, firstFlags);
		this.#free -= descriptors.length;
		this.#slots.set(id, descriptors.length);
		return id;
	}

	/** Writes one descriptor of the ring as it is, `next` being the id. */
	write(index: number, { flags, next = 0, ...rest }: Descriptor): void {
		const at = this.areas[0] + index * DESC_SIZE;
		this.address(at, { flags, ...rest });
		this.dma.write16(at + 12, next);
		this.dma.write16(at + 14, flags);
	}

	interrupts(wish: Wish): void {
		if (typeof wish === 'object') {
			this.dma.write16(this.areas[1], wish.after | ((wish.wrap ?? this.#usedWrap) ? 0x8000 : 0));
			this.dma.write16(this.areas[1] + 2, 2);
		} else this.dma.write16(this.areas[1] + 2, wish === 'off' ? 1 : 0);
	}

	get needsKick(): boolean {
		const flags = this.dma.read16(this.areas[2] + 2) & 3;
		const from = this.#kicked;
		this.#kicked = { at: this.#next, wrap: this.#wrap };
		if (flags !== 2) return flags === 0;
		const event = this.dma.read16(this.areas[2]);
		const where = (event & 0x7fff) + (((event & 0x8000) !== 0) === from.wrap ? 0 : this.size);
		const end = this.#next + (this.#wrap === from.wrap ? 0 : this.size);
		return where >= from.at && where < end;
	}

	protected takeUsed(): { id: number; written: number } | undefined {
		const at = this.areas[0] + this.#usedNext * DESC_SIZE;
		const flags = this.dma.read16(at + 14);
		if (((flags & AVAIL) !== 0) !== this.#usedWrap || ((flags & USED) !== 0) !== this.#usedWrap) return undefined;
		const id = this.dma.read16(at + 12);
		this.#usedNext += this.#slots.get(id) ?? 1;
		if (this.#usedNext >= this.size) {
			this.#usedNext -= this.size;
			this.#usedWrap = !this.#usedWrap;
		}
		return { id, written: this.dma.read32(at + 8) };
	}

	protected recycle(id: number, slots: number): void {
		this.#slots.delete(id);
		this.#ids.push(id);
		this.#free += slots;
	}

	/** Flags of a table's entries say only whether it is written; their order is the chain (2.8.7). */
	protected writeTableEntry(at: number, descriptor: Descriptor): void {
		this.address(at, descriptor);
		this.dma.write16(at + 12, 0);
		this.dma.write16(at + 14, descriptor.flags);
	}
}
