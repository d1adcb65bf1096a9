/**
 * The memory balloon: the guest gives pages up at the host's wish, reports pages it does not use, and tells how its
 * memory is used. Virtio 1.2, 5.5. What the guest gives up goes back to the host by Dma.discard.
 */
import { guestError, RegisterFile, registers, type StateValue, tracePoints } from '../../src/core/index.ts';
import { type Chain, MAX_QUEUE_SIZE } from './chain.ts';
import { DeviceType, features, type VirtioBus, type VirtioModel } from './virtio.ts';

/** 5.5.3 Feature bits. */
const Feature = { statsVq: 1, deflateOnOom: 2, freePageHint: 3, pagePoison: 4, reporting: 5 } as const;

/** 5.5.4 Device configuration layout. */
const layout = registers({
	num_pages: { at: 0, size: 4, doc: 'pages that the guest should give up' },
	actual: { at: 4, size: 4, w: 0xffffffff, doc: 'pages that it has given up' },
	free_page_hint_cmd_id: { at: 8, size: 4, doc: '0 stop, 1 done, from 80000000h on a round of hints' },
	poison_val: { at: 12, size: 4, w: 0xffffffff, doc: 'pattern that the guest fills free pages with' },
});

const PAGE = 4096;
const QUEUE_SIZE = 128;
const REPORTING_SIZE = 32;
/** 5.5.6.6.2: rounds of hints count from here. */
const FIRST_HINT = 0x80000000;
const HINT_DONE = 1;
/** Page numbers looked at in one chain; Linux sends at most 256. */
const MOST_PAGES = 1024;
/** Pieces given back before the guest runs again: each is a system call. */
const TURN = 1024;
const MOST_STATISTICS = 64;
const STATISTIC_SIZE = 10;
const LOG_LINES = 4;

const trace = tracePoints('virtio-balloon', {
	target: ['pages'],
	actual: ['pages'],
	discard: ['address', 'length'],
	hint: ['id'],
});

/** 5.5.6.3 Memory statistics tags, in order from 0, in QEMU's words. */
export const STATISTICS = [
	'stat-swap-in',
	'stat-swap-out',
	'stat-major-faults',
	'stat-minor-faults',
	'stat-free-memory',
	'stat-total-memory',
	'stat-available-memory',
	'stat-disk-caches',
	'stat-htlb-pgalloc',
	'stat-htlb-pgfail',
] as const;

export interface BalloonStatistics {
	/** By name; what the guest has not told is missing. */
	readonly values: ReadonlyMap<(typeof STATISTICS)[number], bigint>;
	/** When they came, seconds since 1970; 0 before the first. */
	readonly updated: number;
}

export interface BalloonOptions {
	/** The guest may take pages back when it runs out of memory. */
	readonly deflateOnOom?: boolean;
	/** The guest reports pages that it does not use, and they go back to the host. */
	readonly freePageReporting?: boolean;
	/** The host may ask for hints about free pages (hintFreePages). */
	readonly freePageHint?: boolean;
}

export class VirtioBalloon implements VirtioModel {
	readonly name = 'virtio-balloon';
	readonly type = DeviceType.balloon;
	readonly classCode = 0x00ff00;
	readonly features: bigint;
	readonly queueSizes: readonly number[];
	readonly configLength = 16;
	readonly config: RegisterFile<typeof layout>;
	/** The guest gave up or took back pages: bytes that it has now. */
	onChange: ((bytes: number) => void) | undefined;
	readonly #statsQueue = 2;
	readonly #hintQueue: number;
	readonly #reportingQueue: number;
	#bus: VirtioBus | undefined;
	/** The buffer by which the next statistics come; the guest fills it once it gets it back. */
	#statsChain: Chain | undefined;
	#statistics = new Map<(typeof STATISTICS)[number], bigint>();
	#updated = 0;
	#interval = 0;
	#timer: { arm(deadline: number): void; cancel(): void } | undefined;
	#nextHint = FIRST_HINT;
	/** A round of hints was asked for and has not ended. */
	#round = false;
	/** The guest answers the round that the host has asked for. */
	#hinting = false;
	#hintDone: ((bytes: number) => void) | undefined;
	#hinted = 0;
	/** Memory that may still go back in this turn, bytes, and in how many pieces. */
	#left = 0;
	#pieces = 0;
	/** Queues that go on in the next turn. */
	readonly #queued = new Set<number>();
	#errors = 0;

	constructor(options: BalloonOptions = {}) {
		const queues = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
		const bits: number[] = [Feature.statsVq, Feature.pagePoison];
		if (options.deflateOnOom) bits.push(Feature.deflateOnOom);
		this.#hintQueue = options.freePageHint ? queues.push(MAX_QUEUE_SIZE) - 1 : -1;
		if (options.freePageHint) bits.push(Feature.freePageHint);
		this.#reportingQueue = options.freePageReporting ? queues.push(REPORTING_SIZE) - 1 : -1;
		if (options.freePageReporting) bits.push(Feature.reporting);
		this.features = features(...bits);
		this.queueSizes = queues;
		this.config = new RegisterFile(layout, { write: { actual: (now, was) => this.#actualWritten(now, was) } });
	}

	connect(bus: VirtioBus): void {
		this.#bus = bus;
		this.#timer = bus.host.clock.timer(() => bus.later(() => this.#askStatistics()));
	}

	/** Guest RAM less what the guest has given up, bytes. */
	get actual(): number {
		return Math.max(0, this.#ram - this.config.actual * PAGE);
	}

	/** Guest RAM that the host wants it to keep, bytes. */
	get target(): number {
		return this.#ram - this.config.num_pages * PAGE;
	}

	set target(bytes: number) {
		const kept = Math.max(0, Math.min(bytes, this.#ram));
		this.config.num_pages = Math.floor((this.#ram - kept) / PAGE);
		trace.target(this.config.num_pages);
		this.#bus?.configChanged();
	}

	get statistics(): BalloonStatistics {
		return { values: this.#statistics, updated: this.#updated };
	}

	/** Seconds between two questions for statistics; 0 asks none. */
	get pollingInterval(): number {
		return this.#interval;
	}

	set pollingInterval(seconds: number) {
		this.#interval = seconds;
		if (seconds > 0) this.#askStatistics();
		else this.#timer?.cancel();
	}

	/**
	 * Asks the guest which pages are free and gives them back to the host; the guest may use them again at once. Calls
	 * `done` with how many bytes they were, also when the guest is reset meanwhile. False when the driver cannot do that or
	 * a round is under way.
	 */
	hintFreePages(done: (bytes: number) => void): boolean {
		const bus = this.#bus;
		if (!bus?.driverReady || !bus.has(Feature.freePageHint) || this.#hintDone) return false;
		this.#hintDone = done;
		this.#round = true;
		this.#hinted = 0;
		this.config.free_page_hint_cmd_id = this.#nextHint;
		this.#nextHint = this.#nextHint === 0xffffffff ? FIRST_HINT : this.#nextHint + 1;
		trace.hint(this.config.free_page_hint_cmd_id);
		bus.configChanged();
		return true;
	}

	kicked(n: number): void {
		this.#left = this.#ram;
		this.#pieces = TURN;
		if (n === 0) this.#inflate();
		else if (n === 1) this.#deflate();
		else if (n === this.#statsQueue) this.#takeStatistics();
		else if (n === this.#hintQueue) this.#takeHints();
		else if (n === this.#reportingQueue) this.#takeReports();
	}

	/** The next buffer of a queue; undefined too where the rest has to wait for the next turn. */
	#pop(n: number): Chain | undefined {
		if (this.#pieces > 0) return this.#bus?.queue(n).pop();
		if (!this.#queued.has(n)) {
			this.#queued.add(n);
			this.#bus?.later(() => {
				this.#queued.delete(n);
				this.kicked(n);
			});
		}
		return undefined;
	}

	get #ram(): number {
		return this.#bus?.host.dma.size ?? 0;
	}

	/** Free pages keep the guest's pattern, which memory given back would lose (5.5.6.7.2). */
	get #poisoned(): boolean {
		return this.#bus?.has(Feature.pagePoison) === true && this.config.poison_val !== 0;
	}

	#actualWritten(now: number, was: number): void {
		if (now === was) return;
		trace.actual(now);
		this.onChange?.(this.actual);
	}

	/** Buffers may overlap without end; no honest guest gives up more than there is before it runs again. */
	#discard(address: number, length: number): void {
		this.#left -= Math.max(length, PAGE);
		this.#pieces--;
		if (this.#left < 0) {
			this.#mistake('more memory is given up than there is');
			return;
		}
		trace.discard(address, length);
		this.#bus?.host.dma.discard?.(address, length);
	}

	#inflate(): void {
		const queue = this.#bus?.queue(0);
		for (let chain = this.#pop(0); chain !== undefined; chain = this.#pop(0)) {
			const bytes = chain.out.slice(0, MOST_PAGES * 4);
			const view = new DataView(bytes.buffer);
			const pages = new Uint32Array(bytes.length >> 2);
			for (let i = 0; i < pages.length; i++) pages[i] = view.getUint32(i * 4, true);
			this.#giveBack(pages.sort());
			queue?.push(chain, 0);
		}
	}

	/** `pages` in ascending order; neighbours go together, since the host's pages may be larger. */
	#giveBack(pages: Uint32Array): void {
		const end = this.#ram / PAGE;
		for (let i = 0; i < pages.length; ) {
			const first = pages[i];
			let last = first;
			for (i++; i < pages.length && pages[i] <= last + 1; i++) last = pages[i];
			if (last >= end) this.#mistake(`page ${last} in the balloon is not in memory`);
			if (first < end) this.#discard(first * PAGE, (Math.min(last + 1, end) - first) * PAGE);
		}
	}

	/** Memory that was given back is there again as soon as the guest writes to it. */
	#deflate(): void {
		const queue = this.#bus?.queue(1);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) queue?.push(chain, 0);
	}

	/** 5.5.6.3: the driver offers one buffer; the device gives it back when it wants news. */
	#takeStatistics(): void {
		const queue = this.#bus?.queue(this.#statsQueue);
		for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
			if (this.#statsChain) queue?.push(this.#statsChain, 0);
			this.#statsChain = chain;
			this.#readStatistics(chain.out.slice(0, MOST_STATISTICS * STATISTIC_SIZE));
		}
		this.#armStatistics();
	}

	#readStatistics(bytes: Uint8Array): void {
		const view = new DataView(bytes.buffer);
		for (let at = 0; at + STATISTIC_SIZE <= bytes.length; at += STATISTIC_SIZE) {
			const name = STATISTICS[view.getUint16(at, true)] as (typeof STATISTICS)[number] | undefined;
			if (name) this.#statistics.set(name, view.getBigUint64(at + 2, true));
		}
		if (bytes.length > 0) this.#updated = Math.floor((this.#bus?.host.clock.wall() ?? 0) / 1000);
	}

	#askStatistics(): void {
		if (this.#interval === 0) return;
		const chain = this.#statsChain;
		this.#statsChain = undefined;
		if (chain) this.#bus?.run(() => this.#bus?.queue(this.#statsQueue).push(chain, 0));
		else this.#armStatistics();
	}

	#armStatistics(): void {
		const clock = this.#bus?.host.clock;
		if (clock && this.#interval > 0) this.#timer?.arm(clock.now() + this.#interval * 1e9);
	}

	/** 5.5.6.6: the round's id to read, then pages to write, then the id "stop". */
	#takeHints(): void {
		const queue = this.#bus?.queue(this.#hintQueue);
		for (let chain = this.#pop(this.#hintQueue); chain !== undefined; chain = this.#pop(this.#hintQueue)) {
			if (chain.out.length >= 4) {
				const id = new DataView(chain.out.slice(0, 4).buffer).getUint32(0, true);
				const wanted = id === this.config.free_page_hint_cmd_id && this.#hintDone !== undefined;
				if (this.#hinting && !wanted) this.#endHints();
				this.#hinting = wanted;
			}
			if (this.#hinting && !this.#poisoned) {
				chain.in.each((address, length) => {
					this.#hinted += length;
					this.#discard(address, length);
				});
			}
			queue?.push(chain, 0);
		}
	}

	#endHints(): void {
		const done = this.#hintDone;
		this.#hintDone = undefined;
		this.#hinting = this.#round = false;
		this.config.free_page_hint_cmd_id = HINT_DONE;
		this.#bus?.configChanged();
		done?.(this.#hinted);
	}

	/** 5.5.6.7: the guest does not touch the pages until it gets the buffer back. */
	#takeReports(): void {
		const queue = this.#bus?.queue(this.#reportingQueue);
		for (let chain = this.#pop(this.#reportingQueue); chain !== undefined; chain = this.#pop(this.#reportingQueue)) {
			if (!this.#poisoned) chain.in.each((address, length) => this.#discard(address, length));
			queue?.push(chain, 0);
		}
	}

	#mistake(message: string): void {
		this.#errors++;
		if (this.#errors <= LOG_LINES)
			guestError(this.name, message + (this.#errors === LOG_LINES ? ' (not said again)' : ''));
	}

	started(): void {
		this.#askStatistics();
	}

	queueReset(n: number): void {
		if (n === this.#statsQueue) this.#statsChain = undefined;
	}

	/** The host's wish outlives the guest, what the guest gave up does not: a new kernel uses all its memory. */
	reset(): void {
		const { num_pages, actual } = this.config;
		this.config.reset();
		this.config.num_pages = num_pages;
		this.#statsChain = undefined;
		this.#queued.clear();
		this.#timer?.cancel();
		this.#statistics.clear();
		this.#updated = 0;
		this.#errors = 0;
		this.#actualWritten(0, actual);
		const done = this.#hintDone;
		this.#hintDone = undefined;
		this.#hinting = this.#round = false;
		done?.(this.#hinted);
	}

	save() {
		return {
			config: this.config.save(),
			statsChain: this.#statsChain?.save() ?? null,
			statistics: [...this.#statistics].map(([name, value]) => ({ name: name as string, value })) as StateValue[],
			updated: this.#updated,
			interval: this.#interval,
			nextHint: this.#nextHint,
			round: this.#round,
		};
	}

	/** A round of hints does not go on, since who asked for it is gone; the guest gets its pages back. */
	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const saved = state as ReturnType<VirtioBalloon['save']>;
		this.config.restore(saved.config);
		this.#statsChain = saved.statsChain ? this.#bus?.queue(this.#statsQueue).adopt(saved.statsChain) : undefined;
		this.#statistics = new Map(
			(saved.statistics as { name: (typeof STATISTICS)[number]; value: bigint }[]).map(({ name, value }) => [
				name,
				value,
			]),
		);
		this.#updated = saved.updated;
		this.#interval = saved.interval;
		this.#nextHint = saved.nextHint;
		this.#round = saved.round;
		if (this.#round) this.#bus?.later(() => this.#endHints());
		this.#armStatistics();
	}
}
