/** guest/io.c in a guest: built with the host's gcc, put into an initramfs behind debian-mini's own files. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cpio } from '../../images/cpio.ts';
import { buildImage } from '../../images/index.ts';

const source = join(fileURLToPath(new URL('.', import.meta.url)), '../../../test/helpers/guest/io.c');

/** Bytes of a block, and how many a run has at most: as in guest/io.c. */
export const BLOCK = 4096;
const MOST_BLOCKS = 16;

export interface Initramfs {
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
}

/** debian-mini with /bin/io and, if given, another first program: `rdinit=/start` runs it. Files go into `folder`. */
export async function withIo(folder: string, start?: string): Promise<Initramfs> {
	const { kernel, initrd, append } = await buildImage('debian-mini');
	if (kernel === undefined || initrd === undefined) throw new Error('debian-mini has no kernel');
	const program = join(folder, 'io');
	// No library is needed, so the compiler alone can build for 32 bits.
	const flags = ['-m32', '-march=pentium3', '-mno-sse', '-O2', '-ffreestanding', '-fno-pic', '-fno-stack-protector'];
	execFileSync('gcc', [...flags, '-nostdlib', '-static', '-s', '-o', program, source]);
	const more = new Cpio().file('bin/io', readFileSync(program), 0o755);
	if (start !== undefined) more.file('start', start, 0o755);
	rmSync(program);
	const path = join(folder, 'initrd');
	// Linux takes archives one after another, later files in place of earlier ones.
	writeFileSync(path, Buffer.concat([readFileSync(initrd), more.bytes()]));
	return { kernel, initrd: path, append };
}

function next(state: number): number {
	let x = state;
	x ^= x << 13;
	x ^= x >>> 17;
	x ^= x << 5;
	return x >>> 0;
}

/** What `io write FILE SEED BLOCKS` puts where, batch by batch. */
export class WrittenBlocks {
	readonly #blocks: number;
	#state: number;
	#batch = 0;

	constructor(seed: number, blocks: number) {
		this.#state = seed;
		this.#blocks = blocks;
	}

	#next(): number {
		this.#state = next(this.#state);
		return this.#state;
	}

	/** Blocks that the next batch writes, in order, and its number, from 1 on. */
	batch(): { readonly batch: number; readonly blocks: readonly number[] } {
		const blocks: number[] = [];
		for (let runs = 1 + (this.#next() % 4); runs > 0; runs--) {
			const count = 1 + (this.#next() % MOST_BLOCKS);
			const first = this.#next() % (this.#blocks - count);
			for (let i = 0; i < count; i++) blocks.push(first + i);
		}
		return { batch: ++this.#batch, blocks };
	}
}

/** Content of a block that a batch wrote. */
export function blockContent(batch: number, block: number): Uint8Array {
	const words = new Uint32Array(BLOCK / 4);
	let state = (Math.imul(batch, 2654435761) ^ Math.imul(block, 40503) ^ 0x9e3779b9) >>> 0 || 1;
	words[0] = batch;
	words[1] = block;
	for (let i = 2; i < words.length; i++) {
		state = next(state);
		words[i] = state;
	}
	return new Uint8Array(words.buffer);
}
