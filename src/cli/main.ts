#!/usr/bin/env node
/** The command `tsvm`. Exit codes: 0 done, 1 something failed, 2 it was called wrongly. */
import { reportError } from './errors.ts';
import { lostStdout, surviveLostOutput } from './output.ts';
import { createProgram } from './program.ts';

/** A socket or timer that somebody forgot must not keep a finished command alive. */
const LINGER_MS = 500;

async function main(): Promise<number> {
	try {
		const program = createProgram();
		await program.parseAsync(process.argv);
		if (typeof process.exitCode === 'number') return process.exitCode;
		// A command whose answer is lost has not done what it was called for.
		return (await lostStdout()) ? 1 : 0;
	} catch (error) {
		return reportError(error);
	}
}

surviveLostOutput();
process.exitCode = await main();
setTimeout(() => process.exit(), LINGER_MS).unref();
