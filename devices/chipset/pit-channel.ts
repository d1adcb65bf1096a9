/**
 * One channel of an 8254. Intel 231164, "82C54 CHMOS programmable interval timer", "Mode definitions". Nothing counts: a
 * channel knows when its count was loaded, and everything else follows from the clock when somebody looks.
 */
import { type Clock, tracePoints } from '../../src/core/index.ts';

/** Input clock, Hz: 14.31818 MHz / 12. */
export const PIT_HZ = 1193182;
const NS = 1e9;
/** Read/write select of the control word: which bytes of the count the port moves. */
const LSB = 1;
const MSB = 2;
const WORD = 3;
/** Status byte. */
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;

const trace = tracePoints('pit', {
	control: ['channel', 'mode', 'access', 'bcd'],
	count: ['channel', 'count'],
	gate: ['channel', 'level'],
});

/** Whole input clocks that have passed at `ns`. */
export function tickAt(ns: number): number {
	return Math.floor((ns * PIT_HZ) / NS);
}
/** The first ns at which `tick` clocks have passed. */
export function timeOf(tick: number): number {
	const ns = Math.ceil((tick * NS) / PIT_HZ);
	return tickAt(ns) < tick ? ns + 1 : ns;
}

export class PitChannel {
	readonly #clock: Clock;
	readonly #number: number;
	/** Called when the output's future has changed, with the clock from which on. */
	readonly #changed: (tick: number) => void;
	mode = 0;
	bcd = false;
	access = WORD;
	gate: boolean;
	/** Initial count, 1..65536 (10000 in BCD). */
	count = 65536;
	/** Clock at which the counting element took the count; meaningless unless loaded. */
	#start = 0;
	/** A count has been written since the control word; modes 1 and 5 also need a trigger. */
	#loaded = false;
	#triggered = false;
	/** Clocks counted so far while the gate holds the counter still, or -1. */
	#held = -1;
	/** A count written while another runs, or 0: waits for clock #nextAt (modes 2 and 3) or for a trigger (all but 0 and 4). */
	#next = 0;
	#nextAt = Number.POSITIVE_INFINITY;
	/** What #start becomes when #next is taken at #nextAt. */
	#nextStart = 0;
	/** First byte of a two-byte write, or -1. */
	#lowByte = -1;
	#readHigh = false;
	/** Latched count, one or two bytes left to read. */
	#latch = 0;
	#latchBytes = 0;
	#statusLatch = -1;
	/** Called while the output up to now can still be asked for, before a write or the gate changes it. */
	beforeChange: (() => void) | undefined;

	constructor(clock: Clock, number: number, changed: (tick: number) => void) {
		this.#clock = clock;
		this.#number = number;
		this.#changed = changed;
		this.gate = number !== 2;
	}

	/** As QEMU starts: mode 3 with the longest count, running. Hardware leaves it undefined. */
	reset(): void {
		this.control(WORD, 3, false);
		this.gate = this.#number !== 2;
		this.#load(0);
		this.#latch = 0;
		this.#latchBytes = 0;
		this.#statusLatch = -1;
	}

	save() {
		return {
			mode: this.mode,
			bcd: this.bcd,
			access: this.access,
			gate: this.gate,
			count: this.count,
			start: this.#start,
			loaded: this.#loaded,
			triggered: this.#triggered,
			held: this.#held,
			next: this.#next,
			nextAt: Number.isFinite(this.#nextAt) ? this.#nextAt : -1,
			nextStart: this.#nextStart,
			lowByte: this.#lowByte,
			readHigh: this.#readHigh,
			latch: this.#latch,
			latchBytes: this.#latchBytes,
			statusLatch: this.#statusLatch,
		};
	}

	restore(s: ReturnType<PitChannel['save']>): void {
		this.mode = s.mode;
		this.bcd = s.bcd;
		this.access = s.access;
		this.gate = s.gate;
		this.count = s.count;
		this.#start = s.start;
		this.#loaded = s.loaded;
		this.#triggered = s.triggered;
		this.#held = s.held;
		this.#next = s.next;
		this.#nextAt = s.nextAt < 0 ? Number.POSITIVE_INFINITY : s.nextAt;
		this.#nextStart = s.nextStart;
		this.#lowByte = s.lowByte;
		this.#readHigh = s.readHigh;
		this.#latch = s.latch;
		this.#latchBytes = s.latchBytes;
		this.#statusLatch = s.statusLatch;
	}

	/** A control word other than latch or read-back. */
	control(access: number, mode: number, bcd: boolean): void {
		trace.control(this.#number, mode, access, bcd);
		this.beforeChange?.();
		this.access = access;
		this.mode = mode > 5 ? mode & 3 : mode;
		this.bcd = bcd;
		this.#loaded = false;
		this.#triggered = false;
		this.#held = -1;
		this.#next = 0;
		this.#forgetNext();
		this.#lowByte = -1;
		this.#readHigh = false;
		this.#latchBytes = 0;
		this.#changed(this.#now());
	}

	latchCount(): void {
		if (this.#latchBytes > 0) return;
		this.#latch = this.value();
		this.#latchBytes = this.access === WORD ? 2 : 1;
	}

	latchStatus(): void {
		if (this.#statusLatch >= 0) return;
		this.#statusLatch =
			(this.output() ? STATUS_OUT : 0) |
			(this.#loaded && this.#next === 0 ? 0 : STATUS_NULL_COUNT) |
			(this.access << 4) |
			(this.mode << 1) |
			(this.bcd ? 1 : 0);
	}

	read(): number {
		if (this.#statusLatch >= 0) {
			const status = this.#statusLatch;
			this.#statusLatch = -1;
			return status;
		}
		if (this.#latchBytes > 0) {
			const high = this.access === MSB || (this.access === WORD && this.#latchBytes === 1);
			this.#latchBytes--;
			return high ? this.#latch >> 8 : this.#latch & 0xff;
		}
		const high = this.access === MSB || (this.access === WORD && this.#readHigh);
		if (this.access === WORD) this.#readHigh = !this.#readHigh;
		return high ? this.value() >> 8 : this.value() & 0xff;
	}

	write(byte: number): void {
		this.beforeChange?.();
		if (this.access === LSB) this.#load(byte);
		else if (this.access === MSB) this.#load(byte << 8);
		else if (this.#lowByte < 0) {
			this.#lowByte = byte;
			// In mode 0 the first byte of a new count stops the counter and takes the output low.
			if (this.mode === 0 && this.#loaded) {
				this.#loaded = false;
				this.#changed(this.#now());
			}
		} else {
			const count = this.#lowByte | (byte << 8);
			this.#lowByte = -1;
			this.#load(count);
		}
	}

	setGate(level: boolean): void {
		if (level === this.gate) return;
		this.beforeChange?.();
		trace.gate(this.#number, level);
		const now = this.#now();
		this.#takeNext(now);
		this.gate = level;
		if (this.mode !== 0 && this.mode !== 4) {
			if (level) {
				if (this.#next > 0) this.count = this.#next;
				this.#next = 0;
				this.#triggered = this.#loaded;
				this.#start = now;
			}
			// While the gate is low no cycle ends: a waiting count is taken when the gate rises.
			this.#forgetNext();
		} else if (level) {
			if (this.#held >= 0) this.#start = now - this.#held;
			this.#held = -1;
		} else if (this.#loaded) {
			this.#held = now - this.#start;
		}
		this.#changed(now);
	}

	/** The level of OUT, now or at an earlier clock since the last change. */
	output(now = this.#now()): boolean {
		this.#takeNext(now);
		if (!this.#loaded) return this.mode !== 0;
		const passed = this.#held >= 0 ? this.#held : now - this.#start;
		switch (this.mode) {
			case 0:
				return passed >= this.count;
			case 1:
				return !this.#triggered || passed >= this.count;
			case 2:
				return !this.gate || passed % this.count !== this.count - 1;
			case 3:
				return !this.gate || passed % this.count < (this.count + 1) >> 1;
			case 4:
				return passed !== this.count;
			default:
				return !this.#triggered || passed !== this.count;
		}
	}

	/** The counting element as read: 16 bits, or four BCD digits. */
	value(): number {
		const now = this.#now();
		this.#takeNext(now);
		const modulus = this.bcd ? 10000 : 65536;
		const passed = this.#passed(now);
		let left: number;
		if (this.mode === 2) left = this.count - (passed % this.count);
		else if (this.mode === 3) {
			// Counts down by two, twice a cycle; an odd count is first made even.
			const half = (this.count + 1) >> 1;
			const inCycle = passed % this.count;
			left = (this.count & ~1) - 2 * (inCycle < half ? inCycle : inCycle - half);
		} else left = this.count - passed;
		left = ((left % modulus) + modulus) % modulus;
		return this.bcd ? toBcd(left) : left;
	}

	/** The next clock after `tick` at which OUT rises, or Infinity. */
	nextRise(tick: number): number {
		if (!this.#loaded || this.#held >= 0) return Number.POSITIVE_INFINITY;
		const end = this.#start + this.count;
		switch (this.mode) {
			case 0:
				return end > tick ? end : Number.POSITIVE_INFINITY;
			case 1:
				return this.#triggered && end > tick ? end : Number.POSITIVE_INFINITY;
			case 4:
				return end + 1 > tick ? end + 1 : Number.POSITIVE_INFINITY;
			case 5:
				return this.#triggered && end + 1 > tick ? end + 1 : Number.POSITIVE_INFINITY;
			default: {
				if (!this.gate) return Number.POSITIVE_INFINITY;
				const rise = cycleAfter(tick, this.#start, this.count);
				if (rise < this.#nextAt) return rise;
				return cycleAfter(Math.max(tick, this.#nextAt - 1), this.#nextStart, this.#next);
			}
		}
	}

	#now(): number {
		return tickAt(this.#clock.now());
	}

	/** Clocks that the counting element has made since it was loaded. */
	#passed(now: number): number {
		if (!this.#loaded) return 0;
		if (this.#held >= 0) return this.#held;
		if ((this.mode === 1 || this.mode === 5) && !this.#triggered) return 0;
		if ((this.mode === 2 || this.mode === 3) && !this.gate) return 0;
		return now - this.#start;
	}

	#takeNext(tick: number): void {
		if (tick < this.#nextAt) return;
		this.count = this.#next;
		this.#start = this.#nextStart;
		this.#next = 0;
		this.#forgetNext();
	}

	/** No moment is set at which a waiting count is taken. */
	#forgetNext(): void {
		this.#nextAt = Number.POSITIVE_INFINITY;
		this.#nextStart = 0;
	}

	#load(raw: number): void {
		const limit = this.bcd ? 10000 : 65536;
		let count = this.bcd ? fromBcd(raw) : raw;
		if (count === 0) count = limit;
		trace.count(this.#number, count);
		const now = this.#now();
		this.#takeNext(now);
		if ((this.mode === 2 || this.mode === 3) && this.#loaded && this.gate) this.#loadNext(count, now);
		else if ((this.mode === 1 || this.mode === 5) && this.#triggered) this.#next = count;
		else {
			this.count = count;
			this.#next = 0;
			this.#start = now;
			this.#loaded = true;
			this.#held = !this.gate && (this.mode === 0 || this.mode === 4) ? 0 : -1;
		}
		this.#changed(now);
	}

	/** A count for a running rate or square wave generator waits for the end of the cycle, in mode 3 of the half cycle. */
	#loadNext(count: number, now: number): void {
		this.#next = count;
		const end = cycleAfter(now, this.#start, this.count);
		const middle = end - (this.count >> 1);
		const inHighHalf = this.mode === 3 && now < middle;
		this.#nextAt = inHighHalf ? middle : end;
		this.#nextStart = inHighHalf ? middle - ((count + 1) >> 1) : end;
	}
}

/** The first start of a cycle after `tick`, cycles being `count` clocks long from `start`. */
function cycleAfter(tick: number, start: number, count: number): number {
	return start + (Math.floor((tick - start) / count) + 1) * count;
}

function toBcd(n: number): number {
	return (Math.floor(n / 1000) << 12) | ((Math.floor(n / 100) % 10) << 8) | ((Math.floor(n / 10) % 10) << 4) | (n % 10);
}
/** Digits above 9 count for what they weigh; the result stays in 0..16665 and is taken modulo 10000. */
function fromBcd(raw: number): number {
	return ((raw >> 12) * 1000 + ((raw >> 8) & 15) * 100 + ((raw >> 4) & 15) * 10 + (raw & 15)) % 10000;
}
