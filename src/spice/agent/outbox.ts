/**
 * What waits for the guest's agent to read it. The server's own chunks overtake the client's, so that the pointer stays
 * alive while a file is on its way; a chunk that the guest has begun to read is always finished.
 */
import { type CharDevice, type Infer, wire } from '../../core/index.ts';
import { AgentMessage, ChunkHeader, MouseState, VdpPort } from './messages.ts';
import { encodeMessage } from './stream.ts';

interface Chunk {
	readonly bytes: Uint8Array;
	/** The client gets a token back when the guest has taken it. */
	readonly token: boolean;
}
interface ServerMessage {
	readonly type: number;
	/** For mouse states. */
	readonly buttons: number;
	readonly bytes: Uint8Array;
}

/** Pointer states that a guest may be behind; then steps are left out, buttons or not. */
const MAX_MOUSE_STATES = 64;

export class Outbox {
	/** Told how many of the client's messages the guest has taken. */
	readonly #taken: (count: number) => void;
	#device: CharDevice | undefined;
	#current: { readonly chunk: Chunk; offset: number } | undefined;
	#server: ServerMessage[] = [];
	#client: Chunk[] = [];
	#pumping = false;

	constructor(taken: (count: number) => void) {
		this.#taken = taken;
	}

	attach(device: CharDevice): void {
		this.#device = device;
	}

	/** A piece of the client's stream; `token` if it is the one for which the client gets its token back. */
	client(piece: Uint8Array, token: boolean): void {
		this.#client.push({ bytes: chunk(VdpPort.client, piece), token });
	}

	/** One of the server's own messages; one that waits already is not sent twice. */
	server(type: number, message: Uint8Array): void {
		if (this.#server.some((waiting) => waiting.type === type)) return;
		this.#server.push({ type, buttons: 0, bytes: chunk(VdpPort.server, message) });
		this.pump();
	}

	/** The newest place of the pointer; an older one with the same buttons need not be told any more. */
	mouse(state: Infer<typeof MouseState>): void {
		const message = encodeMessage(AgentMessage.mouseState, MouseState, state);
		const last = this.#server.at(-1);
		const waiting = last?.type === AgentMessage.mouseState;
		if (waiting && (last.buttons === state.buttons || this.#server.length >= MAX_MOUSE_STATES)) this.#server.pop();
		const bytes = chunk(VdpPort.server, message);
		this.#server.push({ type: AgentMessage.mouseState, buttons: state.buttons, bytes });
		this.pump();
	}

	/** Forgets what the client had under way. */
	dropClient(): void {
		this.#client = [];
		if (this.#current?.chunk.token)
			this.#current = { ...this.#current, chunk: { ...this.#current.chunk, token: false } };
	}

	/** Forgets everything; returns how many of the client's tokens were in it. */
	clear(): number {
		const waiting = this.#current ? [this.#current.chunk, ...this.#client] : this.#client;
		this.#current = undefined;
		this.#server = [];
		this.#client = [];
		return waiting.filter(({ token }) => token).length;
	}

	/** Gives the guest what it takes. */
	pump(): void {
		if (this.#pumping || !this.#device) return;
		this.#pumping = true;
		let taken = 0;
		for (let next = this.#next(); next; next = this.#next()) {
			const { bytes, token } = next.chunk;
			next.offset += this.#device.receive(next.offset === 0 ? bytes : bytes.subarray(next.offset));
			if (next.offset < bytes.length) break;
			this.#current = undefined;
			if (token) taken++;
		}
		this.#pumping = false;
		if (taken > 0) this.#taken(taken);
	}

	#next(): { readonly chunk: Chunk; offset: number } | undefined {
		if (this.#current) return this.#current;
		const own = this.#server.shift();
		const chunk = own ? { bytes: own.bytes, token: false } : this.#client.shift();
		this.#current = chunk && { chunk, offset: 0 };
		return this.#current;
	}
}

function chunk(port: VdpPort, data: Uint8Array): Uint8Array {
	const bytes = new Uint8Array(ChunkHeader.min + data.length);
	bytes.set(wire.encode(ChunkHeader, { port, size: data.length }));
	bytes.set(data, ChunkHeader.min);
	return bytes;
}
