/**
 * JSON as QMP reads it from a socket: values one after another with nothing between them, each complete when its
 * braces and brackets balance. Error texts are QEMU's (qobject/json-parser.c, json-lexer.c); so are single-quoted
 * strings and the way back after an error. A peer can make us hold at most MAX_MESSAGE bytes and MAX_TOKENS tokens.
 */

/** Bytes of one value; the longest command of ours has a few hundred. */
const MAX_MESSAGE = 1 << 20;
const MAX_TOKENS = 1 << 16;
const MAX_NESTING = 1024;
/** Digits of an integer that is kept exactly, the sign included; QEMU's have 64 bits. */
const MAX_DIGITS = 64;

/** An integer that a double cannot hold is a bigint. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | JsonObject;
export type JsonObject = { [key: string]: JsonValue };
export type JsonResult = { readonly value: JsonValue } | { readonly error: string };

type TokenKind = 'structure' | 'string' | 'number' | 'keyword';
interface Token {
	readonly kind: TokenKind;
	readonly text: string;
}

const STRUCTURE = '{}[]:,';

/** What may come next in a number, after what was read; `end` marks texts that are a number already. */
const NUMBER: Readonly<Record<string, { readonly end: boolean; next(c: string): string | undefined }>> = {
	minus: { end: false, next: (c) => (c === '0' ? 'zero' : isDigit(c) ? 'digits' : undefined) },
	zero: { end: true, next: (c) => (c === '.' ? 'point' : isExponent(c) ? 'e' : undefined) },
	digits: { end: true, next: (c) => (isDigit(c) ? 'digits' : c === '.' ? 'point' : isExponent(c) ? 'e' : undefined) },
	point: { end: false, next: (c) => (isDigit(c) ? 'fraction' : undefined) },
	fraction: { end: true, next: (c) => (isDigit(c) ? 'fraction' : isExponent(c) ? 'e' : undefined) },
	e: { end: false, next: (c) => (c === '+' || c === '-' ? 'sign' : isDigit(c) ? 'exponent' : undefined) },
	sign: { end: false, next: (c) => (isDigit(c) ? 'exponent' : undefined) },
	exponent: { end: true, next: (c) => (isDigit(c) ? 'exponent' : undefined) },
};

/** Cuts a byte stream into JSON values. Errors do not end it: reading goes on further down the stream. */
export class JsonStream {
	readonly #emit: (result: JsonResult) => void;
	#state: 'between' | 'string' | 'number' | 'keyword' | 'recovery' | 'overflow' = 'between';
	#number = 'digits';
	#escaped = false;
	#quote = '"';
	/** The token being read, one character a byte. */
	#text = '';
	#tokens: Token[] = [];
	#bytes = 0;
	#braces = 0;
	#brackets = 0;

	constructor(emit: (result: JsonResult) => void) {
		this.#emit = emit;
	}

	feed(chunk: Uint8Array): void {
		for (let i = 0; i < chunk.length; i++) this.#character(String.fromCharCode(chunk[i]));
	}

	#character(c: string): void {
		switch (this.#state) {
			case 'string':
				this.#inString(c);
				break;
			case 'number':
				this.#inNumber(c);
				break;
			case 'keyword':
				if (c >= 'a' && c <= 'z') this.#append(c);
				else this.#finish('keyword', c);
				break;
			case 'recovery':
				if (c >= ' ' && !STRUCTURE.includes(c)) break;
				this.#state = 'between';
				this.#begin(c);
				break;
			case 'overflow':
				if (c === '\n') this.#state = 'between';
				break;
			default:
				this.#begin(c);
		}
	}

	#begin(c: string): void {
		if (c === ' ' || c === '\t' || c === '\r' || c === '\n') return;
		if (STRUCTURE.includes(c)) {
			this.#text = c;
			this.#finish('structure');
		} else if (c === '"' || c === "'") {
			this.#quote = c;
			this.#enter('string', c);
		} else if (c === '-' || isDigit(c)) {
			this.#number = c === '-' ? 'minus' : c === '0' ? 'zero' : 'digits';
			this.#enter('number', c);
		} else if (c >= 'a' && c <= 'z') {
			this.#enter('keyword', c);
		} else {
			this.#stray(c);
		}
	}

	#inNumber(c: string): void {
		const next = NUMBER[this.#number].next(c);
		if (next !== undefined) {
			this.#number = next;
			this.#append(c);
		} else if (NUMBER[this.#number].end && !(this.#number === 'zero' && isDigit(c))) {
			this.#finish('number', c);
		} else {
			this.#stray(this.#text + c);
		}
	}

	#inString(c: string): void {
		// UTF-8 never has the bytes f8..ff, c0 and c1; control characters must be escaped.
		if (c < ' ' || c >= '\xf8' || c === '\xc0' || c === '\xc1') {
			this.#stray(this.#text + c);
			return;
		}
		this.#append(c);
		if (this.#escaped) this.#escaped = false;
		else if (c === '\\') this.#escaped = true;
		else if (c === this.#quote && this.#state === 'string') this.#finish('string');
	}

	#enter(state: 'string' | 'number' | 'keyword', c: string): void {
		this.#state = state;
		this.#escaped = false;
		this.#text = '';
		this.#append(c);
	}

	#append(c: string): void {
		this.#text += c;
		if (this.#bytes + this.#text.length > MAX_MESSAGE) this.#overflow('JSON token size limit exceeded');
	}

	#stray(text: string): void {
		this.#fail(`JSON parse error, stray '${printable(text)}'`);
	}

	/** What is left of a value that was too big makes no sense by itself: it is skipped to the end of its line. */
	#overflow(error: string): void {
		this.#fail(error);
		this.#state = 'overflow';
	}

	#fail(error: string): void {
		this.#state = 'recovery';
		this.#drop();
		this.#emit({ error });
	}

	#drop(): void {
		this.#text = '';
		this.#tokens = [];
		this.#bytes = 0;
		this.#braces = 0;
		this.#brackets = 0;
	}

	/** Ends a token. `after` is the character that ended it, for tokens that have no end of their own. */
	#finish(kind: TokenKind, after?: string): void {
		const text = this.#text;
		this.#state = 'between';
		this.#text = '';
		this.#bytes += text.length;
		this.#tokens.push({ kind, text });
		if (kind === 'structure') {
			if (text === '{') this.#braces++;
			else if (text === '}') this.#braces--;
			else if (text === '[') this.#brackets++;
			else if (text === ']') this.#brackets--;
		}
		const open = (this.#braces > 0 && this.#brackets >= 0) || (this.#brackets > 0 && this.#braces >= 0);
		if (this.#bytes > MAX_MESSAGE) {
			this.#overflow('JSON token size limit exceeded');
		} else if (this.#tokens.length > MAX_TOKENS) {
			this.#overflow('JSON token count limit exceeded');
		} else if (this.#braces + this.#brackets > MAX_NESTING) {
			this.#overflow('JSON nesting depth limit exceeded');
		} else if (!open) {
			const tokens = this.#tokens;
			this.#drop();
			this.#emit(parse(tokens));
		}
		if (after !== undefined) this.#character(after);
	}
}

class JsonError extends Error {}

function parse(tokens: readonly Token[]): JsonResult {
	try {
		return { value: new Parser(tokens).value() };
	} catch (error) {
		if (error instanceof JsonError) return { error: `JSON parse error, ${error.message}` };
		throw error;
	}
}

class Parser {
	readonly #tokens: readonly Token[];
	#at = 0;
	constructor(tokens: readonly Token[]) {
		this.#tokens = tokens;
	}

	value(): JsonValue {
		const token = this.#next();
		if (token.kind === 'string') return unquote(token.text);
		if (token.kind === 'number') return number(token.text);
		if (token.kind === 'keyword') return keyword(token.text);
		if (token.text === '{') return this.#object();
		if (token.text === '[') return this.#array();
		throw new JsonError('expecting value');
	}

	#object(): JsonObject {
		// No prototype, so that a member called __proto__ is a member like any other.
		const object: JsonObject = Object.create(null);
		if (this.#take('}')) return object;
		for (;;) {
			const key = this.value();
			if (typeof key !== 'string') throw new JsonError('key is not a string in object');
			if (!this.#take(':')) throw new JsonError('missing : in object pair');
			const value = this.value();
			if (Object.hasOwn(object, key)) throw new JsonError('duplicate key');
			object[key] = value;
			if (this.#take('}')) return object;
			if (!this.#take(',')) throw new JsonError('expected separator in dict');
		}
	}

	#array(): JsonValue[] {
		const array: JsonValue[] = [];
		if (this.#take(']')) return array;
		for (;;) {
			array.push(this.value());
			if (this.#take(']')) return array;
			if (!this.#take(',')) throw new JsonError('expected separator in list');
		}
	}

	#next(): Token {
		const token = this.#tokens[this.#at++];
		if (!token) throw new JsonError('premature EOI');
		return token;
	}

	#take(structure: string): boolean {
		const token = this.#tokens[this.#at];
		if (token?.kind !== 'structure' || token.text !== structure) return false;
		this.#at++;
		return true;
	}
}

function number(text: string): number | bigint {
	const value = Number(text);
	if (Number.isSafeInteger(value) || text.length > MAX_DIGITS || !/^-?\d+$/.test(text)) return value;
	return BigInt(text);
}

function keyword(text: string): JsonValue {
	if (text === 'true') return true;
	if (text === 'false') return false;
	if (text === 'null') return null;
	throw new JsonError(`invalid keyword '${text}'`);
}

const ESCAPES: Readonly<Record<string, string>> = {
	'"': '"',
	"'": "'",
	'\\': '\\',
	'/': '/',
	b: '\b',
	f: '\f',
	n: '\n',
	r: '\r',
	t: '\t',
};

/** Undoes quotes and escapes of a token whose characters are bytes. */
function unquote(token: string): string {
	let bytes: string;
	try {
		bytes = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(token.slice(1, -1), 'latin1'));
	} catch {
		throw new JsonError('invalid UTF-8 sequence in string');
	}
	return bytes.replace(/\\(u[0-9a-fA-F]{4}|.)/gsu, (_, code: string, at: number) => {
		if (code.length > 4) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
		if (code === 'u') throw new JsonError(`${(bytes + token[0]).slice(at, at + 6)} is not a valid Unicode character`);
		if (!Object.hasOwn(ESCAPES, code)) throw new JsonError('invalid escape sequence in string');
		return ESCAPES[code];
	});
}

function printable(text: string): string {
	return Buffer.from(text.length > 80 ? `${text.slice(0, 80)}…` : text, 'latin1').toString('utf8');
}

function isDigit(c: string): boolean {
	return c >= '0' && c <= '9';
}
function isExponent(c: string): boolean {
	return c === 'e' || c === 'E';
}

/** The same value with doubles in place of bigints, for those who count in doubles. */
export function rounded(value: JsonValue): JsonValue {
	if (typeof value === 'bigint') return Number(value);
	if (Array.isArray(value)) return value.map(rounded);
	if (typeof value !== 'object' || value === null) return value;
	const object: JsonObject = Object.create(null);
	for (const [key, member] of Object.entries(value)) object[key] = rounded(member);
	return object;
}

/** As JSON.stringify, with bigints as integers of any size. */
export function stringify(value: unknown): string {
	if (typeof value === 'bigint') return String(value);
	if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
	if (Array.isArray(value)) return `[${value.map(stringify).join(',')}]`;
	const members = Object.entries(value).filter(([, member]) => member !== undefined);
	return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${stringify(member)}`).join(',')}}`;
}
