/**
 * Turns the modules that the core's translator emits into functions it can call.
 *
 * The core emits one module at a time and waits, interpreting, until that one is reported as finished. Reporting from
 * within codegen_finalize is forbidden: the translator still holds its lock there.
 */
import { JIT_TABLE_SIZE, JIT_TABLE_START } from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { LoadedCore } from './wasm.ts';

interface Pending {
	readonly index: number;
	readonly physical: number;
	readonly flags: number;
	readonly bytes: Uint8Array;
}

export interface JitStatistics {
	modules: number;
	bytes: number;
	/** Host time spent compiling on the machine's own thread, ms. */
	ms: number;
}

export class Jit {
	readonly statistics: JitStatistics = { modules: 0, bytes: 0, ms: 0 };
	readonly #core: LoadedCore;
	readonly #memory: LinearMemory;
	#pending: Pending | undefined;

	constructor(core: LoadedCore, memory: LinearMemory) {
		this.#core = core;
		this.#memory = memory;
	}

	/** The core's codegen_finalize: the bytes are valid only until it returns. */
	emitted(index: number, physical: number, flags: number, at: number, length: number): void {
		const start = at >>> 0;
		this.#pending = { index, physical, flags, bytes: this.#memory.u8.slice(start, start + length) };
	}

	/** Whether compile() has something to do. */
	get waiting(): boolean {
		return this.#pending !== undefined;
	}

	/** Compiles what waits. Call where the translator holds no lock. Throws CompileError, after which the core is dead. */
	compile(): void {
		const pending = this.#pending;
		if (pending === undefined) return;
		this.#pending = undefined;
		const start = performance.now();
		const module = new WebAssembly.Module(pending.bytes);
		const instance = new WebAssembly.Instance(module, this.#core.jitImports);
		const slot = pending.index & 0xffff;
		if (slot < JIT_TABLE_SIZE) this.#core.table.set(JIT_TABLE_START + slot, instance.exports.f);
		this.#core.exports.codegen_finalize_finished(pending.index, pending.physical, pending.flags);
		this.statistics.modules++;
		this.statistics.bytes += pending.bytes.length;
		this.statistics.ms += performance.now() - start;
	}

	/** The core's jit_clear_func. */
	cleared(index: number): void {
		const slot = index & 0xffff;
		if (slot < JIT_TABLE_SIZE) this.#core.table.set(JIT_TABLE_START + slot, null);
	}
}
