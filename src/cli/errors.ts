/** Errors as the command line prints them: one line on stderr that ends with what to do. */
import { CommanderError } from 'commander';
import { TsvmError } from '../core/index.ts';

/** Prints an error and returns the exit code that it asks for. */
export function reportError(error: unknown): number {
	if (error instanceof CommanderError) return reportUsage(error);
	if (error instanceof TsvmError) {
		printError(error.message, error.hint);
		return error.exitCode;
	}
	printError(error instanceof Error ? error.message : String(error));
	if (process.env.TSVM_DEBUG && error instanceof Error) console.error(error.stack);
	return 1;
}

export function printError(message: string, hint = ''): void {
	const text = hint === '' ? message : `${message}; ${hint}`;
	process.stderr.write(`tsvm: ${text.replace(/\s*\n\s*/g, ' ')}\n`);
}

export function printWarning(message: string): void {
	process.stderr.write(`tsvm: warning: ${message.replace(/\s*\n\s*/g, ' ')}\n`);
}

/** Help and version arrive as errors with exit code 0; a bare `tsvm` has printed its help already. */
function reportUsage(error: CommanderError): number {
	if (error.exitCode === 0) return 0;
	if (error.code !== 'commander.help')
		printError(error.message.replace(/^error: /, ''), 'tsvm --help lists what there is');
	return 2;
}
