/** A real guest in a machine of this process: for tests that give it back ends of their own. */
import { MemoryChar } from '../../src/char/index.ts';
import type { MachineOptions } from '../../src/machine/config.ts';
import { Machine } from '../../src/machine/machine.ts';

export class InnerGuest {
	readonly machine: Machine;
	readonly #serial: MemoryChar;

	private constructor(machine: Machine, serial: MemoryChar) {
		this.machine = machine;
		this.#serial = serial;
	}

	/** Powered on, with the first serial line here. */
	static async start(options: MachineOptions): Promise<InnerGuest> {
		const serial = new MemoryChar();
		const guest = new InnerGuest(await Machine.create(options, { serials: [serial] }), serial);
		guest.machine.cont();
		return guest;
	}

	/** Everything the guest has written to its first serial line. */
	get serial(): string {
		return this.#serial.text;
	}

	async until(marker: string, limitMs = 120_000): Promise<void> {
		await this.#serial.waitFor(marker, limitMs);
	}

	/** Runs a shell command over the serial line; returns what it printed. */
	async shell(command: string, limitMs = 60_000): Promise<string> {
		const tag = Math.random().toString(36).slice(2, 10).padEnd(8, 'x');
		const from = this.#serial.position;
		// Split in the middle, so that the echo of what is typed is taken for neither end.
		const say = (letter: string) => `echo "${letter}-${tag.slice(0, 4)}""${tag.slice(4)}"`;
		this.#serial.send(`${say('B')}; ${command}${command.endsWith('&') ? ' ' : '; '}${say('E')}\n`);
		const said = await this.#serial.waitFor(new RegExp(`B-${tag}[^]*E-${tag}`), limitMs, from);
		return said
			.slice(tag.length + 2, -tag.length - 2)
			.replaceAll('\r', '')
			.trim();
	}

	stop(): Promise<void> {
		return this.machine.quit();
	}
}
