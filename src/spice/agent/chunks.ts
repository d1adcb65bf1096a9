/** The guest's end: chunks of two byte streams, one after the other. vd_agent.h, VDIChunkHeader. */
import { WireError, wire } from '../../core/index.ts';
import { Gather } from '../gather.ts';
import { ChunkHeader, VdpPort } from './messages.ts';

export class ChunkReader {
	readonly #client: (data: Uint8Array) => void;
	readonly #header = new Gather(ChunkHeader.min);
	#port = 0;
	#left = 0;

	/** `client` takes the bytes for the client; nobody here has questions whose answers the other stream would bring. */
	constructor(client: (data: Uint8Array) => void) {
		this.#client = client;
	}

	/** Throws WireError when the bytes are no chunks. */
	feed(data: Uint8Array): void {
		let at = 0;
		while (at < data.length) {
			if (this.#left > 0) {
				const count = Math.min(this.#left, data.length - at);
				this.#left -= count;
				if (this.#port === VdpPort.client) this.#client(data.subarray(at, at + count));
				at += count;
				continue;
			}
			at += this.#header.take(data, at);
			if (!this.#header.full) return;
			this.#header.clear();
			const { port, size } = wire.decode(ChunkHeader, this.#header.bytes);
			if (port !== VdpPort.client && port !== VdpPort.server) throw new WireError(`chunk for port ${port}`);
			this.#port = port;
			this.#left = size;
		}
	}

	reset(): void {
		this.#header.clear();
		this.#left = 0;
	}
}
