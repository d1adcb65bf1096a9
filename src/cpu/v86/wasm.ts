/** Loads v86.wasm and makes sure that it is the module this folder was written for. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { TsvmError } from '../../core/index.ts';
import { exportHidden, STACK_POINTER, TRIGGER_GP, TRIGGER_NP } from './hidden.ts';
import { freeLargePages } from './largepages.ts';
import { JIT_TABLE_SIZE, JIT_TABLE_START } from './layout.ts';
import { addProbes } from './probes.ts';
import { boundStrings } from './strings.ts';
import './webassembly.ts';

/** The one version whose private interface this folder knows. */
export const V86_VERSION = '0.5.462';

/** What the core calls. All integers arrive signed. */
export interface CoreImports {
	microtick(): number;
	run_hardware_timers(acpi: number, now: number): number;
	cpu_event_halt(): void;
	stop_idling(): void;
	io_port_read8(port: number): number;
	io_port_read16(port: number): number;
	io_port_read32(port: number): number;
	io_port_write8(port: number, value: number): void;
	io_port_write16(port: number, value: number): void;
	io_port_write32(port: number, value: number): void;
	mmap_read8(address: number): number;
	mmap_read32(address: number): number;
	mmap_write8(address: number, value: number): void;
	mmap_write16(address: number, value: number): void;
	mmap_write32(address: number, value: number): void;
	mmap_write64(address: number, low: number, high: number): void;
	mmap_write128(address: number, d0: number, d1: number, d2: number, d3: number): void;
	codegen_finalize(index: number, physical: number, flags: number, at: number, length: number): void;
	jit_clear_func(index: number): void;
	get_rand_int(): number;
	console_log_from_wasm(at: number, length: number): void;
}

/** What is called of the core, with the number of parameters in its signature. */
const functions = {
	allocate_memory: 1,
	apic_timer: 1,
	codegen_finalize_finished: 3,
	device_lower_irq: 1,
	device_raise_irq: 1,
	full_clear_tlb: 0,
	get_apic_addr: 0,
	get_eflags: 0,
	get_ioapic_addr: 0,
	get_pic_addr_master: 0,
	get_pic_addr_slave: 0,
	is_memory_zeroed: 2,
	jit_clear_cache_js: 0,
	jit_dirty_cache: 2,
	main_loop: 0,
	read32s: 1,
	reset_cpu: 0,
	rust_init: 0,
	set_tsc: 2,
	store_current_tsc: 0,
	[TRIGGER_GP]: 1,
	[TRIGGER_NP]: 1,
	update_state_flags: 0,
	v86_free: 1,
	v86_malloc: 1,
} as const;

type Arguments<N extends number, T extends number[] = []> = T['length'] extends N ? T : Arguments<N, [...T, number]>;
export type CoreExports = {
	readonly [K in keyof typeof functions]: (...values: Arguments<(typeof functions)[K]>) => number;
} & { readonly memory: WebAssembly.Memory; readonly [STACK_POINTER]: WebAssembly.Global };

export interface LoadedCore {
	readonly exports: CoreExports;
	readonly table: WebAssembly.Table;
	/** Everything that translated code may import, as its module `e` names it. */
	readonly jitImports: WebAssembly.Imports;
}

const importNames: Record<keyof CoreImports, true> = {
	microtick: true,
	run_hardware_timers: true,
	cpu_event_halt: true,
	stop_idling: true,
	io_port_read8: true,
	io_port_read16: true,
	io_port_read32: true,
	io_port_write8: true,
	io_port_write16: true,
	io_port_write32: true,
	mmap_read8: true,
	mmap_read32: true,
	mmap_write8: true,
	mmap_write16: true,
	mmap_write32: true,
	mmap_write64: true,
	mmap_write128: true,
	codegen_finalize: true,
	jit_clear_func: true,
	get_rand_int: true,
	console_log_from_wasm: true,
};

let compiled: Promise<WebAssembly.Module> | undefined;

/**
 * The core itself is worth V8's optimizing compiler: a few small functions (hashing, decoding, memory access) take a
 * third of all time otherwise. The budget keeps it to those.
 */
const V8_FLAGS_CORE = ['--no-liftoff-only', '--wasm-tiering-budget=30000000'];
/**
 * Translated guest code is not: it comes in hundreds of modules, most of them short-lived, and optimizing them costs
 * more than it saves (docs/cpu.md has the figures). In force for every module that this process compiles later.
 */
const V8_FLAGS_TRANSLATED = ['--liftoff-only'];

/** The compiled module, shared by all machines of this process. */
function coreModule(): Promise<WebAssembly.Module> {
	compiled ??= (async () => {
		const require = createRequire(import.meta.url);
		const path = require.resolve('v86/build/v86.wasm');
		const bytes = await readFile(path);
		for (const flag of V8_FLAGS_CORE) setFlagsFromString(flag);
		const module = await WebAssembly.compile(exportHidden(addProbes(boundStrings(freeLargePages(bytes)))));
		for (const flag of V8_FLAGS_TRANSLATED) setFlagsFromString(flag);
		return module;
	})();
	return compiled;
}

/** Names what differs between `module` and the interface of V86_VERSION; an empty list is a match. */
export function differences(module: WebAssembly.Module): string[] {
	const found: string[] = [];
	const imports = WebAssembly.Module.imports(module);
	for (const { module: from, name, kind } of imports) {
		const known = name === '__indirect_function_table' ? kind === 'table' : kind === 'function' && name in importNames;
		if (from !== 'env' || !known) found.push(`unknown import ${from}.${name} (${kind})`);
	}
	for (const name of ['__indirect_function_table', ...Object.keys(importNames)]) {
		if (!imports.some((i) => i.name === name)) found.push(`import ${name} is gone`);
	}
	const exports = new Map(WebAssembly.Module.exports(module).map((e) => [e.name, e.kind]));
	for (const name of Object.keys(functions)) {
		if (exports.get(name) !== 'function') found.push(`function ${name} is gone`);
	}
	if (exports.get('memory') !== 'memory') found.push('memory is not exported');
	if (exports.get(STACK_POINTER) !== 'global') found.push('the stack pointer is not its only global');
	return found;
}

function refuse(problems: readonly string[]): never {
	throw new TsvmError(
		'cpu-core',
		`the CPU core is not v86 ${V86_VERSION}: ${problems[0]}`,
		`run "npm ci" to get the version that this program was made for`,
	);
}

/** A fresh core. Throws TsvmError when the module is missing or not the expected one. */
export async function loadCore(imports: CoreImports): Promise<LoadedCore> {
	let module: WebAssembly.Module;
	try {
		module = await coreModule();
	} catch (error) {
		compiled = undefined;
		throw new TsvmError('cpu-core', `the CPU core cannot be loaded: ${(error as Error).message}`, 'run "npm ci"');
	}
	const problems = differences(module);
	if (problems.length > 0) refuse(problems);
	const table = new WebAssembly.Table({ element: 'anyfunc', initial: JIT_TABLE_START + JIT_TABLE_SIZE });
	const instance = await WebAssembly.instantiate(module, {
		env: { ...imports, __indirect_function_table: table },
	});
	for (const [name, length] of Object.entries(functions)) {
		const f = instance.exports[name] as (...values: number[]) => number;
		if (f.length !== length) refuse([`${name} takes ${f.length} arguments, not ${length}`]);
	}
	const exports = instance.exports as unknown as CoreExports;
	const jitImports: WebAssembly.ModuleImports = { m: exports.memory };
	for (const [name, value] of Object.entries(instance.exports)) {
		if (typeof value === 'function') jitImports[name] = value;
	}
	return { exports, table, jitImports: { e: jitImports } };
}
