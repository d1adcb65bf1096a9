#!/usr/bin/env node
/** The command `tsvm`. Exit codes: 0 done, 1 something failed, 2 it was called wrongly. */
import { reportError } from './errors.ts';
import { createProgram } from './program.ts';

/** A socket or timer that somebody forgot must not keep a finished command alive. */
const LINGER_MS = 500;

async function main(): Promise<number> {
	try {
		const program = createProgram();
		await program.parseAsync(process.argv);
		return typeof process.exitCode === 'number' ? process.exitCode : 0;
	} catch (error) {
		return reportError(error);
	}
}

/** Who reads our output may leave early, as head(1) does. */
function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
	if (error.code !== 'EPIPE') throw error;
}

process.stdout.on('error', ignoreBrokenPipe);
process.stderr.on('error', ignoreBrokenPipe);
process.exitCode = await main();
setTimeout(() => process.exit(), LINGER_MS).unref();
