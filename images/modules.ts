/** Kernel modules: what each says about itself (its .modinfo section), what it needs, and the index files modprobe reads. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

export interface KernelModule {
	/** As in /proc/modules: underscores, no suffix. */
	readonly name: string;
	/** Relative to /lib/modules/VERSION. */
	readonly path: string;
	readonly depends: readonly string[];
	/** Modules that should be loaded first, by name or alias. */
	readonly softBefore: readonly string[];
	readonly aliases: readonly string[];
}

/** All modules under /lib/modules/VERSION. */
export class ModuleTree {
	readonly #root: string;
	readonly #modules = new Map<string, KernelModule>();
	readonly #byAlias = new Map<string, KernelModule[]>();
	readonly #builtin = new Set<string>();
	private constructor(root: string) {
		this.#root = root;
	}

	static async read(root: string): Promise<ModuleTree> {
		const tree = new ModuleTree(root);
		const builtin = await readFile(join(root, 'modules.builtin'), 'utf8');
		for (const line of builtin.split('\n')) if (line) tree.#builtin.add(moduleName(line));
		const files = await readdir(root, { recursive: true });
		for (const path of files.filter((f) => f.endsWith('.ko')).sort()) {
			const module = describe(path, await readFile(join(root, path)));
			tree.#modules.set(module.name, module);
			for (const alias of module.aliases) {
				const all = tree.#byAlias.get(alias);
				if (all) all.push(module);
				else tree.#byAlias.set(alias, [module]);
			}
		}
		return tree;
	}

	/**
	 * `names` and all they need, each after what it needs. Names of built-in modules need nothing.
	 * Throws Error for a name that is neither, so that a renamed module is noticed.
	 */
	closure(names: readonly string[]): KernelModule[] {
		const out = new Map<string, KernelModule>();
		const visit = (module: KernelModule, path: readonly string[]) => {
			if (out.has(module.name) || path.includes(module.name)) return;
			for (const soft of module.softBefore) for (const found of this.#find(soft)) visit(found, [...path, module.name]);
			for (const name of module.depends) {
				const found = this.#modules.get(moduleName(name));
				if (found) visit(found, [...path, module.name]);
				else if (!this.#builtin.has(moduleName(name)))
					throw new Error(`${module.name} needs ${name}, which is not there`);
			}
			out.set(module.name, module);
		};
		for (const name of names) {
			const found = this.#modules.get(moduleName(name));
			if (found) visit(found, []);
			else if (!this.#builtin.has(moduleName(name))) throw new Error(`this kernel has no module ${name}`);
		}
		return [...out.values()];
	}

	content(module: KernelModule): Promise<Uint8Array> {
		return readFile(join(this.#root, module.path));
	}

	#find(nameOrAlias: string): readonly KernelModule[] {
		const module = this.#modules.get(moduleName(nameOrAlias));
		return module ? [module] : (this.#byAlias.get(nameOrAlias) ?? []);
	}
}

/** modules.dep for `modules`: each with all it needs, nearest first. */
export function modulesDep(modules: readonly KernelModule[]): string {
	const byName = new Map(modules.map((m) => [m.name, m]));
	const needs = (module: KernelModule, seen: Set<string>): void => {
		for (const name of module.depends) {
			const found = byName.get(moduleName(name));
			if (!found || seen.has(found.path)) continue;
			seen.add(found.path);
			needs(found, seen);
		}
	};
	return modules
		.map((module) => {
			const seen = new Set<string>();
			needs(module, seen);
			return `${module.path}:${[...order(seen, modules)].map((p) => ` ${p}`).join('')}\n`;
		})
		.join('');
}

/** modules.alias for `modules`. */
export function modulesAlias(modules: readonly KernelModule[]): string {
	return modules.flatMap((m) => m.aliases.map((alias) => `alias ${alias} ${m.name}\n`)).join('');
}

/** Reverse of load order: `modules` lists each after what it needs. */
function order(paths: ReadonlySet<string>, modules: readonly KernelModule[]): string[] {
	return modules
		.filter((m) => paths.has(m.path))
		.map((m) => m.path)
		.reverse();
}

function moduleName(pathOrName: string): string {
	return basename(pathOrName)
		.replace(/\.ko(\.\w+)?$/, '')
		.replaceAll('-', '_');
}

function describe(path: string, elf: Uint8Array): KernelModule {
	const info = new Map<string, string[]>();
	for (const entry of modinfo(elf)) {
		const at = entry.indexOf('=');
		const key = entry.slice(0, at);
		info.set(key, [...(info.get(key) ?? []), entry.slice(at + 1)]);
	}
	const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);
	const soft = (info.get('softdep') ?? []).flatMap((line) => words(/pre:(.*?)(?:post:|$)/.exec(line)?.[1] ?? ''));
	return {
		name: moduleName(path),
		path,
		depends: (info.get('depends') ?? []).flatMap(words),
		softBefore: soft,
		aliases: info.get('alias') ?? [],
	};
}

/** The `key=value` strings of an ELF object's .modinfo section; none if it has no such section. */
function modinfo(elf: Uint8Array): string[] {
	const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
	if (elf.length < 52 || view.getUint32(0) !== 0x7f454c46 || elf[4] !== 1) throw new Error('not a 32-bit ELF object');
	const shoff = view.getUint32(32, true);
	const shentsize = view.getUint16(46, true);
	const shnum = view.getUint16(48, true);
	const section = (i: number) => {
		const at = shoff + i * shentsize;
		return {
			name: view.getUint32(at, true),
			offset: view.getUint32(at + 16, true),
			size: view.getUint32(at + 20, true),
		};
	};
	const names = section(view.getUint16(50, true));
	const decoder = new TextDecoder();
	for (let i = 0; i < shnum; i++) {
		const { name, offset, size } = section(i);
		const start = names.offset + name;
		if (decoder.decode(elf.subarray(start, start + 9)) === '.modinfo\0')
			return decoder
				.decode(elf.subarray(offset, offset + size))
				.split('\0')
				.filter((s) => s.includes('='));
	}
	return [];
}
