/**
 * Two 8237A DMA controllers and their page registers, as in a PC/AT: channels 0-3 move bytes inside 64 KiB pages,
 * 5-7 words inside 128 KiB pages, 4 joins the two. Intel 231466, "8237A high performance programmable DMA controller".
 * Nothing moves by itself: a device that wants data calls `toMemory` or `fromMemory` for its channel.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	type Dma,
	GuestFault,
	guestError,
	type Host,
	type IoHandler,
	type PortSpace,
	type StateValue,
	tracePoints,
} from '../../src/core/index.ts';

/** Command register: controller off. */
const COMMAND_DISABLE = 0x04;
/** Mode register, "Mode register". */
const MODE_TRANSFER = 0x0c;
const MODE_WRITE = 0x04;
const MODE_READ = 0x08;
const MODE_AUTO = 0x10;
const MODE_DECREMENT = 0x20;
/** Register numbers behind the eight channel registers. */
const STATUS_COMMAND = 8;
const REQUEST = 9;
const SINGLE_MASK = 10;
const MODE = 11;
const CLEAR_FLIP_FLOP = 12;
const MASTER_CLEAR = 13;
const CLEAR_MASK = 14;
const ALL_MASK = 15;
/** Page register ports 81h, 82h, 83h, 87h hold the pages of channels 2, 3, 1, 0; the second set lies 8 higher. */
const PAGE_CHANNEL: Readonly<Record<number, number>> = { 1: 2, 2: 3, 3: 1, 7: 0 };
const CASCADE = 4;

const trace = tracePoints('dma8237', {
	write: ['controller', 'register', 'value'],
	transfer: ['channel', 'address', 'bytes'],
	terminal: ['channel'],
});

class Channel {
	page = 0;
	baseAddress = 0;
	baseCount = 0;
	/** Current registers, 16 bits. */
	address = 0;
	count = 0;
	mode = 0;
}

class Controller {
	readonly channels = [new Channel(), new Channel(), new Channel(), new Channel()] as const;
	readonly #number: number;
	command = 0;
	/** Bits 3..0 terminal count reached, 7..4 requests. */
	status = 0;
	mask = 0x0f;
	request = 0;
	/** Which byte of a 16-bit register comes next. */
	flipFlop = false;

	constructor(number: number) {
		this.#number = number;
	}

	/** Master clear: what RESET does to a controller. Base, current and page registers stay. */
	clear(): void {
		this.command = 0;
		this.status = 0;
		this.mask = 0x0f;
		this.request = 0;
		this.flipFlop = false;
	}

	read(register: number): number {
		if (register < 8) {
			const channel = this.channels[register >> 1];
			const value = register & 1 ? channel.count : channel.address;
			const high = this.flipFlop;
			this.flipFlop = !high;
			return high ? value >> 8 : value & 0xff;
		}
		if (register === STATUS_COMMAND) {
			const value = this.status;
			this.status &= 0xf0;
			return value;
		}
		return register === ALL_MASK ? this.mask : 0;
	}

	write(register: number, value: number): void {
		trace.write(this.#number, register, value);
		if (register < 8) {
			const channel = this.channels[register >> 1];
			const high = this.flipFlop;
			this.flipFlop = !high;
			const merge = (was: number) => (high ? (was & 0x00ff) | (value << 8) : (was & 0xff00) | value);
			if (register & 1) channel.count = channel.baseCount = merge(channel.baseCount);
			else channel.address = channel.baseAddress = merge(channel.baseAddress);
			return;
		}
		const bit = 1 << (value & 3);
		switch (register) {
			case STATUS_COMMAND:
				this.command = value;
				break;
			case REQUEST:
				this.request = value & 4 ? this.request | bit : this.request & ~bit;
				break;
			case SINGLE_MASK:
				this.mask = value & 4 ? this.mask | bit : this.mask & ~bit;
				break;
			case MODE:
				this.channels[value & 3].mode = value;
				break;
			case CLEAR_FLIP_FLOP:
				this.flipFlop = false;
				break;
			case MASTER_CLEAR:
				this.clear();
				break;
			case CLEAR_MASK:
				this.mask = 0;
				break;
			case ALL_MASK:
				this.mask = value & 0x0f;
				break;
		}
	}

	save(): { [key: string]: StateValue } {
		return {
			command: this.command,
			status: this.status,
			mask: this.mask,
			request: this.request,
			flipFlop: this.flipFlop,
			channels: this.channels.map((c) => ({ ...c })),
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.command = Number(state.command) & 0xff;
		this.status = Number(state.status) & 0xff;
		this.mask = Number(state.mask) & 0x0f;
		this.request = Number(state.request) & 0x0f;
		this.flipFlop = state.flipFlop === true;
		const saved = state.channels as { [key: string]: number }[];
		for (const [i, channel] of this.channels.entries()) Object.assign(channel, saved[i]);
	}
}

export class Dma8237 implements Device {
	readonly #dma: Dma;
	readonly #controllers = [new Controller(0), new Controller(1)] as const;

	constructor(host: Host, ports: PortSpace) {
		this.#dma = host.dma;
		const [low, high] = this.#controllers;
		ports.map(0x00, 16, { read8: (at) => low.read(at), write8: (at, value) => low.write(at, value) }, 'dma1');
		ports.map(
			0xc0,
			32,
			// The second controller sits on word boundaries.
			{ read8: (at) => high.read(at >> 1), write8: (at, value) => high.write(at >> 1, value) },
			'dma2',
		);
		for (const [i, controller] of this.#controllers.entries())
			for (const [offset, channel] of Object.entries(PAGE_CHANNEL))
				ports.map(0x80 + i * 8 + Number(offset), 1, pageHandler(controller.channels[channel]), 'dma-page');
	}

	reset(): void {
		for (const controller of this.#controllers) controller.clear();
	}

	save() {
		return { version: 1, controllers: this.#controllers.map((c) => c.save()) };
	}

	restore(state: DeviceState): void {
		checkVersion('dma8237', state, 1);
		const { controllers } = state as ReturnType<Dma8237['save']>;
		for (const [i, controller] of this.#controllers.entries()) controller.restore(controllers[i]);
	}

	/** Whether the guest has set `channel` (0-3, 5-7) up to move data now. */
	ready(channel: number): boolean {
		const controller = this.#controllers[channel >> 2];
		return channel !== CASCADE && !(controller.command & COMMAND_DISABLE) && !(controller.mask & (1 << (channel & 3)));
	}

	/** Bytes left until terminal count. */
	left(channel: number): number {
		return (this.#channel(channel).count + 1) * (channel >= CASCADE ? 2 : 1);
	}

	/** Peripheral to memory: moves as much of `bytes` as the guest's count allows; returns how many. */
	toMemory(channel: number, bytes: Uint8Array): number {
		const verify = (this.#channel(channel).mode & MODE_TRANSFER) === 0;
		if (!verify && (this.#channel(channel).mode & MODE_TRANSFER) !== MODE_WRITE) return 0;
		return this.#move(channel, bytes.length, (address, at, length) => {
			if (!verify) this.#dma.write(address, bytes.subarray(at, at + length));
		});
	}

	/** Memory to peripheral: fills as much of `into` as the guest's count allows; returns how many bytes. */
	fromMemory(channel: number, into: Uint8Array): number {
		if ((this.#channel(channel).mode & MODE_TRANSFER) !== MODE_READ) return 0;
		return this.#move(channel, into.length, (address, at, length) => into.set(this.#dma.view(address, length), at));
	}

	#channel(channel: number): Channel {
		return this.#controllers[channel >> 2].channels[channel & 3];
	}

	/** Calls `piece` for each run of memory in order; a page's end, a terminal count and a bad address end a run. */
	#move(channel: number, want: number, piece: (address: number, at: number, length: number) => void): number {
		if (!this.ready(channel)) return 0;
		const unit = channel >= CASCADE ? 2 : 1;
		const c = this.#channel(channel);
		const down = (c.mode & MODE_DECREMENT) !== 0;
		let done = 0;
		while (want - done >= unit) {
			const units = Math.min(Math.floor((want - done) / unit), c.count + 1, down ? 1 : 0x10000 - c.address);
			const address = unit === 1 ? c.page * 0x10000 + c.address : (c.page & 0xfe) * 0x10000 + c.address * 2;
			try {
				piece(address, done, units * unit);
			} catch (e) {
				if (!(e instanceof GuestFault)) throw e;
				guestError('dma8237', `channel ${channel}: ${e.message}`);
				return done;
			}
			trace.transfer(channel, address, units * unit);
			done += units * unit;
			c.address = (c.address + (down ? -units : units)) & 0xffff;
			c.count = (c.count - units) & 0xffff;
			if (c.count === 0xffff && this.#terminal(channel)) break;
		}
		return done;
	}

	/** Terminal count: auto-initialize starts over, otherwise the channel masks itself. Returns whether it ended. */
	#terminal(channel: number): boolean {
		const controller = this.#controllers[channel >> 2];
		const c = this.#channel(channel);
		trace.terminal(channel);
		controller.status |= 1 << (channel & 3);
		if (!(c.mode & MODE_AUTO)) {
			controller.mask |= 1 << (channel & 3);
			return true;
		}
		c.address = c.baseAddress;
		c.count = c.baseCount;
		return false;
	}
}

function pageHandler(channel: Channel): IoHandler {
	return {
		read8: () => channel.page,
		write8: (_offset, value) => {
			channel.page = value;
		},
	};
}
