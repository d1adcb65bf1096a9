/** A QMP conversation as bytes: for tests that compare what two servers say to the same lines. */
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type QmpMessage = Record<string, unknown>;

export class QmpPeer {
	readonly messages: QmpMessage[] = [];
	readonly #socket: Socket;
	#text = '';
	#ended = false;

	private constructor(socket: Socket) {
		this.#socket = socket;
		socket.on('data', (data: Buffer) => {
			this.#text += data.toString('utf8');
			for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
				this.messages.push(JSON.parse(this.#text.slice(0, end)));
				this.#text = this.#text.slice(end + 1);
			}
		});
		const end = () => {
			this.#ended = true;
		};
		socket.on('close', end).on('error', end);
	}

	/** Connects as soon as somebody listens; throws after thirty seconds. */
	static async connect(path: string): Promise<QmpPeer> {
		for (const end = Date.now() + 30_000; ; await sleep(30)) {
			const socket = await new Promise<Socket | undefined>((resolve) => {
				const attempt = createConnection(path);
				attempt.once('connect', () => resolve(attempt));
				attempt.once('error', () => resolve(undefined));
			});
			if (socket) return new QmpPeer(socket);
			if (Date.now() > end) throw new Error(`nobody listens on ${path}`);
		}
	}

	get ended(): boolean {
		return this.#ended;
	}

	send(bytes: string | Uint8Array): void {
		this.#socket.write(bytes);
	}

	/** Waits for `count` messages in all, or throws with those that came. */
	async until(count: number, limitMs = 30_000): Promise<QmpMessage[]> {
		await this.#wait(() => this.messages.length >= count, `${count} messages`, limitMs);
		return this.messages.slice(0, count);
	}

	async closed(limitMs = 30_000): Promise<void> {
		await this.#wait(() => this.#ended, 'the end', limitMs);
	}

	/** Sends a command with an id of its own and returns the answer; events stay in `messages`. */
	async ask(execute: string, args?: unknown): Promise<QmpMessage> {
		const id = `ask-${Math.random()}`;
		this.send(`${JSON.stringify(args === undefined ? { execute, id } : { execute, arguments: args, id })}\n`);
		let answer: QmpMessage | undefined;
		await this.#wait(
			() => {
				answer = this.messages.find((message) => message.id === id);
				return answer !== undefined;
			},
			`an answer to ${execute}`,
			30_000,
		);
		return answer ?? {};
	}

	/** Sends a line, then a probe; returns all that came before the probe's answer. */
	async say(bytes: string | Uint8Array): Promise<QmpMessage[]> {
		const from = this.messages.length;
		this.send(bytes);
		this.send('\n');
		const id = `probe-${Math.random()}`;
		this.send(`${JSON.stringify({ execute: 'query-name', id })}\n`);
		const at = () => this.messages.findIndex((message) => message.id === id);
		await this.#wait(() => at() >= 0 || this.#ended, `an answer to ${bytes}`, 30_000);
		return this.messages.slice(from, at() < 0 ? undefined : at());
	}

	/**
	 * Sends the line that ends the conversation; returns the `count` messages that answer it, or those before the end.
	 * No probe follows it, and its newline comes with it: a server that goes away with something unread resets the
	 * connection, and its last words are lost.
	 */
	async sayLast(bytes: string | Uint8Array, count: number): Promise<QmpMessage[]> {
		const from = this.messages.length;
		this.send(Buffer.concat([Buffer.from(bytes), Buffer.from('\n')]));
		await this.#wait(() => this.messages.length >= from + count || this.#ended, `an answer to ${bytes}`, 30_000);
		return this.messages.slice(from);
	}

	destroy(): void {
		this.#socket.destroy();
	}

	async #wait(condition: () => boolean, what: string, limitMs: number): Promise<void> {
		for (const end = Date.now() + limitMs; !condition(); await sleep(5))
			if (Date.now() > end) throw new Error(`no ${what}; there came ${JSON.stringify(this.messages.slice(-5))}`);
	}
}
