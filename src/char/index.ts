/** Host ends of serial ports and other byte streams. */
import type { CharBackend } from '../core/index.ts';
import { openFileChar } from './file.ts';
import { StdioChar, type StdioOptions } from './stdio.ts';
import { openUnixChar } from './unix.ts';

export { openFileChar } from './file.ts';
export { MemoryChar } from './memory.ts';
export { StdioChar, type StdioOptions } from './stdio.ts';
export { openUnixChar } from './unix.ts';

/** Where a byte stream goes on the host. */
export type CharSpec =
	| { readonly kind: 'none' }
	| { readonly kind: 'stdio' }
	| { readonly kind: 'file'; readonly path: string }
	| { readonly kind: 'unix'; readonly path: string };

/** Nobody there: output is lost, nothing comes. */
export function nullChar(): CharBackend {
	return { write: (bytes) => bytes.length, attach: () => {}, close: () => {} };
}

/** Nobody, and the guest can see it: the host's end never opens. What is written is lost. */
export function closedChar(): CharBackend {
	return { ...nullChar(), attach: (device) => device.hostOpen?.(false) };
}

/** Opens a back end. Rejects with TsvmError when its file or socket cannot be had. */
export async function openChar(spec: CharSpec, options: StdioOptions = {}): Promise<CharBackend> {
	switch (spec.kind) {
		case 'none':
			return nullChar();
		case 'stdio':
			return new StdioChar(options);
		case 'file':
			return openFileChar(spec.path);
		case 'unix':
			return openUnixChar(spec.path);
	}
}
