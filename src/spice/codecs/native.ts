/** Finding, and if wished building, the native addon. Its source and contract: native/src/addon.cc. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { OpusDecoder, OpusEncoder } from './opus.ts';

/** native/src/addon.cc, enum Codec. */
export const NativeCodec = { quic: 0, lz: 1, lz4: 2 } as const;
export type NativeCodec = (typeof NativeCodec)[keyof typeof NativeCodec];

type Arguments = [
	codec: NativeCodec,
	layout: number,
	width: number,
	height: number,
	stride: number,
	pixels: Uint8Array,
];

export interface NativeAddon {
	encode(...image: Arguments): Uint8Array;
	encodeAsync(...image: Arguments): Promise<Uint8Array>;
	/**
	 * Gives the host back the whole pages inside the range of a private anonymous mapping (a WebAssembly memory): they
	 * read as zeros afterwards. Returns how many bytes that were.
	 */
	discard(buffer: ArrayBuffer, offset: number, length: number): number;
	/**
	 * Gives the host back the room that a range of an open file takes: it reads as zeros afterwards, the file keeps its
	 * size. Resolves to 0 or to the errno. An addon that was built before has none.
	 */
	readonly punchHole?: (fd: number, offset: number, length: number) => Promise<number>;
	/** Read locks on bytes of open files, as src/block/qemu-lock.ts takes them. An addon that was built before has none. */
	readonly lockByte?: (fd: number, offset: number) => number;
	readonly byteLocked?: (fd: number, offset: number) => number;
	/** Whether LZ4 was compiled in. */
	readonly lz4: boolean;
	/** With libopus only: native/src/opus.cc. Rate in Hz, bitrate in bits a second. */
	readonly OpusEncoder?: new (
		rate: number,
		channels: number,
		bitrate: number,
	) => OpusEncoder;
	readonly OpusDecoder?: new (rate: number, channels: number) => OpusDecoder;
}

export type NativeState = { readonly addon: NativeAddon } | { readonly addon: undefined; readonly reason: string };

let state: NativeState | undefined;

/** The package's folder, from a source tree or from dist/. */
function packageRoot(): string {
	let dir = path.dirname(fileURLToPath(import.meta.url));
	while (!existsSync(path.join(dir, 'native', 'binding.gyp'))) {
		const up = path.dirname(dir);
		if (up === dir) return '';
		dir = up;
	}
	return dir;
}

function load(): NativeState {
	if (process.env.TSVM_NATIVE === '0') return { addon: undefined, reason: 'switched off by TSVM_NATIVE=0' };
	const root = packageRoot();
	const file = path.join(root, 'native', 'build', 'Release', 'tsvm.node');
	if (root === '' || !existsSync(file)) return { addon: undefined, reason: 'it has not been built' };
	try {
		return { addon: createRequire(import.meta.url)(file) as NativeAddon };
	} catch (error) {
		return { addon: undefined, reason: error instanceof Error ? error.message.split('\n')[0] : String(error) };
	}
}

/** The addon, or why there is none; looked for once. */
export function native(): NativeState {
	state ??= load();
	return state;
}

/**
 * Compiles the addon with node-gyp (half a minute at most) and loads it. For hosts where npm did not run the install
 * script. Returns why there is still none, or undefined when all is well.
 */
export async function buildNative(): Promise<string | undefined> {
	const installer = path.join(packageRoot(), 'native', 'install.mjs');
	if (!existsSync(installer)) return 'native/install.mjs is missing';
	const { build } = (await import(pathToFileURL(installer).href)) as {
		build(output?: 'inherit' | 'pipe'): { ok: true } | { ok: false; reason: string };
	};
	const result = build();
	if (!result.ok) return result.reason;
	state = load();
	return state.addon === undefined ? state.reason : undefined;
}

/** Builds the addon unless it loads already; what buildNative returns. */
export async function ensureNative(): Promise<string | undefined> {
	return native().addon === undefined && process.env.TSVM_NATIVE !== '0' ? buildNative() : undefined;
}
