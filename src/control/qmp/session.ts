/** One client's QMP conversation (docs/interop/qmp-spec.txt): greeting, negotiation, then commands one at a time. */
import type { Socket } from 'node:net';
import * as z from 'zod';
import { tracePoints } from '../../core/index.ts';
import { type JsonObject, type JsonResult, JsonStream, type JsonValue, rounded, stringify } from '../json.ts';
import { COMMANDS } from './commands.ts';
import { type ControlContext, packageText, QEMU_VERSION } from './context.ts';
import { asQmpError, QmpError, validate } from './errors.ts';

const trace = tracePoints('qmp', { command: ['text'], reply: ['text'], event: ['name'] });

/** Commands that may wait while one runs; the socket is not read until there is room again. */
const MAX_WAITING = 8;
/** A client that does not read what it is sent is cut off once this many bytes wait for it. */
const MAX_UNREAD = 4 << 20;

const Capabilities = z.strictObject({ enable: z.array(z.enum(['oob'])).optional() });

export class QmpSession {
	readonly #socket: Socket;
	readonly #context: ControlContext;
	readonly #waiting: JsonResult[] = [];
	#negotiated = false;
	#busy = false;
	#closing = false;
	#over = false;

	constructor(socket: Socket, context: ControlContext) {
		this.#socket = socket;
		this.#context = context;
		const stream = new JsonStream((result) => this.#enqueue(result));
		socket.on('data', (chunk: Buffer) => stream.feed(chunk));
		socket.on('error', () => socket.destroy());
		// A client that has said all it wants to say still gets its answers.
		socket.on('end', () => {
			this.#over = true;
			if (!this.#busy) socket.end();
		});
		const version = { qemu: QEMU_VERSION, package: packageText(context.version) };
		this.#send({ QMP: { version, capabilities: [] } });
	}

	/** Sends an event, which clients get once they have negotiated. */
	event(name: string, data: Readonly<Record<string, unknown>>): void {
		if (!this.#negotiated) return;
		trace.event(name);
		const now = Date.now() * 1000;
		const timestamp = { seconds: Math.floor(now / 1e6), microseconds: now % 1e6 };
		// As QEMU does, an event without data has no such member.
		this.#send(Object.keys(data).length === 0 ? { timestamp, event: name } : { timestamp, event: name, data });
	}

	/** Ends the conversation after what has been said is sent. */
	close(): void {
		this.#closing = true;
		this.#waiting.length = 0;
		this.#socket.end();
	}

	#enqueue(result: JsonResult): void {
		if (this.#closing) return;
		this.#waiting.push(result);
		if (this.#waiting.length >= MAX_WAITING) this.#socket.pause();
		if (!this.#busy) void this.#work();
	}

	async #work(): Promise<void> {
		this.#busy = true;
		for (let next = this.#waiting.shift(); next && !this.#closing; next = this.#waiting.shift()) {
			await this.#handle(next);
			if (this.#waiting.length < MAX_WAITING) this.#socket.resume();
		}
		this.#busy = false;
		if (this.#over) this.#socket.end();
	}

	async #handle(request: JsonResult): Promise<void> {
		let id: JsonValue | undefined;
		try {
			if ('error' in request) throw new QmpError(request.error);
			const { value } = request;
			if (isObject(value)) id = value.id;
			const result = (await this.#execute(value)) ?? {};
			this.#send(id === undefined ? { return: result } : { return: result, id });
		} catch (thrown) {
			const { class: errorClass, message: desc } = asQmpError(thrown);
			const error = { class: errorClass, desc };
			this.#send(id === undefined ? { error } : { id, error });
		}
	}

	async #execute(value: JsonValue): Promise<unknown> {
		const { execute, args } = readRequest(value);
		trace.command(execute);
		if (execute === 'qmp_capabilities') {
			this.#negotiate(args);
			return undefined;
		}
		if (!this.#negotiated)
			throw new QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound');
		const command = COMMANDS.get(execute);
		if (!command) throw new QmpError(`The command ${execute} has not been found`, 'CommandNotFound');
		return command.execute(this.#context, args);
	}

	#negotiate(args: JsonObject): void {
		if (this.#negotiated)
			throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
		const { enable = [] } = validate(Capabilities, args);
		if (enable.length > 0) throw new QmpError(`Capability ${enable[0]} not available`);
		this.#negotiated = true;
	}

	#send(message: Record<string, unknown>): void {
		if (this.#socket.destroyed || this.#socket.writableEnded) return;
		if (this.#socket.writableLength > MAX_UNREAD) {
			this.#socket.destroy();
			return;
		}
		const text = stringify(message);
		trace.reply(text);
		this.#socket.write(`${text}\r\n`);
	}
}

/** Checks a request's own members (qapi/qmp-dispatch.c). */
function readRequest(value: JsonValue): { readonly execute: string; readonly args: JsonObject } {
	if (!isObject(value)) throw new QmpError('QMP input must be a JSON object');
	let execute: string | undefined;
	let args: JsonObject = {};
	for (const [key, member] of Object.entries(value)) {
		if (key === 'execute') {
			if (typeof member !== 'string') throw new QmpError("QMP input member 'execute' must be a string");
			execute = member;
		} else if (key === 'arguments') {
			if (!isObject(member)) throw new QmpError("QMP input member 'arguments' must be an object");
			args = rounded(member) as JsonObject;
		} else if (key !== 'id') {
			throw new QmpError(`QMP input member '${key}' is unexpected`);
		}
	}
	if (execute === undefined) throw new QmpError("QMP input lacks member 'execute'");
	return { execute, args };
}

function isObject(value: JsonValue): value is JsonObject {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
