/** Unpacks a bzImage's payload on the host, where it takes a fraction of the guest's time. */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { unpackXz } from './xz.ts';

export type Compression = 'xz' | 'gzip' | 'zstd' | 'none' | 'unknown';

/** What a kernel build may have used, by the payload's first bytes (Linux arch/x86/boot/compressed/misc.c). */
export function compressionOf(payload: Uint8Array): Compression {
	const starts = (...magic: readonly number[]) => magic.every((b, i) => payload[i] === b);
	if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)) return 'xz';
	if (starts(0x1f, 0x8b)) return 'gzip';
	if (starts(0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
	if (starts(0x7f, 0x45, 0x4c, 0x46)) return 'none';
	return 'unknown';
}

type ZstdModule = { zstdDecompress?: (input: Uint8Array, callback: (e: Error | null, out: Buffer) => void) => void };

/**
 * The unpacked kernel, at most `limit` bytes, or undefined if this host cannot unpack that format (the guest then does
 * it itself). Throws Error on damaged data.
 */
export async function unpackPayload(payload: Uint8Array, limit: number): Promise<Uint8Array | undefined> {
	switch (compressionOf(payload)) {
		case 'xz':
			// The four bytes behind the stream are its unpacked size, which the decoder would take for garbage.
			return unpackXz(payload.subarray(0, payload.length - 4), limit);
		case 'gzip':
			return promisify(zlib.gunzip)(payload, { maxOutputLength: limit });
		case 'zstd': {
			const { zstdDecompress } = zlib as ZstdModule;
			return zstdDecompress ? promisify(zstdDecompress)(payload.subarray(0, payload.length - 4)) : undefined;
		}
		case 'none':
			return payload;
		case 'unknown':
			return undefined;
	}
}
