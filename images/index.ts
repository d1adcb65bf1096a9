/** Guest images made from Debian packages, and SeaBIOS when the host lacks it. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TsvmError } from '../src/core/index.ts';
import type { Progress } from './apt.ts';
import { cacheDirectory, makeFolder } from './cache.ts';
import { dataHash } from './data.ts';
import { desktop } from './desktop.ts';
import { mini } from './mini.ts';
import type { Recipe } from './recipe.ts';
import { requireTools } from './run.ts';

export type { Progress } from './apt.ts';
export { cacheDirectory } from './cache.ts';
export { exportImage } from './export.ts';
export { fetchSeabios } from './seabios.ts';

export interface ImageOptions {
	/** Cache folder; cacheDirectory() if left out. */
	readonly cache?: string;
	/** Gets a line for each step that takes time. */
	readonly progress?: Progress;
	/** Look for newer packages even if the image was made lately. */
	readonly refresh?: boolean;
}

/** Paths of a guest's files in the cache; never write to them. */
export interface Image {
	readonly name: string;
	/** Versions of what is in it. */
	readonly versions: readonly string[];
	readonly kernel?: string;
	readonly initrd?: string;
	/** Kernel command line that suits it. */
	readonly append: string;
	/** Raw disk image. */
	readonly disk?: string;
}

export interface ImageInfo {
	readonly name: string;
	readonly summary: string;
	/** Whether it is in the cache. */
	readonly built: boolean;
}

const recipes: readonly Recipe[] = [mini, desktop];
/** A built image is used without asking for newer packages for this long, ms. */
const FRESH = 7 * 24 * 3600 * 1000;
const KEPT = 2;

/** All images there are recipes for. */
export async function listImages(options: ImageOptions = {}): Promise<ImageInfo[]> {
	const cache = options.cache ?? cacheDirectory();
	return Promise.all(
		recipes.map(async (recipe) => ({
			name: recipe.name,
			summary: recipe.summary,
			built: (await current(recipe, imageFolder(cache, recipe))) !== undefined,
		})),
	);
}

/**
 * An image's files, from the cache if they are fresh, else built. Two processes may build the same image at once.
 * Throws TsvmError: unknown name, missing host tools (all named), no network.
 */
export async function buildImage(name: string, options: ImageOptions = {}): Promise<Image> {
	const recipe = recipes.find((r) => r.name === name);
	if (!recipe)
		throw new TsvmError(
			'image-unknown',
			`there is no image ${name}`,
			`there are: ${recipes.map((r) => r.name).join(', ')}`,
			2,
		);
	const { cache = cacheDirectory(), progress = () => {}, refresh = false } = options;
	const folder = imageFolder(cache, recipe);
	const known = await current(recipe, folder);
	if (known && !refresh && Date.now() - known.checked < FRESH) return describe(recipe, folder, known);

	await requireTools(recipe.tools);
	try {
		const plan = await recipe.resolve({ cache, progress, refresh });
		const key = createHash('sha256').update(JSON.stringify(plan.versions)).digest('hex').slice(0, 16);
		const build = `${recipeKey(recipe)}-${key}`;
		const target = join(folder, build);
		if (!(await exists(target))) {
			progress(`building ${recipe.name} with kernel ${plan.versions[0]}`);
			await makeFolder(target, (temporary) => plan.build(temporary, { cache, progress, refresh }));
		}
		const record = { recipe: recipeKey(recipe), build, versions: plan.versions, checked: Date.now() };
		await remember(folder, record);
		return describe(recipe, folder, record);
	} catch (error) {
		// Without a network last week's image is better than none, unless a newer one was asked for.
		if (!known || refresh) throw error;
		progress(`${recipe.name} cannot be checked for newer packages now; using the one of last time`);
		return describe(recipe, folder, known);
	}
}

interface BuildRecord {
	readonly recipe: string;
	/** Name of the build's folder beside this record, so that a cache may be moved. */
	readonly build: string;
	readonly versions: readonly string[];
	/** When packages were last looked up, ms. */
	readonly checked: number;
}

function imageFolder(cache: string, recipe: Recipe): string {
	return join(cache, 'images', recipe.name);
}

function recipeKey(recipe: Recipe): string {
	return createHash('sha256')
		.update(`${recipe.version}\0${dataHash(recipe.name)}`)
		.digest('hex')
		.slice(0, 16);
}

function describe(recipe: Recipe, folder: string, record: BuildRecord): Image {
	const at = (name: string | undefined) => (name === undefined ? undefined : join(folder, record.build, name));
	return {
		name: recipe.name,
		versions: record.versions,
		kernel: at(recipe.files.kernel),
		initrd: at(recipe.files.initrd),
		append: recipe.append,
		disk: at(recipe.files.disk),
	};
}

/** The last build, if its files are still there and its recipe has not changed. */
async function current(recipe: Recipe, folder: string): Promise<BuildRecord | undefined> {
	try {
		const record = JSON.parse(await readFile(join(folder, 'current.json'), 'utf8')) as BuildRecord;
		if (record.recipe !== recipeKey(recipe)) return undefined;
		for (const file of Object.values(recipe.files))
			if (!(await exists(join(folder, record.build, file)))) return undefined;
		return record;
	} catch {
		return undefined;
	}
}

async function remember(folder: string, record: BuildRecord): Promise<void> {
	await mkdir(folder, { recursive: true });
	const temporary = join(folder, `current.json.${randomUUID()}`);
	await writeFile(temporary, `${JSON.stringify(record, null, '\t')}\n`);
	await rename(temporary, join(folder, 'current.json'));
	const builds = (await readdir(folder)).filter((n) => /^[0-9a-f]{16}-[0-9a-f]{16}$/.test(n));
	const dated = await Promise.all(builds.map(async (n) => ({ n, time: (await stat(join(folder, n))).mtimeMs })));
	dated.sort((a, b) => b.time - a.time);
	for (const { n } of dated.slice(KEPT))
		if (n !== record.build) await rm(join(folder, n), { recursive: true, force: true });
}

async function exists(path: string): Promise<boolean> {
	return stat(path).then(
		() => true,
		() => false,
	);
}
