/** One client: its main channel and the channels that it linked with the same connection id. */
import type { ChannelLink } from './channel.ts';
import { ChannelType } from './protocol/constants.ts';

export interface SessionHost {
	/** Multimedia time now, ms. */
	mmTime(): number;
	/** A clock that is never set back, ms: for time limits. */
	now(): number;
	warn(message: string): void;
	channelClosed(link: ChannelLink, reason: string): void;
	sessionClosed(session: Session, reason: string): void;
}

export class Session {
	/** The connection id that the client's further channels must name; never 0. */
	readonly id: number;
	/** Less than 10 Mibit/s between client and server: worth spending CPU time on smaller pictures. */
	lowBandwidth = false;
	/** As the last network test measured; 0 before. */
	bitsPerSecond = 0;
	/** Round trip of an empty message, ms; 0 before the network test. */
	latencyMs = 0;
	readonly #host: SessionHost;
	readonly #links = new Map<string, ChannelLink>();
	#closed = false;

	constructor(id: number, host: SessionHost) {
		this.id = id;
		this.#host = host;
	}

	get links(): Iterable<ChannelLink> {
		return this.#links.values();
	}

	get closed(): boolean {
		return this.#closed;
	}

	/** Multimedia time now, ms, modulo 2^32: what drawables and streams are stamped with. */
	mmTime(): number {
		return this.#host.mmTime() >>> 0;
	}

	/** Time that limits are measured by, ms. */
	now(): number {
		return this.#host.now();
	}

	find(channelType: number, channelId: number): ChannelLink | undefined {
		return this.#links.get(`${channelType}:${channelId}`);
	}

	get main(): ChannelLink | undefined {
		return this.find(ChannelType.main, 0);
	}

	add(link: ChannelLink): void {
		this.#links.set(`${link.channelType}:${link.channelId}`, link);
	}

	warn(message: string): void {
		this.#host.warn(message);
	}

	/** Ends every channel. */
	close(reason: string): void {
		if (this.#closed) return;
		this.#closed = true;
		for (const link of [...this.#links.values()]) link.close(reason);
		this.#host.sessionClosed(this, reason);
	}

	/** Told by a link that has ended. Without its main channel there is no session. */
	channelClosed(link: ChannelLink, reason: string): void {
		const key = `${link.channelType}:${link.channelId}`;
		if (this.#links.get(key) !== link) return;
		this.#links.delete(key);
		this.#host.channelClosed(link, reason);
		if (link.channelType === ChannelType.main) this.close(reason);
	}
}
