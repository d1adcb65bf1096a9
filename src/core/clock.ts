/**
 * Time as devices see it. All instants are nanoseconds of machine time since power-on, as a double
 * (exact to 104 days). Machine time stands still while the machine is stopped.
 */
export interface Clock {
	/** Machine time now, ns. */
	now(): number;
	/** Calendar time now, ms since the Unix epoch; runs with machine time in virtual-time mode. */
	wall(): number;
	/** A one-shot timer, disarmed. */
	timer(fire: () => void): Timer;
}

export interface Timer {
	/** Fires once machine time reaches `deadline` (ns); replaces an earlier deadline. */
	arm(deadline: number): void;
	cancel(): void;
	/** The armed deadline, or Infinity. */
	readonly deadline: number;
}

class QueuedTimer implements Timer {
	deadline = Number.POSITIVE_INFINITY;
	readonly fire: () => void;
	readonly #owner: TimerQueue;
	constructor(owner: TimerQueue, fire: () => void) {
		this.#owner = owner;
		this.fire = fire;
	}
	arm(deadline: number): void {
		this.deadline = deadline;
		this.#owner.changed(this);
	}
	cancel(): void {
		this.deadline = Number.POSITIVE_INFINITY;
	}
}

/**
 * The timers of one machine. A machine has a few dozen, most of them idle, so a scan of the armed ones beats a heap;
 * the earliest deadline is cached so that a check with nothing due is one comparison.
 */
export class TimerQueue implements Clock {
	readonly #source: () => number;
	readonly #wall: () => number;
	readonly #timers: QueuedTimer[] = [];
	#next = Number.POSITIVE_INFINITY;

	/** `source` gives machine time in ns and must never run backwards. */
	constructor(source: () => number, wall: () => number = Date.now) {
		this.#source = source;
		this.#wall = wall;
	}

	now(): number {
		return this.#source();
	}

	wall(): number {
		return this.#wall();
	}

	timer(fire: () => void): Timer {
		const timer = new QueuedTimer(this, fire);
		this.#timers.push(timer);
		return timer;
	}

	/** Earliest deadline that may be armed, ns, or Infinity. Never later than the real one. */
	get next(): number {
		return this.#next;
	}

	changed(timer: QueuedTimer): void {
		if (timer.deadline < this.#next) this.#next = timer.deadline;
	}

	/** Fires what is due at `now`, in order of deadline; returns the next deadline (ns) or Infinity. */
	run(now: number = this.#source()): number {
		// A timer that rearms itself in the past gets at most one turn a pass, so a hostile period cannot hold the host.
		for (let turns = this.#timers.length; this.#next <= now && turns > 0; turns--) {
			const due = this.#earliest();
			if (due === undefined || due.deadline > now) break;
			due.deadline = Number.POSITIVE_INFINITY;
			this.#next = this.#earliest()?.deadline ?? Number.POSITIVE_INFINITY;
			due.fire();
		}
		this.#next = this.#earliest()?.deadline ?? Number.POSITIVE_INFINITY;
		return this.#next;
	}

	#earliest(): QueuedTimer | undefined {
		let best: QueuedTimer | undefined;
		for (const timer of this.#timers) {
			if (timer.deadline !== Number.POSITIVE_INFINITY && (best === undefined || timer.deadline < best.deadline))
				best = timer;
		}
		return best;
	}
}

/** A clock that moves only when told to, for tests. */
export class ManualClock extends TimerQueue {
	readonly #state: { now: number; wall: number };
	constructor(wall = Date.UTC(2000, 0, 1)) {
		const state = { now: 0, wall };
		super(
			() => state.now,
			() => state.wall + state.now / 1e6,
		);
		this.#state = state;
	}
	/** Moves time on by `ns` in which no timer fires, as if the host had been busy. */
	stall(ns: number): void {
		this.#state.now += ns;
		this.run();
	}
	/** Moves time on by `ns`, firing each timer at its own deadline. */
	advance(ns: number): void {
		const end = this.#state.now + ns;
		while (this.next <= end) {
			this.#state.now = Math.max(this.#state.now, this.next);
			this.run();
		}
		this.#state.now = end;
	}
}
