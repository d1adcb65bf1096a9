/**
 * Builds the native addon: `node native/install.mjs`, or by npm's install script. Without a compiler tsvm runs all
 * the same, only with bigger pictures, so a failure is one line; TSVM_REQUIRE_NATIVE=1 or CI=true make it an error.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);

/** node-gyp's script: npm names its own in lifecycle scripts; else the one of the npm beside this Node. */
function nodeGyp() {
	const fromNpm = process.env.npm_config_node_gyp;
	if (fromNpm && existsSync(fromNpm)) return fromNpm;
	const roots = [path.join(path.dirname(process.execPath), '..', 'lib', 'node_modules')];
	try {
		roots.push(
			execFileSync('npm', ['root', '--global'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim(),
		);
	} catch {
		// No npm: the first root decides.
	}
	for (const root of roots) {
		const script = path.join(root, 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
		if (existsSync(script)) return script;
	}
	return undefined;
}

/** The folder with lz4.c, seen from here (make cannot take spaces): the npm package lz4's, or '' without that. */
function lz4Dir() {
	try {
		const dir = path.join(path.dirname(require.resolve('lz4/package.json')), 'deps', 'lz4', 'lib');
		return existsSync(path.join(dir, 'lz4.c')) ? path.relative(here, dir) : '';
	} catch {
		return '';
	}
}

/** What compiler and linker need for libopus, by pkg-config (Debian: libopus-dev); none without it. */
function opusFlags() {
	const ask = (what) => spawnSync('pkg-config', [what, 'opus'], { encoding: 'utf8' });
	const libs = ask('--libs');
	if (libs.status !== 0 || libs.stdout.trim() === '') return [];
	return [`-Dopus_libs=${libs.stdout.trim()}`, `-Dopus_cflags=${ask('--cflags').stdout.trim()}`];
}

/** Where Node's own headers lie when the system installed them (Debian: /usr/include/node): no download then. */
function headers() {
	const prefix = path.dirname(path.dirname(process.execPath));
	return existsSync(path.join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

/**
 * Compiles native/build/Release/tsvm.node. `output` is where the compiler's words go; `opus` tells if Opus is in it.
 * @param {'inherit' | 'pipe'} output
 * @returns {{ ok: true, opus: boolean } | { ok: false, reason: string }}
 */
export function build(output = 'pipe') {
	const script = nodeGyp();
	if (script === undefined) return { ok: false, reason: 'node-gyp is not there; it comes with npm' };
	// Not "rebuild": that takes the addon away from those who run meanwhile, and makes again what is there.
	const run = (command, ...more) =>
		spawnSync(process.execPath, [script, command, '--directory', here, ...headers(), ...more], {
			stdio: ['ignore', output, output],
			encoding: 'utf8',
			maxBuffer: 64 << 20,
		});
	const opus = opusFlags();
	let done = run('configure', '--', `-Dlz4_dir=${lz4Dir()}`, ...opus);
	if (done.status === 0) done = run('build');
	if (done.status === 0) return { ok: true, opus: opus.length > 0 };
	const words = `${done.stdout ?? ''}\n${done.stderr ?? ''}`.split('\n');
	const telling = words.find((line) => /error: |could not find|not found|No such file/i.test(line)) ?? '';
	const reason = telling.replace(/^gyp ERR! (stack )?(Error: )?/, '').trim() || `node-gyp ended with ${done.status}`;
	return { ok: false, reason };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	const result = build();
	if (!result.ok) {
		const required = process.env.TSVM_REQUIRE_NATIVE === '1' || process.env.CI === 'true';
		console.error(`tsvm: the native addon was not built (${result.reason}); install g++, make and python3`);
		process.exitCode = required ? 1 : 0;
	} else if (!result.opus) {
		console.error('tsvm: built without Opus, sound is sent uncompressed; install libopus-dev and pkgconf for it');
	}
}
