/**
 * Proves on the running core that its translation cache is where video.ts looks for it, and that turned entries do what
 * they should: a few instructions write to and read from a page of video memory, and every step is compared with what
 * is to be seen then.
 */
import { IN_HLT, INSTRUCTION_POINTER, PAGE, TLB_DATA, TLB_READONLY, TLB_VALID } from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { Mmio } from './mmio.ts';
import { writeFlat } from './registers.ts';
import { VideoPiece, type VideoWindows } from './video.ts';
import type { CoreExports } from './wasm.ts';

/** Where the test's code and window go, guest-physical. */
const CODE = 0x1000;
const WINDOW = 0xe0000000;
const FIRST = 0x11223344;
const SECOND = 0x55667788;

/** 32-bit code: two writes to the window, a read back into ECX, HLT. */
function program(): number[] {
	const le = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
	return [
		...[0xc7, 0x05, ...le(WINDOW), ...le(FIRST)], // mov dword [WINDOW], FIRST
		...[0xc7, 0x05, ...le(WINDOW + 4), ...le(SECOND)], // mov dword [WINDOW + 4], SECOND
		...[0x8b, 0x0d, ...le(WINDOW + 4)], // mov ecx, [WINDOW + 4]
		0xf4, // hlt
	];
}

/** Undefined when all is as expected, else what was not. Leaves memory zeroed and the CPU in need of a reset. */
export function proveRedirect(
	memory: LinearMemory,
	exports: CoreExports,
	mmio: Mmio,
	video: VideoWindows,
	physical: number,
): string | undefined {
	const code = program();
	const piece = new VideoPiece(video, physical, PAGE);
	const dirty = new Uint8Array(1);
	video.fast = true;
	const mapping = mmio.mapVideo(WINDOW, piece, 0, PAGE);
	memory.u8.set(code, memory.base + CODE);
	const entry = () => memory.i32[TLB_DATA / 4 + WINDOW / PAGE];
	const turned = (((memory.base + physical) ^ WINDOW) & ~(PAGE - 1)) | TLB_VALID;
	const run = (): string | undefined => {
		piece.bytes().fill(0);
		const before = video.redirects;
		exports.main_loop();
		if (memory.u8[IN_HLT] === 0) return 'the test code did not end';
		if (video.redirects !== before + 1) return `${video.redirects - before} of 1 first accesses found their entry`;
		if (entry() !== turned) return `an entry reads 0x${(entry() >>> 0).toString(16)}`;
		const view = new DataView(piece.bytes().buffer, piece.bytes().byteOffset);
		if (view.getUint32(0, true) !== FIRST || view.getUint32(4, true) !== SECOND) return 'a write went astray';
		if (piece.takeDirty(0, dirty) !== 1 || dirty[0] !== 1) return 'a written page was not noticed';
		if (entry() !== (turned | TLB_READONLY)) return 'an entry did not become read-only';
		if (piece.takeDirty(0, dirty) !== 0) return 'a page stayed dirty';
		return undefined;
	};
	try {
		writeFlat(memory, exports, CODE, {});
		const problem = run();
		if (problem !== undefined) return problem;
		// Once more with what the cache holds now: the write must arrive again.
		memory.u32[INSTRUCTION_POINTER / 4] = CODE;
		memory.u8[IN_HLT] = 0;
		return run();
	} catch (error) {
		return (error as Error).message;
	} finally {
		mapping.unmap();
		video.fast = false;
		memory.u8.fill(0, memory.base + CODE, memory.base + CODE + code.length);
		piece.bytes().fill(0);
		exports.full_clear_tlb();
	}
}
