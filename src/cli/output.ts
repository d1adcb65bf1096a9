/**
 * stdout and stderr as something that may fail: on a full disk, or with a reader that has gone or does not read. What
 * cannot be written is then lost; what it tells of goes on.
 */
import { printWarning } from './errors.ts';

/** Bytes that may wait for a slow reader: as much as a pipe of Linux holds by itself. */
const MAX_WAITING = 64 * 1024;

let stdoutFailure: Error | undefined;

/** Keeps a failed write to either stream from ending the process. The first one is said on stderr. */
export function surviveLostOutput(): void {
	process.stdout.on('error', (error: NodeJS.ErrnoException) => {
		// Who reads our output may leave early, as head(1) does.
		if (error.code === 'EPIPE' || stdoutFailure) return;
		stdoutFailure = error;
		printWarning(`stdout: ${error.message}; what cannot be written is lost`);
	});
	process.stderr.on('error', () => {});
}

/** Why a part of stdout has been lost; resolves once what was written before is known to be. */
export async function lostStdout(): Promise<Error | undefined> {
	await new Promise((resolve) => setImmediate(resolve));
	return stdoutFailure;
}

/** A line of a log that has no end. False if it was lost, since more than a pipeful waits already. */
export function writeLog(line: string, stream: NodeJS.WriteStream = process.stderr): boolean {
	if (stream.writableLength > MAX_WAITING) return false;
	stream.write(line);
	return true;
}
