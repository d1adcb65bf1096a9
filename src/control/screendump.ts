/** The screen as a picture file. */
import { writeFile } from 'node:fs/promises';
import { getSystemErrorMap } from 'node:util';
import type { MachineControl } from '../machine/control.ts';
import { encodePng, encodePpm } from '../spice/display/screenshot.ts';
import { QmpError } from './qmp/errors.ts';

/** Throws QmpError in QEMU's words. */
export async function screendump(
	machine: MachineControl,
	filename: string,
	format: 'ppm' | 'png' = 'ppm',
	head = 0,
): Promise<void> {
	const picture = machine.screenshot(head);
	if (!picture) throw new QmpError('no surface');
	try {
		await writeFile(filename, format === 'png' ? encodePng(picture) : encodePpm(picture));
	} catch (error) {
		throw new QmpError(`failed to open file '${filename}': ${systemMessage(error)}`);
	}
}

/** What strerror() says: `No such file or directory`. */
export function systemMessage(error: unknown): string {
	const { errno, message } = error as NodeJS.ErrnoException;
	const text = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1];
	return text === undefined ? message : text.charAt(0).toUpperCase() + text.slice(1);
}
