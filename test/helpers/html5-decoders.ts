/** The image decoders of Debian's spice-html5 package, run as they are: judges that we did not write. */
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const folder = '/usr/share/spice-html5';

/** A module's text as a script: imports and exports taken off, so that its names are the context's. */
function script(name: string): string {
	return readFileSync(`${folder}/${name}`, 'utf8')
		.replace(/^import .*$/gm, '')
		.replace(/^export \{[\s\S]*?\};?/gm, '')
		.replace(/^export /gm, '');
}

interface Html5Quic {
	simple_quic_decode(bytes: Uint8Array): Uint8Array | undefined;
}
type Html5Lz = (from: Uint8Array, at: number, to: Uint8ClampedArray, type: number, defaultAlpha: boolean) => number;

let quic: Html5Quic | undefined;
let lz: { decompress: Html5Lz; rgb32: number; rgba: number } | undefined;

function load(name: string, expression: string): unknown {
	const context = vm.createContext({ console });
	vm.runInContext(script(name === 'lz.js' ? 'enums.js' : name), context);
	if (name === 'lz.js') vm.runInContext(script(name), context);
	return vm.runInContext(expression, context);
}

/** QUIC bytes to 4-byte pixels (B, G, R, alpha or 0); undefined where spice-html5 gives up. RGB24, RGB32 and RGBA. */
export function html5Quic(bytes: Uint8Array): Uint8Array | undefined {
	quic ??= load('quic.js', 'encoder') as Html5Quic;
	return quic.simple_quic_decode(bytes);
}

/** LZ bytes with their header to 4-byte pixels (R, G, B, alpha; alpha 255 where there is none). RGB32 and RGBA. */
export function html5Lz(bytes: Uint8Array): { width: number; height: number; rgba: Uint8ClampedArray } {
	lz ??= load(
		'lz.js',
		'({ decompress: lz_rgb32_decompress, rgb32: Constants.LZ_IMAGE_TYPE_RGB32, rgba: Constants.LZ_IMAGE_TYPE_RGBA })',
	) as typeof lz & object;
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const type = view.getUint32(8);
	const width = view.getUint32(12);
	const height = view.getUint32(16);
	const rgba = new Uint8ClampedArray(width * height * 4);
	const body = bytes.subarray(28);
	const at = lz.decompress(body, 0, rgba, lz.rgb32, type !== lz.rgba);
	if (type === lz.rgba) lz.decompress(body, at, rgba, lz.rgba, false);
	return { width, height, rgba };
}

/** The format's table of pseudo-random waits, as spice-html5 has it. */
export function quicChaos(): Uint32Array {
	return Uint32Array.from(load('quic.js', 'tabrand_chaos') as number[]);
}
