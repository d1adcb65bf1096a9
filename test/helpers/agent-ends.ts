/** Both ends of an agent's conversation for unit tests: a guest that speaks vdagent, and a client of the main channel. */
import { type CharBackend, type CharDevice, encode } from '../../src/core/index.ts';
import { AnnounceCapabilities, ChunkHeader, type VdpPort } from '../../src/spice/agent/messages.ts';
import { wholeMessage } from '../../src/spice/agent/stream.ts';
import { type AgentClient, CLIENT_TOKENS, MAX_AGENT_DATA } from '../../src/spice/agent.ts';

/** A whole message of the agent's protocol. */
export interface AgentMessageText {
	readonly port: number;
	readonly type: number;
	readonly body: Buffer;
}

export function chunk(port: VdpPort, data: Uint8Array): Buffer {
	return Buffer.concat([encode(ChunkHeader, { port, size: data.length }), data]);
}

/** A message cut as clients and agents cut it. */
export function cut(type: number, body: Uint8Array): Uint8Array[] {
	const message = wholeMessage(type, body);
	const pieces: Uint8Array[] = [];
	for (let at = 0; at < message.length; at += MAX_AGENT_DATA) pieces.push(message.subarray(at, at + MAX_AGENT_DATA));
	return pieces;
}

export function announcement(request: number, ...capabilities: number[]): Buffer {
	const caps = [0];
	for (const capability of capabilities) caps[0] |= 1 << capability;
	return Buffer.from(encode(AnnounceCapabilities, { request, caps }));
}

/** Whole messages out of pieces of a stream. */
export class Messages {
	readonly all: { readonly type: number; readonly body: Buffer }[] = [];
	#bytes = Buffer.alloc(0);

	/** Bytes of a message that is not there yet. */
	get rest(): number {
		return this.#bytes.length;
	}

	add(piece: Uint8Array): void {
		this.#bytes = Buffer.concat([this.#bytes, piece]);
		while (this.#bytes.length >= 20) {
			const size = this.#bytes.readUInt32LE(16);
			if (this.#bytes.length < 20 + size) return;
			this.all.push({ type: this.#bytes.readUInt32LE(4), body: this.#bytes.subarray(20, 20 + size) });
			this.#bytes = this.#bytes.subarray(20 + size);
		}
	}

	/** What vdagentd does with a stream when it is told that the client has left. */
	reset(): void {
		this.#bytes = Buffer.alloc(0);
	}
}

/** The guest: takes as many bytes as it has room for, and understands them as spice-vdagentd does. */
export class FakeGuest implements CharDevice {
	/** Bytes that it takes before it has to be given room again. */
	room = Number.POSITIVE_INFINITY;
	readonly messages: AgentMessageText[] = [];
	/** The body sizes of all chunks. */
	readonly chunks: number[] = [];
	drains = 0;
	readonly #backend: CharBackend;
	readonly #streams = new Map<number, Messages>();
	#bytes = Buffer.alloc(0);

	constructor(backend: CharBackend) {
		this.#backend = backend;
		backend.attach(this);
	}

	open(): void {
		this.#backend.guestOpen?.(true);
	}

	close(): void {
		this.#backend.guestOpen?.(false);
		this.#bytes = Buffer.alloc(0);
		this.#streams.clear();
	}

	receive(bytes: Uint8Array): number {
		const count = Math.min(this.room, bytes.length);
		this.room -= count;
		this.#bytes = Buffer.concat([this.#bytes, bytes.subarray(0, count)]);
		this.#parse();
		return count;
	}

	drained(): void {
		this.drains++;
	}

	/** Makes room for so many more bytes. */
	make(room: number): void {
		this.room += room;
		this.#backend.ready?.();
	}

	/** Writes as long as the bytes are taken; returns what is left. */
	write(bytes: Uint8Array): Uint8Array {
		let left = bytes;
		while (left.length > 0) {
			const taken = this.#backend.write(left);
			if (taken === 0) break;
			left = left.subarray(taken);
		}
		return left;
	}

	say(type: number, body: Uint8Array, port: VdpPort = 1): void {
		const message = wholeMessage(type, body);
		const left = this.write(chunk(port, message));
		if (left.length > 0) throw new Error(`${left.length} bytes were not taken`);
	}

	types(port: VdpPort): number[] {
		return this.messages.filter((message) => message.port === port).map(({ type }) => type);
	}

	#parse(): void {
		while (this.#bytes.length >= 8) {
			const port = this.#bytes.readUInt32LE(0);
			const size = this.#bytes.readUInt32LE(4);
			if (size > MAX_AGENT_DATA) throw new Error(`a chunk of ${size} bytes, which spice-vdagentd refuses`);
			if (this.#bytes.length < 8 + size) return;
			this.chunks.push(size);
			const stream = this.#streams.get(port) ?? new Messages();
			this.#streams.set(port, stream);
			stream.add(this.#bytes.subarray(8, 8 + size));
			for (const { type, body } of stream.all.splice(0)) {
				this.messages.push({ port, type, body });
				// VD_AGENT_CLIENT_DISCONNECTED: what the client had said in part is void.
				if (port === 2 && type === 13) this.#streams.get(1)?.reset();
			}
			this.#bytes = this.#bytes.subarray(8 + size);
		}
	}
}

/** The client, as the main channel presents it; it may send as long as it has tokens. */
export class FakeClient implements AgentClient {
	writable = true;
	tokens = CLIENT_TOKENS;
	readonly calls: string[] = [];
	readonly stream = new Messages();
	/** Sizes of the agent_data bodies that came. */
	readonly sizes: number[] = [];

	agentConnected(): void {
		this.tokens = CLIENT_TOKENS;
		this.calls.push('connected');
	}
	agentDisconnected(): void {
		this.calls.push('disconnected');
		this.stream.reset();
	}
	agentData(data: Uint8Array): void {
		this.sizes.push(data.length);
		this.stream.add(data);
	}
	agentTokens(count: number): void {
		this.tokens += count;
	}

	types(): number[] {
		return this.stream.all.map(({ type }) => type);
	}
}
