/** Decoders for SPICE's LZ and LZ4 images, for tests; strict: whatever does not fit exactly throws. */

/** LZ types as in spice-common lz_common.h, with bytes a literal and the bias of a match's length. */
const KINDS: Record<number, { literal: number; bias: number }> = {
	6: { literal: 2, bias: 1 },
	7: { literal: 3, bias: 0 },
	8: { literal: 3, bias: 0 },
	9: { literal: 3, bias: 0 },
	11: { literal: 1, bias: 2 },
};

function pass(bytes: Uint8Array, start: number, count: number, literal: number, bias: number) {
	const out = new Uint8Array(count * literal);
	let at = start;
	let done = 0;
	while (done < count) {
		const control = bytes[at++];
		if (control < 32) {
			const size = (control + 1) * literal;
			if (done + control + 1 > count || at + size > bytes.length) throw new Error('literals overrun');
			out.set(bytes.subarray(at, at + size), done * literal);
			at += size;
			done += control + 1;
			continue;
		}
		let length = control >> 5;
		if (length === 7) {
			do length += bytes[at];
			while (bytes[at++] === 255);
		}
		length += bias;
		let distance = ((control & 31) << 8) | bytes[at++];
		if (distance === 0x1fff) {
			distance = 8191 + ((bytes[at] << 8) | bytes[at + 1]);
			at += 2;
		}
		const from = done - distance - 1;
		if (from < 0 || done + length > count) throw new Error('match leaves the image');
		for (let i = 0; i < length * literal; i++) out[done * literal + i] = out[from * literal + i];
		done += length;
	}
	return { out, at };
}

/** `color`: literals as written (B, G, R; or high, low byte for 16 bit; or gray). `alpha` for type RGBA. */
export function decodeLz(bytes: Uint8Array) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (view.getUint32(0) !== 0x20205a4c || view.getUint32(4) !== 0x00010001) throw new Error('not LZ 1.1');
	const [type, width, height, stride, topDown] = [8, 12, 16, 20, 24].map((at) => view.getUint32(at));
	const kind = KINDS[type];
	const color = pass(bytes, 28, width * height, kind.literal, kind.bias);
	const alpha = type === 9 ? pass(bytes, color.at, width * height, 1, 2) : undefined;
	if ((alpha?.at ?? color.at) !== bytes.length) throw new Error('bytes left over');
	return { type, width, height, stride, topDown, color: color.out, alpha: alpha?.out };
}

/** One LZ4 block (lz4_Block_format.md) appended to `out` at `done`; returns where it ends. */
function lz4Block(block: Uint8Array, out: Uint8Array, start: number): number {
	let at = 0;
	let done = start;
	const extended = (nibble: number) => {
		let length = nibble;
		if (nibble === 15) {
			do length += block[at];
			while (block[at++] === 255);
		}
		return length;
	};
	while (at < block.length) {
		const token = block[at++];
		const literals = extended(token >> 4);
		if (at + literals > block.length || done + literals > out.length) throw new Error('literals overrun');
		out.set(block.subarray(at, at + literals), done);
		at += literals;
		done += literals;
		if (at === block.length) break;
		const offset = block[at] | (block[at + 1] << 8);
		at += 2;
		const length = extended(token & 15) + 4;
		if (offset === 0 || offset > done || done + length > out.length) throw new Error('match leaves the block');
		for (let i = 0; i < length; i++) out[done + i] = out[done - offset + i];
		done += length;
	}
	return done;
}

/** A SPICE LZ4 image of `size` bytes of pixels. */
export function decodeLz4(bytes: Uint8Array, size: number) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const out = new Uint8Array(size);
	let at = 2;
	let done = 0;
	while (at < bytes.length) {
		const length = view.getUint32(at);
		done = lz4Block(bytes.subarray(at + 4, at + 4 + length), out, done);
		at += 4 + length;
	}
	if (done !== size || at !== bytes.length) throw new Error(`${done} of ${size} bytes`);
	return { topDown: bytes[0], format: bytes[1], data: out };
}
