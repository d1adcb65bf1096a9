/** Reading and writing a file at an offset, at once and to the last byte. */
import * as fs from 'node:fs';

/** Fills `into`, with zeros from the end of the file on; a rejected promise when the host fails. */
export function readAt(fd: number, offset: number, into: Uint8Array): Promise<void> | undefined {
	try {
		for (let done = 0; done < into.length; ) {
			const count = fs.readSync(fd, into, done, into.length - done, offset + done);
			if (count === 0) {
				into.fill(0, done);
				break;
			}
			done += count;
		}
		return undefined;
	} catch (error) {
		return Promise.reject(error);
	}
}

export function writeAt(fd: number, offset: number, from: Uint8Array): Promise<void> | undefined {
	try {
		for (let done = 0; done < from.length; ) done += fs.writeSync(fd, from, done, from.length - done, offset + done);
		return undefined;
	} catch (error) {
		return Promise.reject(error);
	}
}
