/**
 * How a virtio function interrupts: over INTA# with the ISR status, or with a message for each cause once the driver has
 * enabled MSI-X. Virtio 1.2, 4.1.4.5 and 4.1.5.1.2.
 */
import { checkVersion, type DeviceState, type Msix, type PciFunction, tracePoints } from '../../src/core/index.ts';

const ISR_QUEUE = 1;
const ISR_CONFIG = 2;
/** VIRTIO_MSI_NO_VECTOR: this cause has no message. */
export const NO_VECTOR = 0xffff;

const trace = tracePoints('virtio', { interrupt: ['device', 'isr'] });

export class PciInterrupts {
	readonly msix: Msix | undefined;
	readonly #pci: PciFunction;
	#isr = 0;
	#configVector = NO_VECTOR;
	readonly #queueVectors: Uint16Array;

	/** `msix` is the function's, if it has one. */
	constructor(pci: PciFunction, msix: Msix | undefined, queues: number) {
		this.msix = msix;
		this.#pci = pci;
		this.#queueVectors = new Uint16Array(queues).fill(NO_VECTOR);
		msix?.attach(pci);
	}

	/** Whether the driver has chosen messages. */
	get messages(): boolean {
		return this.msix?.enabled ?? false;
	}

	/** As the driver set them; a vector that does not exist becomes NO_VECTOR, which tells the driver so. */
	get configVector(): number {
		return this.#configVector;
	}
	set configVector(vector: number) {
		this.#configVector = this.#existing(vector);
	}
	queueVector(n: number): number {
		return this.#queueVectors[n] ?? NO_VECTOR;
	}
	setQueueVector(n: number, vector: number): void {
		this.#queueVectors[n] = this.#existing(vector);
	}

	/** Something was pushed to these queues, and the driver wants to know. */
	queues(numbers: readonly number[]): void {
		this.#cause(ISR_QUEUE);
		for (const n of numbers) this.msix?.notify(this.#queueVectors[n]);
	}

	/** The configuration has changed. */
	configuration(): void {
		this.#cause(ISR_QUEUE | ISR_CONFIG);
		this.msix?.notify(this.#configVector);
	}

	/** The driver reads the ISR status, which takes the line back; returns the causes. */
	acknowledge(): number {
		const isr = this.#isr;
		this.#isr = 0;
		this.#pci.irq.set(false);
		return isr;
	}

	/** What the driver's reset of the device takes back; the table is PCI's and stays. */
	reset(): void {
		this.acknowledge();
		this.#configVector = NO_VECTOR;
		this.#queueVectors.fill(NO_VECTOR);
	}

	/** Queue `n` was reset by itself. */
	resetQueue(n: number): void {
		this.#queueVectors[n] = NO_VECTOR;
	}

	save() {
		return {
			version: 1,
			isr: this.#isr,
			config: this.#configVector,
			queues: [...this.#queueVectors],
			msix: this.msix?.save(),
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion(this.#pci.identity.name, state, 1);
		const saved = state as ReturnType<PciInterrupts['save']>;
		if (saved.queues.length !== this.#queueVectors.length || (saved.msix === undefined) !== (this.msix === undefined))
			throw new Error('virtio: saved state has other interrupts');
		this.configVector = saved.config;
		for (const [n, vector] of saved.queues.entries()) this.setQueueVector(n, vector);
		if (saved.msix) this.msix?.restore(saved.msix);
		this.#isr = saved.isr;
		this.#pci.irq.set(this.#isr !== 0 && !this.messages);
	}

	#cause(cause: number): void {
		this.#isr |= cause;
		trace.interrupt(this.#pci.identity.name, this.#isr);
		if (!this.messages) this.#pci.irq.set(true);
	}

	#existing(vector: number): number {
		return vector < (this.msix?.vectors ?? 0) ? vector : NO_VECTOR;
	}
}
