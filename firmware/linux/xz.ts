/**
 * Kernels pack themselves with xz behind the x86 branch filter, which the decoder library leaves out. So the stream is
 * wrapped anew without filter and checksum, the library undoes LZMA2, and filter and checksum are done here.
 * The .xz File Format 1.2.1, sections 2-4 and 5.3.2.
 */
import { crc32 } from 'node:zlib';
import xz from 'xz-decompress';

const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
const CHECK_SIZE: Record<number, number> = { 0: 0, 1: 4, 4: 8, 10: 32 };
const CHECK_CRC32 = 1;
const HEADER_SIZE = 12;
const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];

/**
 * Unpacks one .xz stream of one block, LZMA2 with or without the x86 filter, to at most `limit` bytes.
 * Throws Error if it is damaged, longer, or packed another way.
 */
export async function unpackXz(stream: Uint8Array, limit: number): Promise<Uint8Array> {
	const block = parse(stream);
	if (block.unpackedSize > limit) throw new Error(`xz: unpacks to more than ${limit} bytes`);
	const out = await decode(rewrap(block), block.unpackedSize);
	if (block.x86) undoX86Filter(out);
	if (block.crc !== undefined && crc32(out) !== block.crc) throw new Error('xz: checksum does not match');
	return out;
}

interface Block {
	/** LZMA2 chunks. */
	readonly data: Uint8Array;
	readonly dictionary: number;
	readonly x86: boolean;
	readonly unpackedSize: number;
	/** Of the unpacked bytes, if the stream carries one. */
	readonly crc: number | undefined;
}

function parse(stream: Uint8Array): Block {
	if (stream.length < 2 * HEADER_SIZE + 12 || MAGIC.some((b, i) => stream[i] !== b))
		throw new Error('xz: no xz stream');
	const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
	const check = stream[7] & 0x0f;
	const checkSize = CHECK_SIZE[check];
	if (checkSize === undefined) throw new Error(`xz: unknown check ${check}`);

	// The footer says where the index begins, the index how long the block is.
	const footer = stream.length - HEADER_SIZE;
	if (stream[footer + 10] !== 0x59 || stream[footer + 11] !== 0x5a) throw new Error('xz: cut short');
	const index = footer - (view.getUint32(footer + 4, true) + 1) * 4;
	if (index < HEADER_SIZE || stream[index] !== 0) throw new Error('xz: no index');
	const records = new Cursor(stream, index + 1, footer);
	if (records.number() !== 1) throw new Error('xz: more than one block');
	const unpadded = records.number();
	const unpackedSize = records.number();

	const headerSize = (stream[HEADER_SIZE] + 1) * 4;
	const dataEnd = HEADER_SIZE + unpadded - checkSize;
	// The check lies behind the padding that makes the data a multiple of four long.
	const checkAt = (dataEnd + 3) & ~3;
	if (checkAt + checkSize > index || headerSize + checkSize > unpadded) throw new Error('xz: block leaves the stream');
	const flags = stream[HEADER_SIZE + 1];
	const header = new Cursor(stream, HEADER_SIZE + 2, HEADER_SIZE + headerSize);
	if (flags & 0x40) header.number();
	if (flags & 0x80) header.number();
	let x86 = false;
	let dictionary = -1;
	for (let i = 0; i <= (flags & 3); i++) {
		const id = header.number();
		const size = header.number();
		const first = header.skip(size);
		if (id === FILTER_X86 && size === 0) x86 = true;
		else if (id === FILTER_LZMA2 && size === 1) dictionary = stream[first];
		else throw new Error(`xz: filter 0x${id.toString(16)} is not supported`);
	}
	if (dictionary < 0) throw new Error('xz: no LZMA2');
	return {
		data: stream.subarray(HEADER_SIZE + headerSize, dataEnd),
		dictionary,
		x86,
		unpackedSize,
		crc: check === CHECK_CRC32 ? view.getUint32(checkAt, true) : undefined,
	};
}

class Cursor {
	readonly #bytes: Uint8Array;
	readonly #end: number;
	#at: number;
	constructor(bytes: Uint8Array, at: number, end: number) {
		this.#bytes = bytes;
		this.#at = at;
		this.#end = end;
	}
	/** A variable-length integer (1.2): seven bits a byte, low ones first. */
	number(): number {
		let value = 0;
		for (let i = 0; i < 7; i++) {
			const byte = this.#bytes[this.skip(1)];
			value += (byte & 0x7f) * 2 ** (7 * i);
			if ((byte & 0x80) === 0) return value;
		}
		throw new Error('xz: number is too long');
	}
	skip(count: number): number {
		const at = this.#at;
		this.#at += count;
		if (this.#at > this.#end) throw new Error('xz: header is cut short');
		return at;
	}
}

/** The same LZMA2 data as a stream without filter and without check. */
function rewrap(block: Block): Uint8Array {
	const flags = Uint8Array.of(0, 0);
	const header = withCrc(Uint8Array.of(2, 0, FILTER_LZMA2, 1, block.dictionary, 0, 0, 0));
	const records = [0, 1, ...encode(header.length + block.data.length), ...encode(block.unpackedSize)];
	while (records.length % 4 !== 0) records.push(0);
	const index = withCrc(Uint8Array.from(records));
	const footer = new Uint8Array(6);
	new DataView(footer.buffer).setUint32(0, index.length / 4 - 1, true);
	return Buffer.concat([
		Uint8Array.from(MAGIC),
		withCrc(flags),
		header,
		block.data,
		new Uint8Array((4 - (block.data.length % 4)) % 4),
		index,
		withCrc(footer).subarray(6),
		footer,
		Uint8Array.of(0x59, 0x5a),
	]);
}

function withCrc(bytes: Uint8Array): Uint8Array {
	const out = new Uint8Array(bytes.length + 4);
	out.set(bytes);
	new DataView(out.buffer).setUint32(bytes.length, crc32(bytes), true);
	return out;
}

function encode(value: number): number[] {
	const out: number[] = [];
	let left = value;
	for (; left >= 0x80; left = Math.floor(left / 0x80)) out.push((left % 0x80) | 0x80);
	out.push(left);
	return out;
}

async function decode(stream: Uint8Array, size: number): Promise<Uint8Array> {
	const source = new ReadableStream<Uint8Array>({
		start(controller) {
			controller.enqueue(stream);
			controller.close();
		},
	});
	const out = new Uint8Array(size);
	let at = 0;
	const reader = new xz.XzReadableStream(source).getReader();
	for (;;) {
		const { done, value } = await reader.read();
		if (done) break;
		if (at + value.length > size) {
			await reader.cancel();
			throw new Error('xz: longer than its index says');
		}
		out.set(value, at);
		at += value.length;
	}
	if (at !== size) throw new Error('xz: shorter than its index says');
	return out;
}

/** Which recent bytes looked like a branch opcode, as a 3-bit history: whether a branch may start now … */
const ALLOWED = [true, true, true, false, true, false, false, false];
/** … and how far back the latest of them lies. */
const DISTANCE = [0, 1, 2, 2, 3, 3, 3, 3];

/**
 * Turns the absolute targets of E8/E9 (CALL/JMP rel32) back into relative ones, in place. Only operands whose top byte
 * is 00 or FF were converted, and opcodes inside a previous operand are told apart by the history.
 */
export function undoX86Filter(code: Uint8Array): void {
	const isSign = (byte: number) => byte === 0x00 || byte === 0xff;
	let history = 0;
	let last = -1;
	for (let i = 0; i <= code.length - 5; i++) {
		if ((code[i] & 0xfe) !== 0xe8) continue;
		const gap = i - last;
		last = i;
		if (gap > 3) {
			history = 0;
		} else {
			history = (history << (gap - 1)) & 7;
			if (history !== 0 && (!ALLOWED[history] || isSign(code[i + 4 - DISTANCE[history]]))) {
				history = (history << 1) | 1;
				continue;
			}
		}
		if (!isSign(code[i + 4])) {
			history = (history << 1) | 1;
			continue;
		}
		let target = code[i + 1] | (code[i + 2] << 8) | (code[i + 3] << 16) | (code[i + 4] << 24);
		for (;;) {
			const relative = (target - (i + 5)) | 0;
			const shift = DISTANCE[history] * 8;
			if (history === 0 || !isSign((relative >>> (24 - shift)) & 0xff)) {
				target = relative;
				break;
			}
			target = relative ^ (shift === 0 ? -1 : (1 << (32 - shift)) - 1);
		}
		code[i + 1] = target;
		code[i + 2] = target >>> 8;
		code[i + 3] = target >>> 16;
		code[i + 4] = target & 0x01000000 ? 0xff : 0x00;
		i += 4;
	}
}
