/** What comes of a guest's panic: QEMU's `-action panic=`, and how often it is told (qapi/run-state.json, PanicAction). */
import type { PanicEvent } from '../../devices/misc/index.ts';

export const PANIC_ACTIONS = ['none', 'pause', 'shutdown', 'exit-failure'] as const;
export type PanicAction = (typeof PANIC_ACTIONS)[number];

/** A guest that goes on may tell as often as it likes; each event is told at most this often. */
const QUIET_MS = 1000;

export interface PanicHost {
	/** Runs `work` outside the guest's access. */
	readonly defer: (work: () => void) => void;
	/** QMP's event, with GuestPanicAction. */
	readonly tell: (event: 'GUEST_PANICKED' | 'GUEST_CRASHLOADED', action: 'pause' | 'poweroff' | 'run') => void;
	readonly warn: (line: string) => void;
	/** The machine stands still, as `guest-panicked`. */
	readonly stop: () => void;
	readonly end: (failure?: string) => void;
	/** Milliseconds, monotonic. */
	readonly now: () => number;
	/** How the operator lets the machine go on. */
	readonly resume: string;
}

export class GuestPanics {
	action: PanicAction;
	readonly #host: PanicHost;
	/** What the guest has told since deferred work ran, in its order. */
	readonly #pending = new Set<PanicEvent>();
	/** What the log has. */
	readonly #logged = new Set<PanicEvent>();
	readonly #quietUntil: Record<PanicEvent, number> = { panicked: 0, 'crash-loaded': 0 };

	constructor(action: PanicAction, host: PanicHost) {
		this.action = action;
		this.#host = host;
	}

	/** The guest tells, in the middle of an access. */
	readonly happened = (event: PanicEvent): void => {
		if (this.#pending.size === 0) this.#host.defer(() => this.#act());
		this.#pending.add(event);
	};

	#act(): void {
		const events = [...this.#pending];
		this.#pending.clear();
		for (const event of events) {
			if (event === 'panicked' && this.action !== 'none') {
				this.#panicked(this.action);
				// What the guest said afterwards, before its slice ended, it would not have said at a real stop.
				return;
			}
			this.#goesOn(event);
		}
	}

	/** As qemu_system_guest_panicked: the event first, then what it announces. */
	#panicked(action: Exclude<PanicAction, 'none'>): void {
		const { tell, warn, stop, end, resume } = this.#host;
		tell('GUEST_PANICKED', action === 'pause' ? 'pause' : 'poweroff');
		if (action === 'pause') {
			warn(`the guest has panicked; the machine is paused until ${resume}`);
			stop();
		} else if (action === 'shutdown') {
			warn('the guest has panicked, which ends its machine');
			end();
		} else end('the guest has panicked');
	}

	#goesOn(event: PanicEvent): void {
		const now = this.#host.now();
		if (now < this.#quietUntil[event]) return;
		this.#quietUntil[event] = now + QUIET_MS;
		this.#host.tell(event === 'panicked' ? 'GUEST_PANICKED' : 'GUEST_CRASHLOADED', 'run');
		if (this.#logged.has(event)) return;
		this.#logged.add(event);
		this.#host.warn(
			event === 'panicked'
				? 'the guest has panicked and goes on, as asked for; this is not repeated'
				: 'the guest has panicked, and its crash kernel takes over; this is not repeated',
		);
	}
}
