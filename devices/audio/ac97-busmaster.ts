/**
 * One bus master of the AC'97 controller (PCM in, PCM out or mic in): it walks a ring of 32 buffer descriptors in guest
 * memory at the codec's pace. Intel 82801AA (ICH) datasheet, "AC '97 Audio Controller", native audio bus mastering
 * control registers (x_BDBAR .. x_CR).
 *
 * How far it is follows from the clock: what is due since the start, less what was moved. So nothing adds up to drift,
 * however late a timer comes.
 */
import {
	type Clock,
	GuestFault,
	guestError,
	type Host,
	nextAudioTick,
	RegisterFile,
	registers,
	type StateValue,
	type Timer,
	tracePoints,
} from '../../src/core/index.ts';

export const busMaster = registers({
	bdbar: { at: 0x0, size: 4, w: 0xfffffff8, doc: 'physical address of the descriptor list' },
	civ: { at: 0x4, size: 1, doc: 'index of the current descriptor' },
	lvi: { at: 0x5, size: 1, w: 0x1f, doc: 'index of the last valid descriptor' },
	sr: { at: 0x6, size: 2, reset: 0x0001, w1c: 0x001c, doc: 'status: 4 FIFOE, 3 BCIS, 2 LVBCI, 1 CELV, 0 DCH' },
	picb: { at: 0x8, size: 2, doc: 'samples left in the current buffer' },
	piv: { at: 0xa, size: 1, doc: 'index of the descriptor fetched next' },
	cr: { at: 0xb, size: 1, w: 0x1f, doc: 'control: 4 IOCE, 3 FEIE, 2 LVBIE, 1 RR, 0 RPBM' },
});

const Sr = { dch: 0x01, celv: 0x02, lvbci: 0x04, bcis: 0x08, fifoe: 0x10 } as const;
const Cr = { rpbm: 0x01, rr: 0x02, lvbie: 0x04, feie: 0x08, ioce: 0x10 } as const;
/** Descriptor: buffer pointer, then length in samples with two flags above it. */
const DESCRIPTORS = 32;
const DESCRIPTOR_SIZE = 8;
const IOC = 0x80000000;

const CHANNELS = 2;
const MS = 1e6;
const SECOND = 1e9;
/** Sound moves not more often than this, however short the guest's buffers are, ns. */
const SHORTEST = MS;
/** After a stall: what one turn moves at most, and when the next one comes, ns. The guest refills in between. */
const TURN = 20 * MS;
const NEXT_TURN = 4 * MS;
/** Time that a stall may take and still be made up for, ns. */
const MAX_LAG = 250 * MS;
/**
 * A guest that polls its position gets it this exact, samples. Linux measures the codec's clock in 50 ms by it and takes one
 * that is off by 1 % for another clock (intel8x0_measure_ac97_clock).
 */
const GRAIN = 16;

const trace = tracePoints('ac97', {
	start: ['box', 'bdbar', 'lvi', 'rate'],
	stop: ['box', 'civ', 'picb'],
	buffer: ['box', 'index', 'address', 'samples'],
	done: ['box', 'civ', 'sr'],
	slip: ['box', 'ns'],
});

class BusMasterOff extends Error {
	constructor() {
		super('started with bus mastering switched off');
	}
}

/** The codec's end of a bus master. */
export interface BusMasterEnd {
	/** Frames move at `rate` from now on. */
	start(rate: number): void;
	stop(): void;
	/** Moves `count` samples from or to guest memory. Throws GuestFault. */
	move(address: number, count: number): void;
	/** A turn is over. */
	flush(): void;
}

export interface BusMasterOptions {
	readonly name: string;
	readonly host: Host;
	readonly end: BusMasterEnd;
	/** The codec's rate for this one, Hz. */
	readonly rate: () => number;
	/** The function's bus master enable bit. */
	readonly mayMaster: () => boolean;
	/** `interrupt` may have changed. */
	readonly changed: () => void;
}

export class BusMaster {
	readonly regs: RegisterFile<typeof busMaster>;
	readonly #options: BusMasterOptions;
	readonly #clock: Clock;
	readonly #timer: Timer;
	/** Next sample in guest memory. */
	#address = 0;
	#flags = 0;
	/** A descriptor has been fetched since the registers were reset. */
	#fetched = false;
	#rate = 0;
	/** One line in the log for each reset of the machine, however often the guest tries again. */
	#complained = false;
	/** When the DMA began at its present rate, ns, and how many samples it has moved since. */
	#since = 0;
	#moved = 0;

	constructor(options: BusMasterOptions) {
		this.#options = options;
		this.#clock = options.host.clock;
		this.#timer = this.#clock.timer(() => this.#turn());
		const catchUp = () => this.#catchUp();
		this.regs = new RegisterFile(busMaster, {
			read: { civ: catchUp, sr: catchUp, picb: catchUp, piv: catchUp },
			write: {
				lvi: () => this.#extend(),
				sr: () => options.changed(),
				cr: (now, was) => this.#control(now, was),
			},
		});
	}

	get interrupt(): boolean {
		const { sr, cr } = this.regs;
		return (
			((sr & Sr.bcis) !== 0 && (cr & Cr.ioce) !== 0) ||
			((sr & Sr.lvbci) !== 0 && (cr & Cr.lvbie) !== 0) ||
			((sr & Sr.fifoe) !== 0 && (cr & Cr.feie) !== 0)
		);
	}

	get running(): boolean {
		return (this.regs.sr & Sr.dch) === 0;
	}

	/** Power-on state. */
	reset(): void {
		this.#complained = false;
		this.clear();
	}

	/** Every register as after power-on: the guest resets this bus master or the controller. */
	clear(): void {
		this.#halt();
		this.regs.reset();
		this.#fetched = false;
		this.#address = 0;
		this.#flags = 0;
		this.#rate = 0;
		this.#since = 0;
		this.#moved = 0;
	}

	save(): { [key: string]: StateValue } {
		return {
			regs: this.regs.save(),
			address: this.#address,
			flags: this.#flags,
			fetched: this.#fetched,
			rate: this.#rate,
			since: this.#since,
			moved: this.#moved,
		};
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		this.#halt();
		this.regs.restore(state.regs as { [name: string]: StateValue });
		this.#address = Number(state.address);
		this.#flags = Number(state.flags);
		this.#fetched = state.fetched === true;
		this.#rate = Number(state.rate);
		this.#since = Number(state.since);
		this.#moved = Number(state.moved);
		if (!this.running) return;
		this.#options.end.start(this.#rate);
		this.#arm(this.#clock.now());
	}

	/** The codec runs at another rate from here on. */
	rateChanged(): void {
		if (!this.running || this.#options.rate() === this.#rate) return;
		this.#catchUp();
		if (this.running) this.#start();
	}

	#control(now: number, was: number): void {
		if (now & Cr.rr) {
			// Bits that enable interrupts survive; everything else is as after power-on.
			const kept = now & (Cr.ioce | Cr.feie | Cr.lvbie);
			this.clear();
			this.regs.cr = kept;
		} else if (now & ~was & Cr.rpbm) {
			this.#resume();
		} else if (was & ~now & Cr.rpbm) {
			this.#catchUp();
			this.#halt();
		}
		this.#options.changed();
	}

	/** A paused buffer goes on where it was; otherwise the next one begins. */
	#resume(): void {
		if (!this.#fetched || this.regs.picb === 0) {
			if (!this.#advance()) return;
		}
		this.#start();
	}

	/** A guest that appends to its list sets LVI; if the walk had ended at the old one, it goes on. */
	#extend(): void {
		const { regs } = this;
		if (!(regs.cr & Cr.rpbm) || this.running) return;
		if (!this.#advance()) return;
		regs.sr &= ~Sr.celv;
		this.#start();
		this.#options.changed();
	}

	#start(): void {
		const { regs } = this;
		regs.sr &= ~Sr.dch;
		this.#rate = this.#options.rate();
		this.#since = this.#clock.now();
		this.#moved = 0;
		trace.start(this.#options.name, regs.bdbar, regs.lvi, this.#rate);
		this.#options.end.start(this.#rate);
		this.#arm(this.#since);
	}

	#halt(): void {
		if (!this.running) return;
		this.#timer.cancel();
		this.regs.sr |= Sr.dch;
		trace.stop(this.#options.name, this.regs.civ, this.regs.picb);
		this.#options.end.flush();
		this.#options.end.stop();
	}

	/** Samples that the codec's clock has called for since the start and that were not moved yet. */
	#due(now: number): number {
		return Math.floor(((now - this.#since) * this.#rate) / SECOND) * CHANNELS - this.#moved;
	}

	/** The guest looks: what it sees as done must be done, since it may write there next. */
	#catchUp(): void {
		if (!this.running) return;
		const now = this.#clock.now();
		if (this.#due(now) >= Math.min(GRAIN, this.regs.picb)) this.#run(now);
	}

	#turn(): void {
		const now = this.#clock.now();
		if (this.running) this.#run(now);
	}

	#run(now: number): void {
		const { regs } = this;
		const { end, name } = this.#options;
		const lag = now - this.#since - (this.#moved / CHANNELS / this.#rate) * SECOND;
		if (lag > MAX_LAG) {
			trace.slip(name, lag);
			this.#since += lag - TURN;
		}
		let left = Math.min(this.#due(now), samplesIn(TURN, this.#rate));
		try {
			// Empty buffers take no samples, but each brings CIV nearer to LVI, where the walk ends.
			while (left > 0 && this.running) {
				const count = Math.min(left, regs.picb);
				if (count > 0) {
					this.#checkMaster();
					end.move(this.#address, count);
				}
				this.#address += count * 2;
				regs.picb -= count;
				this.#moved += count;
				left -= count;
				if (regs.picb === 0) this.#bufferDone();
			}
		} catch (error) {
			this.#fault(error);
		}
		end.flush();
		if (this.running) this.#arm(now);
		this.#options.changed();
	}

	/** Up to the end of the buffer, or the next tick; sooner while there is something to catch up with. */
	#arm(now: number): void {
		const samples = this.#moved + this.regs.picb;
		const end = this.#since + Math.ceil((samples / CHANNELS / this.#rate) * SECOND);
		const behind = this.#due(now) >= GRAIN;
		this.#timer.arm(behind ? now + NEXT_TURN : Math.min(nextAudioTick(now), Math.max(now + SHORTEST, end)));
	}

	#bufferDone(): void {
		const { regs } = this;
		if (this.#flags & IOC) regs.sr |= Sr.bcis;
		if (regs.civ === regs.lvi) {
			regs.sr |= Sr.lvbci | Sr.celv;
			this.#halt();
		} else {
			regs.sr &= ~Sr.celv;
			this.#fetch();
		}
		trace.done(this.#options.name, regs.civ, regs.sr);
	}

	/** The prefetched descriptor becomes the current one. False if guest memory does not hold it. */
	#advance(): boolean {
		try {
			this.#fetch();
			return true;
		} catch (error) {
			this.#fault(error);
			this.#options.changed();
			return false;
		}
	}

	#fetch(): void {
		const { regs } = this;
		const { dma } = this.#options.host;
		this.#checkMaster();
		regs.civ = regs.piv;
		regs.piv = (regs.piv + 1) % DESCRIPTORS;
		this.#fetched = true;
		const at = regs.bdbar + regs.civ * DESCRIPTOR_SIZE;
		this.#address = (dma.read32(at) & ~1) >>> 0;
		this.#flags = dma.read32(at + 4);
		regs.picb = this.#flags & 0xffff;
		trace.buffer(this.#options.name, regs.civ, this.#address, regs.picb);
	}

	#checkMaster(): void {
		if (!this.#options.mayMaster()) throw new BusMasterOff();
	}

	/** A transfer that the bus did not complete: the FIFO ran dry or over, and the DMA stands. */
	#fault(error: unknown): void {
		if (!(error instanceof GuestFault || error instanceof BusMasterOff)) throw error;
		if (!this.#complained) guestError('ac97', `${this.#options.name}: ${error.message}`);
		this.#complained = true;
		this.regs.sr |= Sr.fifoe;
		this.#halt();
	}
}

function samplesIn(ns: number, rate: number): number {
	return Math.floor((ns * rate) / SECOND) * CHANNELS;
}
