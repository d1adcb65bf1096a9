/** The console device: named byte streams between guest and host, some of them terminals. Virtio 1.2, 5.3. */
import {
	decode,
	encode,
	guestError,
	type Infer,
	RegisterFile,
	registers,
	type StateValue,
	tracePoints,
	wire,
} from '../../src/core/index.ts';
import { portQueues, SerialPort, type SerialPortOptions } from './serial-port.ts';
import { DeviceType, features, type VirtioBus, type VirtioModel } from './virtio.ts';

export type { SerialPortOptions } from './serial-port.ts';

/** 5.3.3 Feature bits. */
const Feature = { size: 0, multiport: 1, emergencyWrite: 2 } as const;

/** 5.3.4 Device configuration layout. */
const layout = registers({
	cols: { at: 0, size: 2, doc: 'width of the console, characters' },
	rows: { at: 2, size: 2, doc: 'height of the console, characters' },
	max_nr_ports: { at: 4, size: 4, reset: 31, doc: 'ports that there can be' },
	emerg_wr: { at: 8, size: 4, w: 0xffffffff, doc: 'a character for port 0 at once' },
});

/** 5.3.6.2 Multiport device operation. */
const Event = {
	deviceReady: 0,
	deviceAdd: 1,
	deviceRemove: 2,
	portReady: 3,
	consolePort: 4,
	resize: 5,
	portOpen: 6,
	portName: 7,
} as const;
const Control = wire.struct({ id: wire.u32, event: wire.u16, value: wire.u16 });
type Control = Infer<typeof Control>;
/** 5.3.6.2. Linux read it the other way round for long (drivers/char/virtio_console.c); Debian's present kernels do not. */
const Size = wire.struct({ cols: wire.u16, rows: wire.u16 });

const MAX_PORTS = 31;
const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
const CONTROL_SIZE = 32;
const QUEUE_SIZE = 128;
/** Control messages that wait for room in the guest; a driver that asks and does not read gets no more. */
const MOST_WAITING = 256;

const trace = tracePoints('virtio-serial', {
	control_in: ['port', 'event', 'value'],
	control_out: ['port', 'event', 'value'],
});

export interface SerialOptions {
	/** If the one that becomes port 0 is on a terminal, the guest is offered its size. */
	readonly ports: readonly SerialPortOptions[];
}

export class VirtioSerial implements VirtioModel {
	readonly name = 'virtio-serial';
	readonly type = DeviceType.console;
	readonly classCode = 0x078000;
	readonly features: bigint;
	readonly queueSizes: readonly number[];
	readonly configLength = 12;
	readonly config: RegisterFile<typeof layout>;
	readonly #options: SerialOptions;
	#bus: VirtioBus | undefined;
	readonly #ports = new Map<number, SerialPort>();
	#waiting: Uint8Array[] = [];
	/** The driver has said that it is ready for control messages. */
	#ready = false;
	#overrun = false;

	/** Throws RangeError when there are too many ports or two have the same number. */
	constructor(options: SerialOptions) {
		this.#options = options;
		const first =
			options.ports.find(({ number }) => number === 0) ??
			options.ports.find(({ console, number }) => console === true && number === undefined);
		this.features = features(
			Feature.multiport,
			Feature.emergencyWrite,
			...(first?.console && first.backend.size ? [Feature.size] : []),
		);
		const sizes = new Array<number>(2 * (MAX_PORTS + 1)).fill(QUEUE_SIZE);
		sizes[CONTROL_RECEIVE] = sizes[CONTROL_TRANSMIT] = CONTROL_SIZE;
		this.queueSizes = sizes;
		this.config = new RegisterFile(layout, {
			write: { emerg_wr: (byte) => this.#ports.get(0)?.emergency(byte & 0xff) },
		});
	}

	connect(bus: VirtioBus): void {
		this.#bus = bus;
		for (const options of this.#options.ports) this.#plug(bus, options);
		this.#showSize();
	}

	#plug(bus: VirtioBus, options: SerialPortOptions): void {
		const number = options.number ?? this.#freeNumber(options.console === true && !this.#ports.has(0) ? 0 : 1);
		if (!(number >= 0 && number < MAX_PORTS))
			throw new RangeError(`a virtio-serial device has ports 0..${MAX_PORTS - 1}`);
		if (this.#ports.has(number)) throw new RangeError(`virtio-serial port ${number} is taken`);
		const port = new SerialPort(bus, { ...options, number });
		port.onHostOpen = (open) => {
			if (this.#ready) this.#tell({ id: number, event: Event.portOpen, value: open ? 1 : 0 });
		};
		if (number === 0) port.onResized = () => this.#resized(port);
		this.#ports.set(number, port);
	}

	#freeNumber(from: number): number {
		let number = from;
		while (this.#ports.has(number)) number++;
		return number;
	}

	/** Ports by number. */
	get ports(): ReadonlyMap<number, SerialPort> {
		return this.#ports;
	}

	#resized(port: SerialPort): void {
		this.#showSize();
		if (!this.#bus?.has(Feature.size)) return;
		this.#bus.configChanged();
		if (this.#ready) this.#tellSize(port);
	}

	/** A guest that was not offered the size finds 0 there. */
	#showSize(): void {
		const size = this.features & features(Feature.size) ? this.#ports.get(0)?.size : undefined;
		this.config.cols = size?.cols ?? 0;
		this.config.rows = size?.rows ?? 0;
	}

	kicked(n: number): void {
		if (n === CONTROL_TRANSMIT) this.#takeControl();
		else if (n === CONTROL_RECEIVE) this.#flush();
		else {
			const port = this.#ports.get(n < 2 ? 0 : (n >> 1) - 1);
			if (port && n & 1) port.transmit();
			else if (port) port.roomMade();
			else if (n & 1) this.#drop(n);
		}
	}

	/** What goes to a port that is not there is lost. */
	#drop(n: number): void {
		const queue = this.#bus?.queue(n);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) queue?.push(chain, 0);
	}

	#takeControl(): void {
		const queue = this.#bus?.queue(CONTROL_TRANSMIT);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
			const bytes = chain.out.slice(0, Control.min);
			queue?.push(chain, 0);
			if (bytes.length === Control.min) this.#control(decode(Control, bytes));
		}
	}

	#control({ id, event, value }: Control): void {
		trace.control_out(id, event, value);
		if (event === Event.deviceReady) {
			this.#ready = value !== 0;
			if (!this.#ready) return;
			for (const number of this.#ports.keys()) this.#tell({ id: number, event: Event.deviceAdd, value: 1 });
			return;
		}
		const port = this.#ports.get(id);
		if (!port) return;
		if (event === Event.portReady && value !== 0) this.#introduce(port);
		else if (event === Event.portOpen) port.setGuestOpen(value !== 0);
	}

	/** What a driver that is ready for a port wants to know about it. */
	#introduce(port: SerialPort): void {
		const id = port.number;
		if (port.console) {
			this.#tell({ id, event: Event.consolePort, value: 1 });
			this.#tellSize(port);
		}
		if (port.name !== '')
			this.#tell({ id, event: Event.portName, value: 1 }, new TextEncoder().encode(`${port.name}\0`));
		if (port.hostIsOpen) this.#tell({ id, event: Event.portOpen, value: 1 });
	}

	#tellSize(port: SerialPort): void {
		if (!port.size || !port.console || port.number !== 0 || !this.#bus?.has(Feature.size)) return;
		this.#tell({ id: 0, event: Event.resize, value: 0 }, encode(Size, port.size));
	}

	#tell(message: Control, more: Uint8Array = new Uint8Array(0)): void {
		if (!this.#bus?.has(Feature.multiport)) return;
		trace.control_in(message.id, message.event, message.value);
		if (this.#waiting.length >= MOST_WAITING) {
			if (!this.#overrun) guestError(this.name, 'the driver does not read control messages; further ones are lost');
			this.#overrun = true;
			return;
		}
		const head = encode(Control, message);
		const bytes = new Uint8Array(head.length + more.length);
		bytes.set(head);
		bytes.set(more, head.length);
		this.#waiting.push(bytes);
		this.#bus.run(() => this.#flush());
	}

	#flush(): void {
		const queue = this.#bus?.queue(CONTROL_RECEIVE);
		while (this.#waiting.length > 0) {
			const chain = queue?.pop();
			if (!chain) return;
			const bytes = this.#waiting.shift();
			if (bytes) queue?.push(chain, chain.in.write(0, bytes));
		}
	}

	/** Without MULTIPORT there is port 0 only, and it is open. */
	started(): void {
		if (!this.#bus?.has(Feature.multiport)) this.#ports.get(0)?.setGuestOpen(true);
	}

	queueReset(n: number): void {
		for (const port of this.#ports.values()) if (portQueues(port.number)[1] === n) port.dropJob();
	}

	reset(): void {
		this.#waiting = [];
		this.#ready = false;
		this.#overrun = false;
		this.config.reset();
		this.#showSize();
		for (const port of this.#ports.values()) port.reset();
	}

	save() {
		return {
			ready: this.#ready,
			waiting: this.#waiting.map((bytes) => bytes.slice()) as StateValue[],
			ports: Object.fromEntries([...this.#ports].map(([number, port]) => [number, port.save()])) as StateValue,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const saved = state as ReturnType<VirtioSerial['save']>;
		this.#ready = saved.ready;
		this.#waiting = (saved.waiting as Uint8Array[]).slice();
		const ports = saved.ports as { [number: string]: ReturnType<SerialPort['save']> | undefined };
		for (const [number, port] of this.#ports) {
			const state = ports[number];
			if (!state) throw new Error(`${this.name}: saved state has no port ${number}`);
			port.restore(state);
		}
	}
}
