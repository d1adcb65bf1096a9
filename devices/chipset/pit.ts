/**
 * 8254 programmable interval timer, ports 40h-43h. Intel 231164, "82C54 CHMOS programmable interval timer".
 * Channel 0 raises IRQ0, channel 2's gate and output belong to port 61h (port61.ts). Only channel 0 has a timer, for its
 * next rising edge.
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
import { PitChannel, tickAt, timeOf } from './pit-channel.ts';

/** Control word (8254, "Control word format"). */
const SELECT_READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
const LATCH = 0;
/** How far channel 0 may lag before missed interrupts are dropped instead of made up for. */
const MAX_BACKLOG_NS = 200e6;

const trace = tracePoints('pit', { irq: ['tick'] });

export class Pit implements Device {
	readonly channels: readonly PitChannel[];
	readonly #clock: Clock;
	readonly #irq: Irq;
	readonly #timer: Timer;
	/** Clock of the last rising edge of channel 0 that was delivered. */
	#served = 0;
	/** The line as driven: it stays up from one rising edge to just before the next. */
	#level = false;

	/** `irq` is ISA request 0. */
	constructor(host: Host, ports: PortSpace, irq: Irq) {
		this.#clock = host.clock;
		this.#irq = irq;
		this.#timer = host.clock.timer(() => this.#fire());
		const changed = (tick: number) => this.#reschedule(tick);
		this.channels = [
			new PitChannel(host.clock, 0, changed),
			new PitChannel(host.clock, 1, () => {}),
			new PitChannel(host.clock, 2, () => {}),
		];
		this.reset();
		ports.map(
			0x40,
			4,
			{
				read8: (at) => (at === 3 ? 0 : this.channels[at].read()),
				write8: (at, value) => {
					if (at === 3) this.#control(value);
					else this.channels[at].write(value);
				},
			},
			'pit',
		);
	}

	reset(): void {
		for (const channel of this.channels) channel.reset();
	}

	save() {
		return { version: 1, channels: this.channels.map((c) => c.save()), served: this.#served, level: this.#level };
	}

	restore(state: DeviceState): void {
		checkVersion('pit', state, 1);
		const { channels, served, level } = state as ReturnType<Pit['save']>;
		for (const [i, channel] of this.channels.entries()) channel.restore(channels[i]);
		this.#served = served;
		this.#drive(level);
		this.#arm();
	}

	#control(value: number): void {
		const select = value >> 6;
		if (select === SELECT_READ_BACK) {
			for (const [i, channel] of this.channels.entries()) {
				if (!(value & (2 << i))) continue;
				if (!(value & READ_BACK_NO_COUNT)) channel.latchCount();
				if (!(value & READ_BACK_NO_STATUS)) channel.latchStatus();
			}
			return;
		}
		const access = (value >> 4) & 3;
		if (access === LATCH) this.channels[select].latchCount();
		else this.channels[select].control(access, (value >> 1) & 7, (value & 1) !== 0);
	}

	/**
	 * Channel 0 counts anew from `tick`, the clock that it was loaded at: reading the time once more could already find
	 * its output risen, and that edge would never be delivered.
	 */
	#reschedule(tick: number): void {
		this.#served = tick;
		this.#drive(this.channels[0].output(tick));
		this.#arm();
	}

	#drive(level: boolean): void {
		this.#level = level;
		this.#irq.set(level);
	}

	#arm(): void {
		const rise = this.channels[0].nextRise(this.#served);
		if (rise === Number.POSITIVE_INFINITY) this.#timer.cancel();
		else this.#timer.arm(timeOf(rise));
	}

	#fire(): void {
		const now = this.#clock.now();
		const rise = this.channels[0].nextRise(this.#served);
		if (timeOf(rise) > now) {
			this.#arm();
			return;
		}
		this.#served = rise;
		if (now - timeOf(rise) > MAX_BACKLOG_NS) this.#served = tickAt(now - MAX_BACKLOG_NS);
		trace.irq(rise);
		// Between two rises the output falls once, at a moment when nobody looks: one timer makes the whole pulse.
		this.#drive(false);
		this.#drive(true);
		this.#arm();
	}
}
