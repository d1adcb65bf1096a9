/**
 * Human monitor commands: how one is declared, and how a line becomes its arguments. Argument descriptions are those
 * of QEMU's hmp-commands.hx: `filename:F` a file name, `keys:s` a word, `hold:i` a number, `force:-f` a flag,
 * `format:-fs` a flag with a word; `?` after the type makes it optional. Messages are QEMU's (monitor/hmp.c).
 */
import type { ControlContext } from '../qmp/context.ts';

export type HmpValue = string | number | boolean | undefined;
export type HmpArguments = Readonly<Record<string, HmpValue>>;

export interface HmpCommand {
	/** Names, the first being the one that help sorts by: `cont|c`. */
	readonly name: string;
	/** `filename:F,device:s?`, or ''. */
	readonly args: string;
	/** As help prints them: `[-f] device`. */
	readonly params: string;
	readonly help: string;
	/** The text to print, each line with its newline. Throws QmpError or TsvmError. */
	run(context: ControlContext, args: HmpArguments): string | Promise<string>;
}

/** A line that does not fit its command; the message is what the operator sees. */
export class HmpUsageError extends Error {}

interface ArgumentSpec {
	readonly key: string;
	readonly type: string;
	readonly optional: boolean;
}

export function names(command: HmpCommand): string[] {
	return command.name.split('|');
}

export function helpLine(command: HmpCommand, prefix = ''): string {
	return `${prefix}${command.name} ${command.params} -- ${command.help}\n`;
}

/** `path` is what the operator typed before the arguments: `info status`. */
export function parseArguments(command: HmpCommand, path: string, text: string): HmpArguments {
	const fail = (message: string): never => {
		throw new HmpUsageError(`${message}\nTry "help ${path}" for more information\n`);
	};
	const reader = new LineReader(text);
	const values: Record<string, HmpValue> = {};
	const specs = command.args === '' ? [] : command.args.split(',').map(parseSpec);
	for (const { key, type, optional } of specs) {
		if (type.startsWith('-')) {
			if (!reader.at('-')) continue;
			const word = reader.peekWord();
			if (word !== type.slice(0, 2)) {
				// A later flag may be meant; only a letter that no flag has is wrong.
				if (specs.some((other) => other.type.slice(0, 2) === word)) continue;
				fail(`${command.name}: unsupported option ${word}`);
			}
			reader.word();
			if (type.length === 2) values[key] = true;
			else values[key] = reader.word() ?? fail(`${command.name}: value for option ${type.slice(0, 2)} expected`);
			continue;
		}
		if (reader.end) {
			if (!optional) fail(type === 'i' ? 'unexpected end of expression' : `${command.name}: ${expected(type)}`);
			continue;
		}
		values[key] = type === 'i' ? readInteger(reader, fail) : reader.word(fail);
	}
	if (!reader.end) fail(`${command.name}: extraneous characters at the end of line`);
	return values;
}

function parseSpec(text: string): ArgumentSpec {
	const [key, type] = text.split(':');
	return { key, type: type.replace(/\?$/, ''), optional: type.endsWith('?') };
}

function expected(type: string): string {
	return { F: 'filename expected', B: 'block device name expected' }[type] ?? 'string expected';
}

function readInteger(reader: LineReader, fail: (message: string) => never): number {
	const word = reader.word() ?? '';
	if (/^-?(0[xX][0-9a-fA-F]+|\d+)$/.test(word)) {
		const value = word.startsWith('-') ? -Number(word.slice(1)) : Number(word);
		if (Number.isSafeInteger(value)) return value;
		return fail('number too large');
	}
	return fail(`invalid char '${/[^\d]/.exec(word.replace(/^-/, ''))?.[0] ?? ''}' in expression`);
}

/** Words of a line; one in double quotes may hold spaces and escapes. */
class LineReader {
	#rest: string;
	constructor(text: string) {
		this.#rest = text.trimStart();
	}
	get end(): boolean {
		return this.#rest === '';
	}
	at(start: string): boolean {
		return this.#rest.startsWith(start);
	}
	peekWord(): string {
		return /^\S*/.exec(this.#rest)?.[0] ?? '';
	}
	word(fail?: (message: string) => never): string | undefined {
		if (this.end) return undefined;
		const match = this.at('"') ? /^"((?:[^"\\]|\\.)*)"/.exec(this.#rest) : /^(\S+)/.exec(this.#rest);
		if (!match) return fail?.('unterminated string');
		this.#rest = this.#rest.slice(match[0].length).trimStart();
		if (!match[0].startsWith('"')) return match[1];
		return match[1].replace(/\\(.)/g, (_, c: string) => ({ n: '\n', r: '\r' })[c] ?? c);
	}
}
