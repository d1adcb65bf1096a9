/** A device model for tests of the transport: what queue 0 is given to read, it writes back. */
import type { Chain } from '../../devices/virtio/chain.ts';
import { DeviceType, type VirtioBus, type VirtioModel } from '../../devices/virtio/virtio.ts';
import { RegisterFile, registers, type StateValue } from '../../src/core/index.ts';

const layout = registers({ value: { at: 0, size: 4, reset: 0x12345678, w: 0xffffffff, doc: 'anything' } });

export class Echo implements VirtioModel {
	readonly name = 'echo';
	readonly type = DeviceType.entropy;
	readonly classCode = 0x00ff00;
	readonly features = 0b101n;
	readonly queueSizes: readonly number[];
	readonly configLength = 4;
	readonly config = new RegisterFile(layout);
	/** What happened: `started`, `kicked 0`, `reset`, `queue reset 1`. */
	readonly log: string[] = [];
	/** Chains are kept until release(). */
	hold = false;
	readonly held: Chain[] = [];
	bus: VirtioBus | undefined;

	constructor(queueSizes: readonly number[] = [16, 8]) {
		this.queueSizes = queueSizes;
	}

	connect(bus: VirtioBus): void {
		this.bus = bus;
	}

	kicked(n: number): void {
		this.log.push(`kicked ${n}`);
		const queue = this.bus?.queue(n);
		for (let chain = queue?.pop(); chain; chain = queue?.pop()) {
			this.held.push(chain);
			if (!this.hold) this.answer(this.held.length - 1);
		}
	}

	/** Gives back the chain that is `index`th in the list. Within run(). */
	answer(index = 0): void {
		const [chain] = this.held.splice(index, 1);
		this.bus?.queue(0).push(chain, chain.in.write(0, chain.out.slice(0, chain.in.length)));
	}

	/** Gives back all that is held, in the order given by `order`. */
	release(order: (held: Chain[]) => Chain[] = (held) => held): void {
		const all = order(this.held.splice(0));
		this.bus?.run(() => {
			for (const chain of all) {
				this.held.push(chain);
				this.answer();
			}
		});
	}

	started(): void {
		this.log.push('started');
	}

	queueReset(n: number): void {
		this.log.push(`queue reset ${n}`);
		if (n === 0) this.held.length = 0;
	}

	reset(): void {
		this.log.push('reset');
		this.held.length = 0;
		this.config.reset();
	}

	save() {
		return { config: this.config.save(), held: this.held.map((chain) => chain.save()) as StateValue[] };
	}

	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const saved = state as ReturnType<Echo['save']>;
		this.config.restore(saved.config);
		for (const chain of saved.held) if (this.bus) this.held.push(this.bus.queue(0).adopt(chain));
	}
}
