/**
 * Connections that have not linked yet. There is room for so many; a flood pushes out its own, so that it shuts nobody
 * out: whose address has the most of them loses its oldest. A right client needs two round trips, which is little even
 * where the flood comes from its own address.
 */
import type { Connection } from './connection.ts';

export const MAX_PENDING = 512;

export class PendingConnections {
	/** By the client's address, each in the order of coming. */
	readonly #byHost = new Map<string, Set<Connection>>();
	#size = 0;

	add(connection: Connection): void {
		const { host } = connection.client;
		const same = this.#byHost.get(host);
		if (same) same.add(connection);
		else this.#byHost.set(host, new Set([connection]));
		this.#size++;
	}

	delete(connection: Connection): void {
		const { host } = connection.client;
		const same = this.#byHost.get(host);
		if (!same?.delete(connection)) return;
		if (same.size === 0) this.#byHost.delete(host);
		this.#size--;
	}

	/** The one that has to go, if there are too many. */
	get surplus(): Connection | undefined {
		if (this.#size <= MAX_PENDING) return undefined;
		let most: Set<Connection> = new Set();
		for (const same of this.#byHost.values()) if (same.size > most.size) most = same;
		const [oldest] = most;
		return oldest;
	}

	*[Symbol.iterator](): Iterator<Connection> {
		for (const same of this.#byHost.values()) yield* same;
	}
}
