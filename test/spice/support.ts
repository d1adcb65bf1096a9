/** What SPICE tests share: a server on a port of its own, and input devices that remember. */
import type { ExecutionContext } from 'ava';
import type { InputEvents } from '../../src/core/index.ts';
import type { ChannelBehaviour, ChannelFactory, ChannelLink } from '../../src/spice/channel.ts';
import { ChannelType } from '../../src/spice/protocol/constants.ts';
import { type ListenOptions, SpiceServer, type SpiceServerOptions } from '../../src/spice/server.ts';

export class FakeInputs implements InputEvents {
	readonly calls: string[] = [];
	absolute = false;
	leds = 0;
	readonly #listeners = new Set<() => void>();

	scancodes(codes: Uint8Array): void {
		this.calls.push(`keys ${Buffer.from(codes).toString('hex')}`);
	}
	motion(...args: readonly number[]): void {
		this.calls.push(`motion ${args.join(' ')}`);
	}
	position(...args: readonly number[]): void {
		this.calls.push(`position ${args.join(' ')}`);
	}
	onChange(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}
	change(what: { absolute?: boolean; leds?: number }): void {
		Object.assign(this, what);
		for (const listener of this.#listeners) listener();
	}
	get listening(): number {
		return this.#listeners.size;
	}
}

/** A channel that hands its link and messages to the test. */
export class FakeChannels {
	readonly links: ChannelLink[] = [];
	readonly messages: { type: number; body: Buffer }[] = [];
	closed = 0;
	onReceive: ((type: number, body: Uint8Array) => void) | undefined;
	readonly factory: ChannelFactory = (link): ChannelBehaviour => {
		this.links.push(link);
		return {
			receive: (type, body) => {
				this.messages.push({ type, body: Buffer.from(body) });
				this.onReceive?.(type, body);
			},
			closed: () => {
				this.closed++;
			},
		};
	};
	get link(): ChannelLink {
		return this.links[this.links.length - 1];
	}
}

export interface Served {
	readonly server: SpiceServer;
	/** The plain port, 0 if there is none. */
	readonly port: number;
	readonly inputs: FakeInputs;
	/** The display channel. */
	readonly display: FakeChannels;
	readonly warnings: string[];
	readonly events: string[];
}

/** A server that ends with the test; the system chooses its ports. */
export async function serve(
	t: ExecutionContext,
	listen: Partial<ListenOptions> = {},
	options: Partial<SpiceServerOptions> = {},
): Promise<Served> {
	const inputs = new FakeInputs();
	const display = new FakeChannels();
	const warnings: string[] = [];
	const events: string[] = [];
	const server = new SpiceServer({
		inputs,
		factories: new Map([[ChannelType.display, display.factory]]),
		warn: (message) => warnings.push(message),
		...options,
	});
	server.onEvent((event) => events.push(event));
	t.teardown(() => server.close());
	await server.listen({ port: 0, ...listen });
	return { server, port: server.port ?? 0, inputs, display, warnings, events };
}

export async function until(condition: () => boolean, what: string, ms = 10_000): Promise<void> {
	const end = performance.now() + ms;
	while (!condition()) {
		if (performance.now() > end) throw new Error(`${what} did not happen within ${ms} ms`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
}
