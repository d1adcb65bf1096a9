/** `tsvm doctor`: what works on this host, and what to do about the rest. */
import { access, constants } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { freemem } from 'node:os';
import { delimiter, join } from 'node:path';
import { Command } from 'commander';
import { TsvmError } from '../../core/index.ts';

export interface Check {
	readonly name: string;
	/** `missing` keeps tsvm from running, `lacking` makes it do less. */
	readonly state: 'ok' | 'lacking' | 'missing';
	readonly detail: string;
	readonly advice?: string;
}

/** Guest memory, video memory as far as it is touched, and the program itself. */
const COMFORTABLE_MEMORY = 800 * 2 ** 20;

export function doctorCommand(): Command {
	return new Command('doctor')
		.description('Check what works on this host, and say what to do about the rest.')
		.action(async () => {
			const checks = await examine();
			for (const { name, state, detail, advice } of checks) {
				process.stdout.write(`${state.padEnd(8)} ${name}: ${detail}\n`);
				if (advice !== undefined) process.stdout.write(`${' '.repeat(9)}→ ${advice}\n`);
			}
			const broken = checks.filter((check) => check.state === 'missing');
			if (broken.length > 0)
				throw new TsvmError(
					'doctor',
					`tsvm cannot run here: ${broken.map((check) => check.name).join(', ')}`,
					'see above',
				);
		});
}

/** Every check, in the order in which a run needs them. */
export async function examine(): Promise<Check[]> {
	return [node(), await core(), await codecs(), await firmware(), await apt(), await viewer(), memory()];
}

function node(): Check {
	const [major, minor] = process.versions.node.split('.').map(Number);
	const detail = `version ${process.versions.node} on ${process.platform} ${process.arch}`;
	if (major > 20 || (major === 20 && minor >= 19)) return { name: 'Node.js', state: 'ok', detail };
	return { name: 'Node.js', state: 'missing', detail, advice: 'install Node.js 20.19 or newer' };
}

/** Starts a CPU core, which tests itself. */
async function core(): Promise<Check> {
	const name = 'CPU core';
	const { version } = createRequire(import.meta.url)('v86/package.json') as { version: string };
	try {
		const { createV86 } = await import('../../cpu/v86/index.ts');
		const cpu = await createV86({ memory: 2 ** 22, videoMemory: 2 ** 20, time: 'real', fastVideo: true });
		const fast = cpu.fastVideo;
		cpu.dispose();
		if (fast) return { name, state: 'ok', detail: `v86 ${version}, video memory at full speed` };
		const advice = 'install tsvm anew, with exactly the v86 that it names';
		return { name, state: 'lacking', detail: `v86 ${version}, video memory slow`, advice };
	} catch (error) {
		return { name, state: 'missing', detail: message(error), advice: 'npm ci' };
	}
}

async function codecs(): Promise<Check> {
	const name = 'native codecs';
	const { native } = await import('../../spice/codecs/native.ts');
	const state = native();
	if (state.addon === undefined) {
		const advice = 'apt-get install build-essential python3, then tsvm run builds them; or npm rebuild';
		return { name, state: 'lacking', detail: `${state.reason}; pictures are sent uncompressed`, advice };
	}
	const { lz4, OpusEncoder } = state.addon;
	const detail = ['QUIC', 'LZ', ...(lz4 ? ['LZ4'] : []), ...(OpusEncoder ? ['Opus'] : [])].join(', ');
	if (OpusEncoder) return { name, state: 'ok', detail };
	const advice = 'apt-get install libopus-dev pkgconf, then npm rebuild';
	return { name, state: 'lacking', detail: `${detail}; sound is sent uncompressed`, advice };
}

async function firmware(): Promise<Check> {
	const name = 'firmware';
	const { findFirmware } = await import('../../../firmware/index.ts');
	try {
		const { biosPath, vgaBiosPath } = await findFirmware();
		return { name, state: 'ok', detail: `${biosPath}, ${vgaBiosPath}` };
	} catch (error) {
		const advice = 'apt-get install seabios, or let tsvm run fetch it';
		return { name, state: 'lacking', detail: message(error), advice };
	}
}

async function apt(): Promise<Check> {
	const name = 'Debian packages';
	const found = await findProgram('apt-get');
	if (found !== undefined) return { name, state: 'ok', detail: found };
	const advice = 'guests are fetched from deb.debian.org without it; or give a disk of your own';
	return { name, state: 'lacking', detail: 'no apt-get', advice };
}

async function viewer(): Promise<Check> {
	const name = 'SPICE client';
	for (const program of ['remote-viewer', 'spicy', 'virt-viewer']) {
		const found = await findProgram(program);
		if (found !== undefined) return { name, state: 'ok', detail: found };
	}
	return { name, state: 'lacking', detail: 'none on this host', advice: 'apt-get install virt-viewer' };
}

function memory(): Check {
	const free = freemem();
	const detail = `${Math.floor(free / 2 ** 20)} MiB free`;
	if (free >= COMFORTABLE_MEMORY) return { name: 'memory', state: 'ok', detail };
	return { name: 'memory', state: 'lacking', detail, advice: 'run smaller guests: --memory 128M' };
}

/** A program's path, looked for as a shell does. */
async function findProgram(program: string): Promise<string | undefined> {
	for (const folder of (process.env.PATH ?? '').split(delimiter)) {
		const path = join(folder, program);
		const there = await access(path, constants.X_OK).then(
			() => true,
			() => false,
		);
		if (there && folder !== '') return path;
	}
	return undefined;
}

function message(error: unknown): string {
	return (error instanceof Error ? error.message : String(error)).split('\n')[0];
}
