/** The part of WebAssembly's JavaScript interface that is used here; TypeScript has it only among the browser's types. */
declare global {
	namespace WebAssembly {
		type ExportValue = ((...values: number[]) => number) | Memory | Table | Global;
		type ModuleImports = Record<string, unknown>;
		type Imports = Record<string, ModuleImports>;
		class Memory {
			readonly buffer: ArrayBuffer;
		}
		class Global {
			value: number;
		}
		class Table {
			constructor(descriptor: { element: 'anyfunc'; initial: number });
			set(index: number, value: unknown): void;
		}
		class Module {
			constructor(bytes: Uint8Array);
			static imports(module: Module): { module: string; name: string; kind: string }[];
			static exports(module: Module): { name: string; kind: string }[];
		}
		class Instance {
			constructor(module: Module, imports: Imports);
			readonly exports: Readonly<Record<string, ExportValue>>;
		}
		function compile(bytes: Uint8Array): Promise<Module>;
		function instantiate(module: Module, imports: Imports): Promise<Instance>;
	}
}

export {};
