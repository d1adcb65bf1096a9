/** The input device: events of the kernel's evdev, with what the device can do told in its configuration. Virtio 1.2, 5.8. */
import { guestError, type StateValue, tracePoints } from '../../src/core/index.ts';
import type { Chain } from './chain.ts';
import { type ConfigSpace, DeviceType, type VirtioBus, type VirtioModel } from './virtio.ts';

/** 5.8.4 Device configuration layout: what `select` asks for. */
export const Select = {
	unset: 0x00,
	idName: 0x01,
	idSerial: 0x02,
	idDevids: 0x03,
	propBits: 0x10,
	evBits: 0x11,
	absInfo: 0x12,
} as const;

/** linux/input-event-codes.h */
export const Ev = { syn: 0, key: 1, rel: 2, abs: 3, rep: 0x14, led: 0x11 } as const;

const QUEUE_SIZE = 64;
const EVENT_SIZE = 8;
const PAYLOAD = 128;
const PAYLOAD_AT = 8;
const EVENTS = 0;
const STATUS = 1;

const trace = tracePoints('virtio-input', { event: ['device', 'type', 'code', 'value'], lost: ['device', 'events'] });

export interface InputEvent {
	readonly type: number;
	readonly code: number;
	readonly value: number;
}

export interface InputDescription {
	/** As in logs: `virtio-tablet`. */
	readonly name: string;
	readonly classCode: number;
	/** Name that the guest sees. */
	readonly title: string;
	readonly product: number;
	readonly version: number;
	/** Codes by event type. */
	readonly codes: ReadonlyMap<number, readonly number[]>;
	/** Range by absolute axis. */
	readonly axes?: ReadonlyMap<number, { readonly min: number; readonly max: number }>;
	/** The guest set something: an LED. */
	readonly onStatus?: (event: InputEvent) => void;
}

export class VirtioInput implements VirtioModel {
	readonly name: string;
	readonly type = DeviceType.input;
	readonly classCode: number;
	readonly features = 0n;
	readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
	readonly configLength: number;
	readonly config: ConfigSpace = {
		read: (offset, size) => this.#readConfig(offset, size),
		write: (offset, size, value) => this.#writeConfig(offset, size, value),
	};
	/** The guest began or ceased to listen. */
	onActive: ((active: boolean) => void) | undefined;
	readonly #description: InputDescription;
	readonly #answers: ReadonlyMap<number, Uint8Array>;
	#select = 0;
	#subselect = 0;
	#bus: VirtioBus | undefined;
	/** Buffers taken for events that had to be dropped; the next ones use them. */
	readonly #held: Chain[] = [];
	#active = false;
	/** Events are being lost; a bad status event was told of. */
	#lost = false;
	#complained = false;

	constructor(description: InputDescription) {
		this.name = description.name;
		this.classCode = description.classCode;
		this.#description = description;
		this.#answers = answers(description);
		this.configLength = PAYLOAD_AT + Math.max(...[...this.#answers.values()].map((answer) => answer.length));
	}

	connect(bus: VirtioBus): void {
		this.#bus = bus;
	}

	get active(): boolean {
		return this.#active;
	}

	/** Events that belong together; the synchronising one is added. False if the guest had no room for them. */
	send(events: readonly InputEvent[]): boolean {
		if (!this.#active || events.length === 0) return false;
		let sent = false;
		this.#bus?.run(() => {
			sent = this.#put([...events, { type: Ev.syn, code: 0, value: 0 }]);
		});
		return sent;
	}

	/** All of them or none, so that the guest never sees half a movement. */
	#put(events: readonly InputEvent[]): boolean {
		const queue = this.#bus?.queue(EVENTS);
		const chains = this.#held;
		while (chains.length < events.length) {
			const chain = queue?.pop();
			if (!chain) {
				if (!this.#lost) trace.lost(this.name, events.length);
				this.#lost = true;
				return false;
			}
			chains.push(chain);
		}
		this.#lost = false;
		for (const event of events) {
			const chain = chains.shift();
			if (!chain) break;
			trace.event(this.name, event.type, event.code, event.value);
			const bytes = new Uint8Array(EVENT_SIZE);
			const view = new DataView(bytes.buffer);
			view.setUint16(0, event.type, true);
			view.setUint16(2, event.code, true);
			view.setInt32(4, event.value, true);
			queue?.push(chain, chain.in.write(0, bytes));
		}
		return true;
	}

	kicked(n: number): void {
		if (n !== STATUS) return;
		const queue = this.#bus?.queue(STATUS);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
			const bytes = chain.out.slice(0, EVENT_SIZE);
			if (bytes.length === EVENT_SIZE) {
				const view = new DataView(bytes.buffer);
				const event = { type: view.getUint16(0, true), code: view.getUint16(2, true), value: view.getInt32(4, true) };
				this.#description.onStatus?.(event);
			} else if (!this.#complained) {
				guestError(this.name, `a status event has ${bytes.length} bytes`);
				this.#complained = true;
			}
			queue?.push(chain, 0);
		}
	}

	started(): void {
		this.#setActive(true);
	}

	queueReset(n: number): void {
		if (n === EVENTS) this.#held.length = 0;
	}

	reset(): void {
		this.#select = this.#subselect = 0;
		this.#held.length = 0;
		this.#lost = this.#complained = false;
		this.#setActive(false);
	}

	#setActive(active: boolean): void {
		if (active === this.#active) return;
		this.#active = active;
		this.onActive?.(active);
	}

	/** All zeros while something is selected that the device knows nothing about. */
	#readConfig(offset: number, size: number): number {
		const answer = this.#answers.get(this.#select * 256 + this.#subselect);
		if (!answer) return 0;
		const head = [this.#select, this.#subselect, answer.length];
		let value = 0;
		for (let at = offset + size - 1; at >= offset; at--)
			value = value * 256 + (head[at] ?? answer[at - PAYLOAD_AT] ?? 0);
		return value;
	}

	#writeConfig(offset: number, size: number, value: number): void {
		for (let i = 0; i < size; i++) {
			const byte = (value >>> (i * 8)) & 0xff;
			if (offset + i === 0) this.#select = byte;
			else if (offset + i === 1) this.#subselect = byte;
		}
	}

	save() {
		return {
			select: this.#select,
			subselect: this.#subselect,
			active: this.#active,
			held: this.#held.map((chain) => chain.save()) as StateValue[],
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const saved = state as ReturnType<VirtioInput['save']>;
		this.#select = saved.select;
		this.#subselect = saved.subselect;
		const queue = this.#bus?.queue(EVENTS);
		for (const chain of saved.held) if (queue) this.#held.push(queue.adopt(chain));
		this.#setActive(saved.active);
	}
}

const BUS_VIRTUAL = 6;
const VENDOR = 0x0627;

/** What the configuration space says, by select * 256 + subselect. */
function answers(description: InputDescription): Map<number, Uint8Array> {
	const { title, product, version, codes, axes } = description;
	const all = new Map<number, Uint8Array>();
	all.set(Select.idName * 256, new TextEncoder().encode(`${title}\0`).subarray(0, PAYLOAD));
	all.set(Select.idDevids * 256, words([BUS_VIRTUAL, VENDOR, product, version]));
	for (const [type, list] of codes) all.set(Select.evBits * 256 + type, bitmap(list));
	for (const [axis, { min, max }] of axes ?? []) {
		const info = new Uint8Array(20);
		new DataView(info.buffer).setUint32(0, min, true);
		new DataView(info.buffer).setUint32(4, max, true);
		all.set(Select.absInfo * 256 + axis, info);
	}
	return all;
}

function words(values: readonly number[]): Uint8Array {
	return new Uint8Array(values.flatMap((value) => [value & 0xff, value >> 8]));
}

/** One bit a code, as long as the highest one needs. */
function bitmap(codes: readonly number[]): Uint8Array {
	const bits = new Uint8Array((Math.max(0, ...codes) >> 3) + 1);
	for (const code of codes) bits[code >> 3] |= 1 << (code & 7);
	return bits;
}
