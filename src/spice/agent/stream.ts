/**
 * The messages in one direction of the agent's conversation. They may be far larger than what is worth holding, so a
 * message that passes goes on piece by piece as it comes; only small ones that matter to the server are collected.
 */
import { type Codec, WireError, wire } from '../../core/index.ts';
import { MAX_AGENT_DATA } from '../agent.ts';
import { Gather } from '../gather.ts';
import { MessageHeader, PROTOCOL } from './messages.ts';

/** What becomes of a message: it goes on as it comes, is thrown away, or is given to `collected` whole. */
export type Verdict = 'pass' | 'drop' | 'collect';

export interface MessageSink {
	judge(type: number): Verdict;
	/**
	 * The next piece of a message that passes, at most MAX_AGENT_DATA; the callee keeps it. A piece never holds parts of
	 * two messages, and a message's first begins with its whole header: agents and clients rely on both.
	 */
	piece(bytes: Uint8Array): void;
	collected(type: number, body: Uint8Array): void;
}

/** Largest message that is collected, bytes. */
const MAX_COLLECTED = 16 * 1024;

export class MessageStream {
	readonly #sink: MessageSink;
	readonly #header = new Gather(MessageHeader.min);
	#type = 0;
	#verdict: Verdict = 'drop';
	/** Bytes of the body that are still to come. */
	#left = 0;
	#body: Gather | undefined;

	constructor(sink: MessageSink) {
		this.#sink = sink;
	}

	/** Takes bytes as they come. Throws WireError when they are not the agent's protocol. */
	feed(data: Uint8Array): void {
		let at = 0;
		while (at < data.length) {
			if (this.#left > 0) {
				at += this.#continue(data.subarray(at));
				continue;
			}
			at += this.#header.take(data, at);
			if (!this.#header.full) return;
			this.#header.clear();
			at += this.#begin(data.subarray(at));
		}
	}

	/** Forgets a message that has come in part. */
	reset(): void {
		this.#header.clear();
		this.#left = 0;
		this.#body = undefined;
	}

	/** What is still to come of the current message goes nowhere; the next one is judged again. */
	abandon(): void {
		this.#verdict = 'drop';
		this.#body = undefined;
	}

	#begin(data: Uint8Array): number {
		const { protocol, type, size } = wire.decode(MessageHeader, this.#header.bytes);
		if (protocol !== PROTOCOL) throw new WireError(`agent message of protocol ${protocol}`);
		this.#type = type;
		this.#left = size;
		this.#verdict = this.#sink.judge(type);
		if (this.#verdict === 'collect') {
			if (size > MAX_COLLECTED) throw new WireError(`agent message ${type} of ${size} bytes`);
			this.#body = new Gather(size);
			return this.#collect(data);
		}
		if (this.#verdict === 'drop') return 0;
		const count = Math.min(size, data.length, MAX_AGENT_DATA - MessageHeader.min);
		const piece = new Uint8Array(MessageHeader.min + count);
		piece.set(this.#header.bytes);
		piece.set(data.subarray(0, count), MessageHeader.min);
		this.#left -= count;
		this.#sink.piece(piece);
		return count;
	}

	#continue(data: Uint8Array): number {
		if (this.#verdict === 'collect') return this.#collect(data);
		const pass = this.#verdict === 'pass';
		const count = Math.min(this.#left, data.length, pass ? MAX_AGENT_DATA : Number.POSITIVE_INFINITY);
		this.#left -= count;
		if (pass) this.#sink.piece(data.slice(0, count));
		return count;
	}

	#collect(data: Uint8Array): number {
		const body = this.#body;
		if (!body) return 0;
		const count = body.take(data, 0);
		this.#left -= count;
		if (!body.full) return count;
		this.#body = undefined;
		this.#sink.collected(this.#type, body.bytes);
		return count;
	}
}

/** A whole message with its header. */
export function encodeMessage<T>(type: number, codec: Codec<T>, body: T): Uint8Array {
	const data = wire.encode(codec, body);
	return wholeMessage(type, data);
}

/** A whole message around a body that is encoded already. */
export function wholeMessage(type: number, body: Uint8Array): Uint8Array {
	const header = wire.encode(MessageHeader, { protocol: PROTOCOL, type, opaque: 0n, size: body.length });
	const message = new Uint8Array(header.length + body.length);
	message.set(header);
	message.set(body, header.length);
	return message;
}
