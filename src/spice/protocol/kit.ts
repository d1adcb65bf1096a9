/**
 * How a channel's messages are declared: a number and a body each, in the names of spice.proto, for both directions.
 * Senders and handlers come typed from the declaration and find their way by tables, not by switches.
 */
import { type Codec, type Infer, WireError, WireReader, WireWriter } from '../../core/index.ts';

/** Message name to [number, body]. */
export type Messages = Readonly<Record<string, readonly [number, Codec<never> | Codec<unknown>]>>;

export interface ChannelSpec<S extends Messages, C extends Messages> {
	/** SPICE_CHANNEL_* number. */
	readonly id: number;
	/** Messages that the server sends. */
	readonly server: S;
	/** Messages that the client sends. */
	readonly client: C;
}

export function channel<const S extends Messages, const C extends Messages>(
	id: number,
	spec: { readonly server: S; readonly client: C },
): ChannelSpec<S, C> {
	return { id, ...spec };
}

export type Body<M extends Messages, K extends keyof M> = Infer<M[K][1]>;
type IsEmpty<T> = [keyof T] extends [never] ? true : false;
/** One method a message; a message with an empty body takes no argument. */
export type Sender<M extends Messages> = {
	readonly [K in keyof M]: IsEmpty<Body<M, K>> extends true ? () => void : (body: Body<M, K>) => void;
};
/** One optional method a message; what has none is read, checked and let go. */
export type Handlers<M extends Messages> = {
	readonly [K in keyof M]?: (body: Body<M, K>) => void;
};

/** Encodes one message body into parts for ChannelLink.send. */
export function encodeBody<T>(codec: Codec<T>, body: T): Uint8Array[] {
	const w = new WireWriter(Math.max(16, codec.min));
	codec.write(w, body);
	return w.finish();
}

/** `sender(link, main.server).mouseMode({...})` encodes and sends. */
export function sender<M extends Messages>(
	link: { send(type: number, parts: readonly Uint8Array[]): void },
	messages: M,
): Sender<M> {
	const out: Record<string, (body?: unknown) => void> = {};
	for (const [name, [type, codec]] of Object.entries(messages))
		out[name] = (body = {}) => link.send(type, encodeBody(codec as Codec<unknown>, body));
	return out as Sender<M>;
}

/**
 * Decodes a message and calls its handler. Throws WireError for a number that the channel does not declare and for a
 * body that does not hold what it should.
 */
export function receiver<M extends Messages>(
	messages: M,
	handlers: Handlers<M>,
): (type: number, body: Uint8Array) => void {
	const table = new Map<number, { codec: Codec<unknown>; handle: ((body: unknown) => void) | undefined }>();
	for (const [name, [type, codec]] of Object.entries(messages)) {
		const handle = handlers[name as keyof M] as ((body: unknown) => void) | undefined;
		table.set(type, { codec: codec as Codec<unknown>, handle });
	}
	return (type, body) => {
		const entry = table.get(type);
		if (!entry) throw new WireError(`message ${type} does not exist on this channel`);
		const value = entry.codec.read(new WireReader(body));
		entry.handle?.(value);
	};
}
