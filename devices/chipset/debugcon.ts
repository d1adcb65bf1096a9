/**
 * Debug console, a port that takes text: SeaBIOS and others write their log to 402h and read E9h back to see whether
 * it is there (the port's number on Bochs).
 */
import { type Device, type DeviceState, type Host, type PortSpace, tracePoints } from '../../src/core/index.ts';

const READBACK = 0xe9;
/** A line longer than this is passed on in pieces. */
const MAX_LINE = 1024;
const trace = tracePoints('debugcon', { line: ['text'] });

export class Debugcon implements Device {
	#line = '';
	readonly #onLine: (line: string) => void;

	/** `onLine` gets each line without its end. */
	constructor(_host: Host, ports: PortSpace, onLine: (line: string) => void = () => {}, port = 0x402) {
		this.#onLine = onLine;
		ports.map(port, 1, { read8: () => READBACK, write8: (_offset, value) => this.#put(value) }, 'debugcon');
	}

	reset(): void {
		this.#flush();
	}
	save() {
		return { version: 1, line: this.#line };
	}
	restore(state: DeviceState): void {
		this.#line = String(state.line ?? '');
	}

	#put(byte: number): void {
		if (byte === 0x0a) {
			this.#emit();
			return;
		}
		if (byte === 0x0d) return;
		this.#line += String.fromCharCode(byte);
		if (this.#line.length >= MAX_LINE) this.#emit();
	}

	#flush(): void {
		if (this.#line !== '') this.#emit();
	}

	#emit(): void {
		const line = this.#line;
		this.#line = '';
		trace.line(line);
		this.#onLine(line);
	}
}
