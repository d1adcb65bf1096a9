/**
 * 16550A UART. National Semiconductor PC16550D datasheet; wiring as COM1-COM4 of a PC.
 * There is no line: bytes leave for the back end as soon as the guest writes them, in batches, and arrive as fast as
 * the guest takes them. The transmitter is "not empty" only while the back end takes nothing and the buffer is full.
 * As in QEMU the interrupt output is not gated by OUT2, and the modem inputs are always DCD, DSR and CTS.
 */
import {
	type CharBackend,
	type CharDevice,
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type Irq,
	type PortSpace,
	type Timer,
	tracePoints,
} from '../../src/core/index.ts';

/** Where a PC has its serial ports. */
export const COM_PORTS = [
	{ name: 'COM1', base: 0x3f8, irq: 4 },
	{ name: 'COM2', base: 0x2f8, irq: 3 },
	{ name: 'COM3', base: 0x3e8, irq: 4 },
	{ name: 'COM4', base: 0x2e8, irq: 3 },
] as const;

const CRYSTAL_HZ = 1843200;
/** Interrupt enable, one bit a source. */
const IER = { rdi: 1, thri: 2, rlsi: 4, msi: 8 } as const;
/** Interrupt identification, by falling priority. */
const IIR = { none: 0x01, rlsi: 0x06, timeout: 0x0c, rdi: 0x04, thri: 0x02, msi: 0x00, fifos: 0xc0 } as const;
const IIR_ID = 0x0f;
const FCR = { enable: 0x01, clearRx: 0x02, clearTx: 0x04, kept: 0xc9 } as const;
/** Receive trigger level by FCR bits 7..6. */
const TRIGGER = [1, 4, 8, 14] as const;
const LCR_DLAB = 0x80;
const MCR = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10, mask: 0x1f } as const;
const LSR = { dr: 0x01, oe: 0x02, bi: 0x10, thre: 0x20, temt: 0x40, errors: 0x1e } as const;
const MSR = { deltas: 0x0f, teri: 0x04, cts: 0x10, dsr: 0x20, ri: 0x40, dcd: 0x80 } as const;

const FIFO = 16;
/** Bytes on their way to the back end; THRE falls while fewer than one FIFO's worth are free. */
const OUT_CAPACITY = 4096;

const trace = tracePoints('uart', {
	write: ['port', 'offset', 'value'],
	irq: ['port', 'level', 'iir'],
	line: ['port', 'divisor', 'lcr'],
	overrun: ['port'],
});

export interface UartOptions {
	readonly base: number;
	readonly name?: string;
	/** Left out: nothing is connected, what the guest writes is gone. */
	readonly backend?: CharBackend;
}

export class Uart16550 implements Device, CharDevice {
	readonly #base: number;
	readonly #host: Host;
	readonly #irq: Irq;
	readonly #backend: CharBackend | undefined;
	readonly #timeout: Timer;

	#ier = 0;
	#fcr = 0;
	#lcr = 0;
	#mcr = 0;
	#msr = 0;
	#scr = 0;
	#divisor = 0;
	/** Error bits of LSR; DR, THRE and TEMT follow from the buffers. */
	#errors = 0;
	/** Transmitter-empty interrupt pending: set when THR becomes empty, cleared by reading IIR or writing THR. */
	#thrPending = false;
	/** Character timeout pending: bytes below the trigger level have waited for four character times. */
	#timeoutPending = false;
	readonly #rx = new Uint8Array(FIFO);
	#rxHead = 0;
	#rxCount = 0;
	/** The back end had more than we took. */
	#rxHungry = false;
	#tx = new Uint8Array(OUT_CAPACITY);
	#txCount = 0;
	#flushQueued = false;

	constructor(host: Host, ports: PortSpace, irq: Irq, options: UartOptions) {
		this.#host = host;
		this.#irq = irq;
		this.#base = options.base;
		this.#backend = options.backend;
		this.#timeout = host.clock.timer(() => {
			if (this.#rxCount === 0) return;
			this.#timeoutPending = true;
			this.#updateIrq();
		});
		this.reset();
		ports.map(
			options.base,
			8,
			{ read8: (at) => this.#reads[at](), write8: (at, value) => this.#write(at, value) },
			options.name ?? 'serial',
		);
		this.#backend?.attach(this);
	}

	reset(): void {
		this.#ier = 0;
		this.#fcr = 0;
		this.#lcr = 0;
		if (this.#mcr & MCR.dtr) this.#backend?.guestOpen?.(false);
		this.#mcr = MCR.out2;
		this.#msr = MSR.dcd | MSR.dsr | MSR.cts;
		this.#scr = 0;
		this.#divisor = 12;
		this.#errors = 0;
		this.#thrPending = false;
		this.#clearRx();
		this.#updateIrq();
	}

	save() {
		return {
			version: 1,
			ier: this.#ier,
			fcr: this.#fcr,
			lcr: this.#lcr,
			mcr: this.#mcr,
			msr: this.#msr,
			scr: this.#scr,
			divisor: this.#divisor,
			errors: this.#errors,
			thrPending: this.#thrPending,
			timeoutPending: this.#timeoutPending,
			rx: Uint8Array.from({ length: this.#rxCount }, (_, i) => this.#rx[(this.#rxHead + i) % FIFO]),
			tx: this.#tx.slice(0, this.#txCount),
		};
	}

	restore(state: DeviceState): void {
		checkVersion('uart', state, 1);
		const s = state as ReturnType<Uart16550['save']>;
		this.#ier = s.ier;
		this.#fcr = s.fcr;
		this.#lcr = s.lcr;
		this.#mcr = s.mcr;
		this.#msr = s.msr;
		this.#scr = s.scr;
		this.#divisor = s.divisor;
		this.#errors = s.errors;
		this.#thrPending = s.thrPending;
		this.#timeoutPending = s.timeoutPending;
		this.#rxHead = 0;
		this.#rxCount = Math.min(FIFO, s.rx.length);
		this.#rx.set(s.rx.subarray(0, FIFO));
		this.#txCount = Math.min(OUT_CAPACITY, s.tx.length);
		this.#tx.set(s.tx.subarray(0, OUT_CAPACITY));
		if (this.#txCount > 0) this.#queueFlush();
		this.#startTimeout();
		this.#updateIrq();
	}

	/** Bytes from the host; takes what the receive FIFO has room for. */
	receive(bytes: Uint8Array): number {
		// In loopback the receiver is cut off from its pin.
		const room = this.#mcr & MCR.loop ? 0 : (this.#fifos ? FIFO : 1) - this.#rxCount;
		const taken = Math.max(0, Math.min(room, bytes.length));
		for (let i = 0; i < taken; i++) this.#rx[(this.#rxHead + this.#rxCount++) % FIFO] = bytes[i];
		this.#rxHungry = taken < bytes.length;
		if (taken > 0) {
			this.#startTimeout();
			this.#updateIrq();
		}
		return taken;
	}

	drained(): void {
		const was = this.#thrEmpty;
		this.#flush();
		if (!was && this.#thrEmpty) {
			this.#thrPending = true;
			this.#updateIrq();
		}
	}

	get #fifos(): boolean {
		return (this.#fcr & FCR.enable) !== 0;
	}
	get #dlab(): boolean {
		return (this.#lcr & LCR_DLAB) !== 0;
	}
	get #thrEmpty(): boolean {
		return this.#txCount <= OUT_CAPACITY - FIFO;
	}

	readonly #reads: readonly (() => number)[] = [
		() => (this.#dlab ? this.#divisor & 0xff : this.#readRbr()),
		() => (this.#dlab ? this.#divisor >> 8 : this.#ier),
		() => this.#readIir(),
		() => this.#lcr,
		() => this.#mcr,
		() => this.#readLsr(),
		() => this.#readMsr(),
		() => this.#scr,
	];

	readonly #writes: readonly ((value: number) => void)[] = [
		(value) => {
			if (this.#dlab) this.#setDivisor((this.#divisor & 0xff00) | value);
			else this.#transmit(value);
		},
		(value) => {
			if (this.#dlab) this.#setDivisor((this.#divisor & 0xff) | (value << 8));
			else this.#writeIer(value);
		},
		(value) => this.#writeFcr(value),
		(value) => {
			this.#lcr = value;
			trace.line(this.#base, this.#divisor, value);
		},
		(value) => this.#writeMcr(value & MCR.mask),
		() => {},
		() => {},
		(value) => {
			this.#scr = value;
		},
	];

	#write(at: number, value: number): void {
		trace.write(this.#base, at, value);
		this.#writes[at](value);
	}

	#readRbr(): number {
		if (this.#rxCount === 0) return 0;
		const value = this.#rx[this.#rxHead];
		this.#rxHead = (this.#rxHead + 1) % FIFO;
		this.#rxCount--;
		this.#timeoutPending = false;
		this.#startTimeout();
		this.#updateIrq();
		// Asking at the last byte rather than at each lets the back end hand over a FIFO's worth at once.
		if (this.#rxCount === 0) this.#askForMore();
		return value;
	}

	#readIir(): number {
		const iir = this.#identify();
		if ((iir & IIR_ID) === IIR.thri) {
			this.#thrPending = false;
			this.#updateIrq();
		}
		return iir;
	}

	#readLsr(): number {
		const lsr = this.#errors | (this.#rxCount > 0 ? LSR.dr : 0) | (this.#thrEmpty ? LSR.thre | LSR.temt : 0);
		if (this.#errors !== 0) {
			this.#errors = 0;
			this.#updateIrq();
		}
		return lsr;
	}

	#readMsr(): number {
		const msr = this.#msr;
		if (msr & MSR.deltas) {
			this.#msr &= ~MSR.deltas;
			this.#updateIrq();
		}
		return msr;
	}

	#writeIer(value: number): void {
		const was = this.#ier;
		this.#ier = value & 0x0f;
		// Enabling it while THR is empty asks at once (Linux tests for UARTs that do not).
		if ((was ^ this.#ier) & IER.thri) this.#thrPending = (this.#ier & IER.thri) !== 0 && this.#thrEmpty;
		this.#updateIrq();
	}

	#writeFcr(value: number): void {
		const toggled = ((value ^ this.#fcr) & FCR.enable) !== 0;
		this.#fcr = value & FCR.enable ? value & FCR.kept : 0;
		if (toggled || value & FCR.clearRx) this.#clearRx();
		if (toggled || value & FCR.clearTx) this.#thrPending = this.#thrEmpty;
		this.#updateIrq();
		if (this.#rxCount === 0) this.#askForMore();
	}

	#writeMcr(value: number): void {
		const was = this.#mcr;
		this.#mcr = value;
		this.#setModemLines();
		if ((was ^ value) & MCR.dtr) this.#backend?.guestOpen?.((value & MCR.dtr) !== 0);
		if (was & MCR.loop && !(value & MCR.loop)) this.#askForMore();
	}

	/** In loopback the modem inputs are this port's own outputs; elsewhere the peer is always there. */
	#setModemLines(): void {
		const mcr = this.#mcr;
		let lines: number = MSR.dcd | MSR.dsr | MSR.cts;
		if (mcr & MCR.loop)
			lines =
				(mcr & MCR.rts ? MSR.cts : 0) |
				(mcr & MCR.dtr ? MSR.dsr : 0) |
				(mcr & MCR.out1 ? MSR.ri : 0) |
				(mcr & MCR.out2 ? MSR.dcd : 0);
		const changed = (this.#msr ^ lines) & ~MSR.deltas;
		// Each delta bit is its line's bit shifted down by four; the ring indicator counts only its falling edge.
		const deltas = (changed & ~MSR.ri) >> 4;
		const ring = this.#msr & MSR.ri & ~lines ? MSR.teri : 0;
		this.#msr = lines | (this.#msr & MSR.deltas) | deltas | ring;
		this.#updateIrq();
	}

	#setDivisor(value: number): void {
		this.#divisor = value;
		trace.line(this.#base, value, this.#lcr);
	}

	#transmit(value: number): void {
		this.#thrPending = false;
		if (this.#mcr & MCR.loop) this.#loopBack(value);
		else if (this.#backend) {
			if (this.#txCount < OUT_CAPACITY) this.#tx[this.#txCount++] = value;
			this.#queueFlush();
		}
		this.#thrPending = this.#thrEmpty;
		this.#updateIrq();
	}

	#loopBack(value: number): void {
		if (this.#rxCount === (this.#fifos ? FIFO : 1)) {
			this.#errors |= LSR.oe;
			trace.overrun(this.#base);
			// Without FIFOs the new character takes the place of the old.
			if (!this.#fifos) this.#rx[this.#rxHead] = value;
			return;
		}
		this.#rx[(this.#rxHead + this.#rxCount++) % FIFO] = value;
		this.#startTimeout();
	}

	#queueFlush(): void {
		if (this.#flushQueued) return;
		this.#flushQueued = true;
		this.#host.defer(() => {
			this.#flushQueued = false;
			this.drained();
		});
	}

	#flush(): void {
		if (this.#txCount === 0 || !this.#backend) return;
		const offered = this.#tx.slice(0, this.#txCount);
		const taken = Math.max(0, Math.min(this.#txCount, this.#backend.write(offered)));
		this.#tx.copyWithin(0, taken, this.#txCount);
		this.#txCount -= taken;
	}

	#clearRx(): void {
		this.#rxCount = 0;
		this.#errors &= ~LSR.bi;
		this.#timeoutPending = false;
		this.#timeout.cancel();
	}

	#askForMore(): void {
		if (!this.#rxHungry) return;
		this.#rxHungry = false;
		this.#backend?.ready?.();
	}

	/** Four character times from now, if bytes wait below the trigger level. */
	#startTimeout(): void {
		if (!this.#fifos || this.#rxCount === 0 || this.#rxCount >= TRIGGER[this.#fcr >> 6]) {
			this.#timeout.cancel();
			return;
		}
		const dataBits = 5 + (this.#lcr & 3);
		const bits = 1 + dataBits + (this.#lcr & 8 ? 1 : 0) + (this.#lcr & 4 ? 2 : 1);
		const bitNs = (Math.max(1, this.#divisor) * 16 * 1e9) / CRYSTAL_HZ;
		this.#timeout.arm(this.#host.clock.now() + 4 * bits * bitNs);
	}

	#identify(): number {
		const fifos = this.#fifos ? IIR.fifos : 0;
		const ier = this.#ier;
		if (ier & IER.rlsi && this.#errors & LSR.errors) return fifos | IIR.rlsi;
		if (ier & IER.rdi) {
			if (this.#rxCount >= (this.#fifos ? TRIGGER[this.#fcr >> 6] : 1)) return fifos | IIR.rdi;
			if (this.#timeoutPending) return fifos | IIR.timeout;
		}
		if (ier & IER.thri && this.#thrPending) return fifos | IIR.thri;
		if (ier & IER.msi && this.#msr & MSR.deltas) return fifos | IIR.msi;
		return fifos | IIR.none;
	}

	#updateIrq(): void {
		const iir = this.#identify();
		const level = (iir & IIR.none) === 0;
		trace.irq(this.#base, level, iir);
		this.#irq.set(level);
	}
}
