/**
 * MC146818A real-time clock with 128 bytes of CMOS memory, ports 70h/71h. Motorola MC146818A data sheet; what the
 * BIOS keeps in the memory is in cmos.ts. Time is calendar time plus what the guest set it off by, always UTC as QEMU's
 * default. Flags are worked out when somebody looks; a timer runs only while an interrupt is enabled.
 */
import {
	type Clock,
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type Irq,
	type PortSpace,
	type Timer,
	tracePoints,
} from '../../src/core/index.ts';

/** Time registers, "Address map". */
const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const WEEKDAY = 6;
const DAY = 7;
const MONTH = 8;
const YEAR = 9;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
/** Century, where ACPI's FADT says it is, and the PS/2's place for the same byte. */
const CENTURY = 0x32;
const PS2_CENTURY = 0x37;

const A_UIP = 0x80;
const A_DIVIDER = 0x70;
/** Divider chain held in reset: both patterns 11x. */
const A_DIVIDER_RESET = 0x60;
const A_RATE = 0x0f;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_SQWE = 0x08;
const B_BINARY = 0x04;
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VALID = 0x80;
const PM = 0x80;

/** The update flag rises this long before the second ends (t_BUC). */
const UIP_MS = 0.244140625;
const DAY_S = 86400;
/** Alarm bytes from here up match anything. */
const DONT_CARE = 0xc0;

const trace = tracePoints('rtc', {
	read: ['index', 'value'],
	write: ['index', 'value'],
	irq: ['flags'],
	set: ['ms'],
});

export class Rtc implements Device {
	/** All 128 bytes; the first fourteen and the century are the clock's own. */
	readonly #ram = new Uint8Array(128);
	readonly #clock: Clock;
	readonly #irq: Irq;
	readonly #timer: Timer;
	#index = 0;
	/** Calendar time at machine time 0, ms; follows the host's calendar when that strays from machine time. */
	#base: number;
	/** The guest's time minus calendar time, ms. */
	#offset = 0;
	/** Second up to which UF and AF are worked out. */
	#second = 0;
	/** Machine time at which the periodic divider started, ns, and the periods counted since. */
	#periodicBase = 0;
	#periods = 0;

	/** `irq` is ISA request 8. */
	constructor(host: Host, ports: PortSpace, irq: Irq) {
		this.#clock = host.clock;
		this.#irq = irq;
		this.#base = host.clock.wall() - host.clock.now() / 1e6;
		this.#timer = host.clock.timer(() => this.#update());
		this.#ram[A] = 0x26;
		this.#ram[B] = B_24H;
		this.#ram[D] = D_VALID;
		this.#second = Math.floor(this.#now() / 1000);
		this.#showTime();
		ports.map(
			0x70,
			2,
			{
				// The index register cannot be read back.
				read8: (at) => (at === 0 ? 0xff : this.#read(this.#index)),
				write8: (at, value) => {
					// Bit 7 masks NMI, which the core does not have.
					if (at === 0) this.#index = value & 0x7f;
					else this.#write(this.#index, value);
				},
			},
			'rtc',
		);
	}

	/** A system reset leaves time and memory alone: the battery holds them. */
	reset(): void {
		this.#ram[B] &= ~(B_PIE | B_AIE | B_SQWE);
		this.#ram[C] = 0;
		this.#update();
	}

	save() {
		return {
			version: 1,
			ram: this.#ram.slice(),
			index: this.#index,
			offset: this.#offset,
			second: this.#second,
			periodicBase: this.#periodicBase,
			periods: this.#periods,
		};
	}

	restore(state: DeviceState): void {
		checkVersion('rtc', state, 1);
		const s = state as ReturnType<Rtc['save']>;
		this.#ram.set(s.ram.subarray(0, this.#ram.length));
		this.#index = s.index & 0x7f;
		this.#offset = s.offset;
		this.#second = s.second;
		this.#periodicBase = s.periodicBase;
		this.#periods = s.periods;
		this.#base = this.#clock.wall() - this.#clock.now() / 1e6;
		this.#drive();
	}

	/** CMOS memory for the board to fill: bytes 0x0e..0x7f; throws RangeError elsewhere. */
	setCmos(index: number, value: number): void {
		if (!(index > D && index < this.#ram.length)) throw new RangeError(`CMOS byte ${index} is the clock's`);
		this.#ram[index] = value;
	}
	cmos(index: number): number {
		return this.#ram[index];
	}

	#read(index: number): number {
		this.#update();
		let value: number;
		if (index === C) {
			value = this.#ram[C];
			this.#ram[C] = 0;
			this.#drive();
		} else if (index === A) {
			value = this.#ram[A] | (this.#updating() ? A_UIP : 0);
		} else {
			value = this.#ram[index === PS2_CENTURY ? CENTURY : index];
		}
		trace.read(index, value);
		return value;
	}

	#write(index: number, value: number): void {
		trace.write(index, value);
		this.#update();
		switch (index) {
			case A:
			case B:
				this.#writeControl(index, value);
				break;
			case C:
			case D:
				break;
			case PS2_CENTURY:
				this.#writeTime(CENTURY, value);
				break;
			default:
				if (index <= YEAR || index === CENTURY) this.#writeTime(index, value);
				else this.#ram[index] = value;
		}
		this.#drive();
	}

	/** Registers A and B: may stop the clock, start it with what was set, or change how time is written down. */
	#writeControl(index: number, value: number): void {
		const was = this.#stopped;
		const dividerWas = this.#ram[A] & A_DIVIDER_RESET;
		const ms = this.#now() % 1000;
		const rateWas = this.#ram[A] & (A_RATE | A_DIVIDER);
		if (index === A) this.#ram[A] = value & ~A_UIP;
		// Setting SET also clears UIE.
		else this.#ram[B] = value & B_SET ? value & ~B_UIE : value;
		if (was && !this.#stopped)
			// Out of divider reset the first update comes half a second later; SET alone does not disturb the divider.
			this.#setTime(dividerWas === A_DIVIDER_RESET ? 500 : ms);
		else if (!was && !this.#stopped) this.#showTime();
		if ((this.#ram[A] & (A_RATE | A_DIVIDER)) !== rateWas) {
			this.#periodicBase = this.#clock.now();
			this.#periods = 0;
		}
	}

	#writeTime(index: number, value: number): void {
		const alarm = index === SECONDS_ALARM || index === MINUTES_ALARM || index === HOURS_ALARM;
		this.#ram[index] = value;
		if (!alarm && !this.#stopped) this.#setTime(this.#now() % 1000);
	}

	get #stopped(): boolean {
		return (this.#ram[B] & B_SET) !== 0 || (this.#ram[A] & A_DIVIDER_RESET) === A_DIVIDER_RESET;
	}

	/** The guest's calendar time, ms since 1970, with the fraction that the host's calendar lacks. */
	#now(): number {
		const machine = this.#clock.now() / 1e6;
		const wall = this.#clock.wall();
		if (Math.abs(this.#base + machine - wall) > 20) this.#base = wall - machine;
		return this.#base + machine + this.#offset;
	}

	#updating(): boolean {
		return !this.#stopped && this.#now() % 1000 >= 1000 - UIP_MS;
	}

	/** Brings time registers and flags up to now, and the interrupt line with them. */
	#update(): void {
		if (!this.#stopped) {
			const second = Math.floor(this.#now() / 1000);
			if (second !== this.#second) {
				this.#ram[C] |= C_UF;
				// A calendar that was set back passes no alarm.
				if (second > this.#second && this.#nextAlarm(this.#second) <= second) this.#ram[C] |= C_AF;
				this.#second = second;
				this.#showTime();
			}
		}
		const period = this.#periodNs();
		if (period > 0) {
			const periods = Math.floor((this.#clock.now() - this.#periodicBase) / period);
			if (periods > this.#periods) this.#ram[C] |= C_PF;
			this.#periods = periods;
		}
		this.#drive();
	}

	/** IRQF, the line, and the timer for the next enabled event. */
	#drive(): void {
		const flags = this.#ram[C] & this.#ram[B] & (C_PF | C_AF | C_UF);
		if (flags !== 0 && !(this.#ram[C] & C_IRQF)) trace.irq(flags);
		this.#ram[C] = flags !== 0 ? this.#ram[C] | C_IRQF : this.#ram[C] & ~C_IRQF;
		this.#irq.set(flags !== 0);
		this.#arm();
	}

	#arm(): void {
		const enabled = this.#ram[B];
		const now = this.#clock.now();
		let next = Number.POSITIVE_INFINITY;
		const period = this.#periodNs();
		if (enabled & B_PIE && period > 0) next = this.#periodicBase + (this.#periods + 1) * period;
		if (enabled & (B_UIE | B_AIE) && !this.#stopped) {
			const second = enabled & B_UIE ? this.#second + 1 : this.#nextAlarm(this.#second);
			if (second < Number.POSITIVE_INFINITY) next = Math.min(next, now + (second * 1000 - this.#now()) * 1e6);
		}
		if (next === Number.POSITIVE_INFINITY) this.#timer.cancel();
		// One ns more than the exact moment: rounding must not wake us just before it.
		else this.#timer.arm(Math.ceil(next) + 1);
	}

	/** Length of the periodic interrupt's period, ns; 0 while it is off. Data sheet, table 5. */
	#periodNs(): number {
		let rate = this.#ram[A] & A_RATE;
		// Dividers 0 and 1 are for faster crystals, which no PC has.
		if (rate === 0 || (this.#ram[A] & A_DIVIDER) > 0x20) return 0;
		if (rate <= 2) rate += 7;
		return (2 ** (rate - 1) * 1e9) / 32768;
	}

	/** First second after `from` that the alarm registers match, or Infinity. */
	#nextAlarm(from: number): number {
		const field = (index: number, decode: (byte: number) => number) =>
			this.#ram[index] >= DONT_CARE ? -1 : decode(this.#ram[index]);
		const s = field(SECONDS_ALARM, (v) => this.#decode(v));
		const m = field(MINUTES_ALARM, (v) => this.#decode(v));
		const h = field(HOURS_ALARM, (v) => this.#decodeHour(v));
		if (s > 59 || m > 59 || h > 23) return Number.POSITIVE_INFINITY;
		const day = Math.floor((from + 1) / DAY_S) * DAY_S;
		const start = from + 1 - day;
		for (let hour = Math.floor(start / 3600); hour < 48; hour++) {
			if (h >= 0 && hour % 24 !== h) continue;
			for (let minute = 0; minute < 60; minute++) {
				if (m >= 0 && minute !== m) continue;
				const at = hour * 3600 + minute * 60;
				const candidate = s >= 0 ? at + s : Math.max(at, start);
				if (candidate >= start && candidate < at + 60) return day + candidate;
			}
		}
		return Number.POSITIVE_INFINITY;
	}

	/** Writes the guest's time into the time registers. */
	#showTime(): void {
		const d = new Date(this.#second * 1000);
		this.#ram[SECONDS] = this.#encode(d.getUTCSeconds());
		this.#ram[MINUTES] = this.#encode(d.getUTCMinutes());
		this.#ram[HOURS] = this.#encodeHour(d.getUTCHours());
		this.#ram[WEEKDAY] = this.#encode(d.getUTCDay() + 1);
		this.#ram[DAY] = this.#encode(d.getUTCDate());
		this.#ram[MONTH] = this.#encode(d.getUTCMonth() + 1);
		this.#ram[YEAR] = this.#encode(d.getUTCFullYear() % 100);
		this.#ram[CENTURY] = this.#encode(Math.floor(d.getUTCFullYear() / 100));
	}

	/** Makes the time registers the guest's time, `fraction` ms into that second. */
	#setTime(fraction: number): void {
		const r = this.#ram;
		const year = this.#decode(r[CENTURY]) * 100 + this.#decode(r[YEAR]);
		const date = new Date(0);
		// Bytes that are no date at all roll over; the result is some time, as on hardware.
		date.setUTCFullYear(year, this.#decode(r[MONTH]) - 1, this.#decode(r[DAY]));
		date.setUTCHours(this.#decodeHour(r[HOURS]), this.#decode(r[MINUTES]), this.#decode(r[SECONDS]));
		const ms = date.getTime() + fraction;
		trace.set(ms);
		this.#offset += ms - this.#now();
		this.#second = Math.floor(this.#now() / 1000);
		this.#showTime();
	}

	#encode(n: number): number {
		return this.#ram[B] & B_BINARY ? n : (Math.floor(n / 10) << 4) | (n % 10);
	}
	#decode(byte: number): number {
		return this.#ram[B] & B_BINARY ? byte : (byte >> 4) * 10 + (byte & 15);
	}
	#encodeHour(hour: number): number {
		if (this.#ram[B] & B_24H) return this.#encode(hour);
		return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? PM : 0);
	}
	#decodeHour(byte: number): number {
		if (this.#ram[B] & B_24H) return this.#decode(byte);
		return (this.#decode(byte & ~PM) % 12) + (byte & PM ? 12 : 0);
	}
}
