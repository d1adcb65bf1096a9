/** The other end: one command to a machine's QMP socket. */
import { createConnection } from 'node:net';
import { TsvmError } from '../../core/index.ts';
import { JsonStream, type JsonValue } from '../json.ts';

/** What `screendump` of a large screen or a medium's change may take. */
const ANSWER_LIMIT_MS = 60_000;
const ID = 'tsvm';

/** Runs one command; returns its `return`. Throws TsvmError: nobody listens, not QMP, or the machine's own error. */
export function qmpExecute(path: string, execute: string, args: Readonly<Record<string, unknown>>): Promise<JsonValue> {
	return new Promise((resolve, reject) => {
		const socket = createConnection(path);
		const timer = setTimeout(() => fail(`no answer to ${execute}`, 'the machine may be stuck'), ANSWER_LIMIT_MS);
		const finish = (act: () => void) => {
			clearTimeout(timer);
			socket.destroy();
			act();
		};
		const fail = (message: string, hint: string) => finish(() => reject(new TsvmError('qmp', message, hint)));
		let greeted = false;
		const stream = new JsonStream((result) => {
			if ('error' in result) return fail(`${path} does not speak QMP`, 'give the path that --qmp named');
			const message = result.value as Partial<Record<string, JsonValue>>;
			if (!greeted) {
				if (message?.QMP === undefined) return fail(`${path} does not speak QMP`, 'give the path that --qmp named');
				greeted = true;
				socket.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}\n`);
				socket.write(`${JSON.stringify({ execute, arguments: args, id: ID })}\n`);
				return;
			}
			if (message?.id !== ID) return;
			const error = message.error as { readonly class: string; readonly desc: string } | undefined;
			if (error) return fail(error.desc, error.class === 'GenericError' ? '' : error.class);
			finish(() => resolve(message.return ?? null));
		});
		socket.on('data', (chunk: Buffer) => stream.feed(chunk));
		socket.on('error', (error: NodeJS.ErrnoException) => {
			const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
			if (gone) fail(`no machine listens on ${path}`, 'start one with tsvm run --qmp unix:PATH');
			else fail(`cannot connect to ${path}: ${error.message}`, 'check the path and its permissions');
		});
		socket.on('close', () => fail(`the machine ended before it answered ${execute}`, ''));
	});
}
