/**
 * Debian packages for i386 without root: apt itself, with lists and settings of its own in the cache, so that
 * signatures, proxies and mirrors are the host's and the host's own package state is never touched.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { TsvmError } from '../src/core/index.ts';
import { makeFolder, temporaryFolder } from './cache.ts';
import { requireTools, run } from './run.ts';

export type Progress = (line: string) => void;

export interface AptOptions {
	readonly cache: string;
	readonly progress: Progress;
	/** Look for newer packages even if the lists are fresh. */
	readonly refresh?: boolean;
}

export interface Package {
	readonly name: string;
	readonly version: string;
	readonly architecture: string;
	readonly sha256: string;
	/** Bytes to download. */
	readonly size: number;
	readonly depends: string;
}

/** Debian 12 is the last release with i386 kernels. */
export const SUITE = 'bookworm';
const DEFAULT_MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Package lists older than this are fetched anew, ms. */
const LISTS_FRESH = 7 * 24 * 3600 * 1000;
const LISTS_KEPT = 2;

export class Apt {
	readonly #options: AptOptions;
	readonly #root: string;
	private constructor(options: AptOptions, root: string) {
		this.#options = options;
		this.#root = root;
	}

	/** Fetches package lists if those in the cache are missing or old. Throws TsvmError without apt or network. */
	static async open(options: AptOptions): Promise<Apt> {
		await requireTools(['apt-get', 'apt-cache', 'dpkg-deb']);
		const folder = join(options.cache, 'apt');
		await mkdir(folder, { recursive: true }).catch(() => {});
		const newest = (await listed(folder))[0];
		if (newest !== undefined && !options.refresh && Date.now() - stamp(newest) < LISTS_FRESH)
			return new Apt(options, join(folder, newest));
		try {
			return new Apt(options, await updated(folder, options.progress));
		} catch (error) {
			if (newest === undefined) throw error;
			options.progress('package lists cannot be fetched now; using those of last time');
			return new Apt(options, join(folder, newest));
		}
	}

	/** The newest version of a package; throws TsvmError if there is none. */
	async show(name: string): Promise<Package> {
		return (await this.showAll([name]))[0];
	}

	/** The newest version of each, in the order asked for; throws TsvmError naming those that are not there. */
	async showAll(names: readonly string[]): Promise<Package[]> {
		const text = await run('apt-cache', ['show', '--no-all-versions', ...names], { env: this.#env }).catch(() => '');
		const found = new Map<string, Package>();
		for (const stanza of text.split('\n\n')) {
			const described = describe(stanza);
			if (described) found.set(described.name, described);
		}
		const missing = names.filter((name) => !found.has(name));
		if (missing.length > 0)
			throw new TsvmError(
				'package-unknown',
				`Debian ${SUITE} for i386 has no ${missing.join(', ')}`,
				'check TSVM_DEBIAN_MIRROR',
			);
		return names.map((name) => found.get(name) as Package);
	}

	/** Path of the package's .deb, fetched unless it is in the cache; its checksum is verified either way. */
	async download(wanted: Package): Promise<string> {
		const folder = join(this.#options.cache, 'debs');
		const name = `${wanted.name}_${wanted.version.replaceAll(':', '%3a')}_${wanted.architecture}.deb`;
		const path = join(folder, name);
		if (await exists(path)) {
			if ((await sha256(path)) === wanted.sha256) return path;
			await rm(path, { force: true });
		}
		this.#options.progress(`fetching ${wanted.name} ${wanted.version} (${(wanted.size / 1e6).toFixed(1)} MB)`);
		const temporary = await temporaryFolder(folder);
		try {
			await run('apt-get', ['download', `${wanted.name}=${wanted.version}`], { cwd: temporary, env: this.#env });
			const [file] = await readdir(temporary);
			if (file === undefined || (await sha256(join(temporary, file))) !== wanted.sha256)
				throw new TsvmError('package-damaged', `${wanted.name} came with a wrong checksum`, 'try again');
			await rename(join(temporary, file), path);
		} finally {
			await rm(temporary, { recursive: true, force: true });
		}
		return path;
	}

	/** Unpacks a package into `folder`. */
	async unpack(wanted: Package, folder: string): Promise<void> {
		await run('dpkg-deb', ['-x', await this.download(wanted), folder]);
	}

	get #env(): Record<string, string> {
		return { APT_CONFIG: join(this.#root, 'apt.conf') };
	}
}

function describe(stanza: string): Package | undefined {
	const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(stanza)?.[1] ?? '';
	const out = {
		name: field('Package'),
		version: field('Version'),
		architecture: field('Architecture'),
		sha256: field('SHA256'),
		size: Number(field('Size')),
		depends: field('Depends'),
	};
	return out.name && out.version && /^[0-9a-f]{64}$/.test(out.sha256) ? out : undefined;
}

/** Names of complete list folders, newest first. */
async function listed(folder: string): Promise<string[]> {
	const names = await readdir(folder).catch(() => [] as string[]);
	return names.filter((n) => /^\d+$/.test(n)).sort((a, b) => stamp(b) - stamp(a));
}

function stamp(name: string): number {
	return Number(name);
}

async function updated(folder: string, progress: Progress): Promise<string> {
	const target = join(folder, String(Date.now()));
	progress(`fetching Debian ${SUITE} package lists`);
	await makeFolder(target, async (temporary) => {
		await configure(temporary, temporary);
		await run('apt-get', ['update', '-qq'], { env: { APT_CONFIG: join(temporary, 'apt.conf') } }).catch(
			async (error) => {
				const why = error instanceof TsvmError ? error.message : String(error);
				throw new TsvmError(
					'apt-update',
					`cannot fetch Debian's package lists: ${why}`,
					(await exists(KEYRING))
						? 'check the network, or set TSVM_DEBIAN_MIRROR to a reachable mirror'
						: 'install the package debian-archive-keyring and check the network',
				);
			},
		);
		await configure(temporary, target);
	});
	for (const old of (await listed(folder)).slice(LISTS_KEPT))
		await rm(join(folder, old), { recursive: true, force: true });
	return target;
}

/** Writes settings into `root` that make apt work in `home`. */
async function configure(root: string, home: string): Promise<void> {
	for (const name of ['lists/partial', 'cache/archives/partial', 'empty'])
		await mkdir(join(root, name), { recursive: true });
	await writeFile(join(root, 'status'), '');
	const { mirror, signedBy } = await mirrorOf();
	const options = ['arch=i386', ...(signedBy ? [`signed-by=${signedBy}`] : [])].join(' ');
	await writeFile(join(root, 'sources.list'), `deb [${options}] ${mirror} ${SUITE} main\n`);
	const settings: Record<string, string> = {
		'Dir::State': home,
		'Dir::State::lists': join(home, 'lists'),
		'Dir::State::status': join(home, 'status'),
		'Dir::Cache': join(home, 'cache'),
		'Dir::Cache::pkgcache': '',
		'Dir::Cache::srcpkgcache': '',
		'Dir::Etc::sourcelist': join(home, 'sources.list'),
		'Dir::Etc::sourceparts': join(home, 'empty'),
		'APT::Architecture': 'i386',
		'APT::Update::Post-Invoke': '',
		'APT::Update::Post-Invoke-Success': '',
		'Acquire::Languages': 'none',
		'Acquire::Retries': '2',
		// Otherwise root's apt becomes the user _apt, who may not enter root's cache.
		'APT::Sandbox::User': '',
	};
	const lines = Object.entries(settings).map(([key, value]) => `${key} "${value}";`);
	lines.push('#clear APT::Architectures;', 'APT::Architectures { "i386"; };');
	await writeFile(join(root, 'apt.conf'), `${lines.join('\n')}\n`);
}

/** The mirror that this host's apt uses for the same release, if it is a Debian; else Debian's own. */
export async function mirrorOf(): Promise<{ mirror: string; signedBy: string }> {
	const keyring = (await exists(KEYRING)) ? KEYRING : '';
	if (process.env.TSVM_DEBIAN_MIRROR) return { mirror: process.env.TSVM_DEBIAN_MIRROR, signedBy: keyring };
	const targets = await run('apt-get', [
		'indextargets',
		'--format',
		'$(CODENAME) $(COMPONENT) $(REPO_URI) $(SIGNED_BY)',
		'Created-By: Packages',
	]).catch(() => '');
	for (const line of targets.split('\n')) {
		const [codename, component, uri, signedBy] = line.split(' ');
		if (codename === SUITE && component === 'main' && /^(https?|file|copy|mirror\+https?|cdrom):/.test(uri ?? ''))
			return { mirror: uri.replace(/\/$/, ''), signedBy: signedBy?.startsWith('/') ? signedBy : keyring };
	}
	return { mirror: DEFAULT_MIRROR, signedBy: keyring };
}

async function exists(path: string): Promise<boolean> {
	return access(path).then(
		() => true,
		() => false,
	);
}

export async function sha256(path: string): Promise<string> {
	const hash = createHash('sha256');
	await pipeline(createReadStream(path), hash);
	return hash.digest('hex');
}
