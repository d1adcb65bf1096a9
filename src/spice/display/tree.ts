/**
 * What one client has not been sent yet: operations in order, of which later ones hide earlier ones. It never grows
 * beyond its limits: a client that falls behind loses the single steps and gets the pixels as they are by then.
 */
import type { Canvas } from './canvas.ts';
import { type ClientOp, type ControlOp, hides, reads, snapshot, weight } from './ops.ts';
import { Damage } from './region.ts';

/** Operations that may wait: a burst of small ones from one turn of the guest fits, and a search through them is quick. */
const MAX_OPS = 256;
/** Pixels that may wait, in surfaces: with more, the steps cost more to send than the picture. */
const MAX_SURFACES = 2;
/** Pixels of a picture read from the canvas at a time. */
const BAND_PIXELS = 128 * 1024;

export type PendingOp = ClientOp | ControlOp;

function isControl(op: PendingOp): op is ControlOp {
	return op.kind !== 'fill' && op.kind !== 'copy' && op.kind !== 'image';
}

export class PendingOps {
	#ops: PendingOp[] = [];
	#count = 0;
	#bytes = 0;
	/**
	 * While not empty, the client's surface is right but for these pixels, and they are sent from the canvas as it is
	 * at that moment; new operations only add to them. That is right at the end whatever happened in between.
	 */
	readonly #damage = new Damage();
	#canvas: Canvas | undefined;

	get empty(): boolean {
		return this.#ops.length === 0 && this.#damage.empty;
	}
	/** Whether the single steps were given up for now. */
	get behind(): boolean {
		return !this.#damage.empty;
	}

	/** The primary surface is now `canvas`, and a client must be shown all of it. */
	create(canvas: Canvas): void {
		this.#drop();
		this.#canvas = canvas;
		this.#ops.push({ kind: 'create', width: canvas.width, height: canvas.height });
		// In one piece: spicy-screenshot takes what the first drawing shows.
		this.#push(snapshot(canvas, { left: 0, top: 0, right: canvas.width, bottom: canvas.height }));
	}

	/** The primary surface is gone, if the client had one. */
	destroy(): void {
		const unsent = this.#ops.some((op) => op.kind === 'create');
		this.#drop();
		this.#canvas = undefined;
		if (!unsent && !this.#ops.some((op) => op.kind === 'destroy')) this.#ops.push({ kind: 'destroy' });
	}

	control(op: ControlOp): void {
		// Only the last word counts.
		if (op.kind === 'monitors') this.#ops = this.#ops.filter((older) => older.kind !== 'monitors');
		this.#ops.push(op);
	}

	/** `op` happened to the primary surface. */
	add(op: ClientOp): void {
		if (!this.#damage.empty) {
			this.#damage.add(op.rect);
			return;
		}
		if (op.kind !== 'copy') this.#dropHidden(op);
		this.#push(op);
		const most = (this.#canvas?.pixels.byteLength ?? 0) * MAX_SURFACES;
		if (this.#count > MAX_OPS || this.#bytes > most) this.#fallBehind();
	}

	/** The next thing to send, or undefined. */
	next(): PendingOp | undefined {
		const op = this.#ops.shift();
		if (op !== undefined) {
			if (!isControl(op)) this.#forget(op);
			return op;
		}
		if (this.#canvas === undefined) return undefined;
		const rect = this.#damage.take((width) => Math.floor(BAND_PIXELS / width));
		return rect && snapshot(this.#canvas, rect);
	}

	#push(op: ClientOp): void {
		this.#ops.push(op);
		this.#count++;
		this.#bytes += weight(op);
	}

	#forget(op: ClientOp): void {
		this.#count--;
		this.#bytes -= weight(op);
	}

	/** Takes out what `op` hides, unless something in between still reads it. */
	#dropHidden(op: ClientOp): void {
		const kept: PendingOp[] = [];
		const readers: ClientOp[] = [];
		for (let i = this.#ops.length - 1; i >= 0; i--) {
			const older = this.#ops[i];
			if (isControl(older)) {
				kept.push(...this.#ops.slice(0, i + 1).reverse());
				break;
			}
			if (hides(op, older) && !readers.some((reader) => reads(reader, older.rect))) {
				this.#forget(older);
			} else {
				kept.push(older);
				if (older.kind === 'copy') readers.push(older);
			}
		}
		this.#ops = kept.reverse();
	}

	/** Turns all waiting operations into damage; what is said about the surface stays. */
	#fallBehind(): void {
		for (const op of this.#ops) if (!isControl(op)) this.#damage.add(op.rect);
		this.#ops = this.#ops.filter(isControl);
		this.#count = 0;
		this.#bytes = 0;
	}

	#drop(): void {
		this.#ops = this.#ops.filter((op) => op.kind === 'destroy');
		this.#count = 0;
		this.#bytes = 0;
		this.#damage.clear();
	}
}
