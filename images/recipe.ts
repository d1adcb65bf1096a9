/** What a guest image's recipe is. */
import type { Progress } from './apt.ts';

export interface BuildOptions {
	readonly cache: string;
	readonly progress: Progress;
	readonly refresh?: boolean;
}

/** A recipe with its packages chosen. */
export interface Plan {
	/** Package versions that go in: the same ones give the same image. */
	readonly versions: readonly string[];
	/** Writes the recipe's files into `folder`. */
	build(folder: string, options: BuildOptions): Promise<void>;
}

export interface Recipe {
	readonly name: string;
	/** One line for `tsvm image list`. */
	readonly summary: string;
	/** Raised when the recipe's code changes what it builds. */
	readonly version: number;
	/** Kernel command line to use with `kernel`. */
	readonly append: string;
	/** Names of the files it makes. */
	readonly files: { readonly kernel?: string; readonly initrd?: string; readonly disk?: string };
	/** Host programs it needs. */
	readonly tools: readonly string[];
	resolve(options: BuildOptions): Promise<Plan>;
}
