/** A machine in this process whose guest means harm, and how long this process's event loop is kept waiting meanwhile. */
import { rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMachine, type Machine } from '../../../src/index.ts';
import { makeHarmDisk } from './image.ts';

/** How often the loop is looked at, ms; what is measured has it in it. */
const RESOLUTION = 1;

/** ms that the event loop was late. */
export interface Delay {
	readonly p50: number;
	readonly p99: number;
	readonly max: number;
}

export class HarmLab {
	readonly #machine: Machine;
	readonly #serial: Socket;
	readonly #files: readonly string[];
	#said = '';

	private constructor(machine: Machine, serial: Socket, files: readonly string[]) {
		this.#machine = machine;
		this.#serial = serial;
		this.#files = files;
		serial.setEncoding('latin1').on('data', (text: string) => {
			this.#said += text;
		});
	}

	static async start(): Promise<HarmLab> {
		const [disk, line] = ['img', 'sock'].map((end) => join(tmpdir(), `tsvm-harm-${process.pid}.${end}`));
		makeHarmDisk(disk);
		const machine = await createMachine({
			memory: '64M',
			disks: [{ file: disk, snapshot: true }],
			serials: [`unix:${line}`],
		});
		const serial = await new Promise<Socket>((resolve, reject) => {
			const socket = connect(line, () => resolve(socket)).on('error', reject);
		});
		const lab = new HarmLab(machine, serial, [disk, line]);
		machine.cont();
		await lab.#until('READY');
		return lab;
	}

	/** Lets the guest do the harm of `letter` for `ms`, and brings it to rest again. */
	async measure(letter: string, ms: number): Promise<Delay> {
		this.#said = '';
		this.#serial.write(letter);
		await this.#until('HARM');
		const histogram = monitorEventLoopDelay({ resolution: RESOLUTION });
		histogram.enable();
		await sleep(ms);
		histogram.disable();
		const late = (ns: number) => Math.max(0, ns / 1e6 - RESOLUTION);
		this.#said = '';
		this.#machine.reset();
		await this.#until('READY');
		return { p50: late(histogram.percentile(50)), p99: late(histogram.percentile(99)), max: late(histogram.max) };
	}

	async stop(): Promise<void> {
		this.#serial.destroy();
		await this.#machine.quit('host-qmp-quit');
		for (const file of this.#files) rmSync(file, { force: true });
	}

	async #until(word: string): Promise<void> {
		for (let tries = 0; !this.#said.includes(word); tries++) {
			if (tries > 6000) throw new Error(`the guest did not say ${word}, but ${this.#said.slice(-200)}`);
			await sleep(10);
		}
	}
}
