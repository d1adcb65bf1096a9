#!/usr/bin/env node
/**
 * The whole test suite from a clean checkout: Debian packages, native addon, build, lint, unit tests, then the real
 * guests and clients. Ends with `N passed, N failed`; exit code 1 if anything failed or could not be run.
 * Usage: node test/run.mjs [unit|boot|client ...]   (all by default)
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const wanted = process.argv.slice(2);
const slow = ['boot', 'client'];
const isSlow = (file) => slow.some((folder) => file.startsWith(join('dist', 'test', folder)));

function main() {
	const unitOnly = wanted.length > 0 && wanted.every((w) => w === 'unit');
	if (!unitOnly && installPackages()) step('native addon', process.execPath, ['native/install.mjs']);
	step('build', 'npx', ['tsc', '-b']);
	if (wanted.length === 0) step('lint', 'npx', ['biome', 'check', '--error-on-warnings', '.']);
	return runTests();
}

/**
 * Debian packages that real guests, real clients and the QEMU oracle come from, and what the addon is built with: one
 * name a line in test/packages.txt. True if some were missing.
 */
function installPackages() {
	const names = readFileSync(join(root, 'test', 'packages.txt'), 'utf8')
		.split('\n')
		.map((line) => line.replace(/#.*/, '').trim())
		.filter((line) => line !== '');
	const missing = names.filter((name) => !isInstalled(name));
	if (missing.length === 0) return false;
	if (process.getuid?.() !== 0) {
		fail(`the tests need Debian packages that are not installed; as root: apt-get install -y ${missing.join(' ')}`);
	}
	console.log(`installing ${missing.length} Debian packages for the tests`);
	const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
	const apt = (...args) =>
		spawnSync('apt-get', ['-q', ...args], { env, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
	apt('update');
	const done = apt('install', '-y', '--no-install-recommends', ...missing);
	if (done.status !== 0)
		fail(`apt-get could not install ${missing.join(' ')}:\n${done.stdout.split('\n').slice(-8).join('\n')}`);
	return true;
}

function isInstalled(name) {
	const query = spawnSync('dpkg-query', ['-s', name], { encoding: 'utf8' });
	return query.stdout?.includes('Status: install ok installed') === true;
}

function step(what, command, args) {
	const start = Date.now();
	const done = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
	if (done.status !== 0) fail(`${what} failed`);
	console.log(`${what} ok (${seconds(start)} s)`);
}

/** Unit tests run three files at a time, as some wait for other programs; a guest or client wants the host to itself. */
async function runTests() {
	const files = testFiles(join('dist', 'test'));
	const select = (file) =>
		wanted.length === 0 ||
		wanted.some((w) => (w === 'unit' ? !isSlow(file) : file.startsWith(join('dist', 'test', w))));
	const total = { passed: 0, failed: 0 };
	await runAva(
		'unit',
		files.filter((f) => !isSlow(f) && select(f)),
		['--concurrency=3'],
		total,
	);
	for (const folder of slow) {
		const some = files.filter((f) => f.startsWith(join('dist', 'test', folder)) && select(f));
		await runAva(folder, some, ['--concurrency=1', '--timeout=15m'], total);
	}
	console.log(`${total.passed} passed, ${total.failed} failed`);
	return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

function testFiles(folder) {
	const found = [];
	for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
		const path = join(folder, entry.name);
		if (entry.isDirectory()) found.push(...testFiles(path));
		else if (
			entry.name.endsWith('.test.js') &&
			existsSync(join(root, path.replace(/^dist./, '').replace(/\.js$/, '.ts')))
		)
			found.push(path);
	}
	return found.sort();
}

/** Runs ava with TAP output, prints failures as they come and what passed with its time. */
function runAva(name, files, options, total) {
	if (files.length === 0) return Promise.resolve();
	const start = Date.now();
	const child = spawn('npx', ['ava', '--tap', ...options, ...files], {
		cwd: root,
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	let failed = 0;
	let passed = 0;
	let inFailure = false;
	createInterface({ input: child.stdout }).on('line', (line) => {
		const result = /^(not )?ok \d+ - (.*)$/.exec(line);
		if (result) {
			inFailure = result[1] !== undefined;
			if (inFailure) failed++;
			else passed++;
			console.log(`  ${inFailure ? 'FAIL' : 'ok'} ${result[2]}`);
		} else if (inFailure && !line.startsWith('#')) {
			console.log(line);
		} else if (line.startsWith('    #') || line.startsWith('# ')) {
			if (!/^# (tests|pass|fail|skip)/.test(line) && line.includes('screenshot')) console.log(line);
		}
	});
	return new Promise((done) => {
		child.on('close', (code) => {
			// A crashed or empty test file fails the run even though no single test did.
			if (code !== 0 && failed === 0) {
				failed++;
				console.log(`  FAIL ${name}: ava exited with ${code}`);
			}
			console.log(`${name}: ${passed} passed, ${failed} failed in ${seconds(start)} s`);
			total.passed += passed;
			total.failed += failed;
			done();
		});
	});
}

function seconds(start) {
	return ((Date.now() - start) / 1000).toFixed(1);
}

function fail(message) {
	console.error(`test: ${message}`);
	console.log('0 passed, 1 failed');
	process.exit(1);
}

process.exit(await main());
