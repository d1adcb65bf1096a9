/**
 * QEMU as the oracle: a machine with its CPU stopped, whose ports and memory are reached through QEMU's qtest protocol
 * (qemu/tests/qtest/libqtest.h). Debian's QEMU cannot step the clock through qtest, so time moves by letting the
 * machine run for a while on a BIOS that only halts; how much has passed is read from its power management timer.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const QEMU = 'qemu-system-x86_64';
const PM_TIMER_HZ = 3579545;
const PM_TIMER_RANGE = 1 << 24;
/** A free place for the PM block while the timer is read. */
const PM_BASE = 0xb000;
const PM_FUNCTION = 0x80000b00;

export interface QtestOptions {
	/** Options after `-machine pc,hpet=off -nodefaults`. */
	readonly args?: readonly string[];
	/** QEMU's system management mode; off if left out, as our core has none. */
	readonly smm?: boolean;
	/** Guest RAM, bytes. */
	readonly memory?: number;
}

export class Qtest {
	readonly #child: ChildProcess;
	readonly #folder: string;
	readonly #waiting: { resolve: (words: string[]) => void; reject: (e: Error) => void }[] = [];
	readonly #qmpWaiting: ((line: string) => void)[] = [];
	#failure: Error | undefined;
	#stderr = '';
	/** Edges seen on intercepted interrupt lines, by line: rising ones counted. */
	readonly rises = new Map<number, number>();
	readonly levels = new Map<number, boolean>();

	private constructor(child: ChildProcess, folder: string) {
		this.#child = child;
		this.#folder = folder;
		const pipes = child.stdio as unknown as [Duplex, Duplex, Duplex, Duplex];
		// A pipe may notice QEMU's end before `exit` is told; that is no second failure.
		for (const pipe of pipes) pipe.on('error', () => {});
		const [, stdout, stderr, qmp] = pipes;
		const lines = (input: Duplex, take: (line: string) => void) =>
			createInterface({ input })
				.on('line', take)
				.on('error', () => {});
		lines(stdout, (line) => this.#onLine(line));
		lines(qmp, (line) => {
			if (!line.includes('"event"')) this.#qmpWaiting.shift()?.(line);
		});
		stderr.on('data', (bytes: Buffer) => {
			this.#stderr += bytes.toString();
		});
		const fail = (why: string) => {
			this.#failure ??= new Error(`${why} ${this.#stderr.trim()}`);
			for (const each of this.#waiting.splice(0)) each.reject(this.#failure);
			for (const each of this.#qmpWaiting.splice(0)) each('{"error": "QEMU has ended"}');
		};
		child.on('error', (e) => fail(`cannot run ${QEMU} (install Debian's qemu-system-x86): ${e.message}`));
		child.on('exit', (code, signal) => fail(`${QEMU} ended (${code ?? signal})`));
	}

	/** Throws with QEMU's own words if it cannot start; a missing QEMU is a failure, not a reason to skip. */
	static async start(options: QtestOptions = {}): Promise<Qtest> {
		const folder = await mkdtemp(join(tmpdir(), 'tsvm-qtest-'));
		const bios = join(folder, 'halt.bin');
		await writeFile(bios, haltingBios());
		const machine = `pc,hpet=off,smm=${options.smm ? 'on' : 'off'}`;
		const child = spawn(
			QEMU,
			[
				...['-accel', 'tcg', '-S', '-qtest', 'stdio', '-qtest-log', '/dev/null', '-display', 'none', '-nodefaults'],
				...['-machine', machine, '-m', `${(options.memory ?? 128 << 20) / 2 ** 20}M`, '-bios', bios],
				...['-chardev', 'socket,id=qmp,fd=3', '-mon', 'chardev=qmp,mode=control', ...(options.args ?? [])],
			],
			{ stdio: ['pipe', 'pipe', 'pipe', 'pipe'] },
		);
		const qtest = new Qtest(child, folder);
		const greeting = new Promise<string>((resolve) => qtest.#qmpWaiting.push(resolve));
		await qtest.command('inb 0x80');
		await greeting;
		await qtest.qmp('qmp_capabilities');
		return qtest;
	}

	async close(): Promise<void> {
		const gone = this.#child.exitCode !== null || this.#child.signalCode !== null;
		const exit = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
		this.#child.kill('SIGKILL');
		if (!gone) await exit;
		await rm(this.#folder, { recursive: true, force: true });
	}

	/** One qtest command; returns the words after OK. Rejects on FAIL and when QEMU is gone. */
	command(line: string): Promise<string[]> {
		if (this.#failure) return Promise.reject(this.#failure);
		return new Promise((resolve, reject) => {
			this.#waiting.push({ resolve, reject });
			this.#child.stdin?.write(`${line}\n`);
		});
	}

	async value(line: string): Promise<number> {
		return Number((await this.command(line))[0]);
	}

	/** One QMP command; returns what came in `return`, throws on an error. */
	async qmp(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
		const [, , , pipe] = this.#child.stdio as unknown as [Duplex, Duplex, Duplex, Duplex];
		const answer = new Promise<string>((resolve) => this.#qmpWaiting.push(resolve));
		pipe.write(`${JSON.stringify({ execute, arguments: args })}\n`);
		const reply: { return?: unknown; error?: unknown } = JSON.parse(await answer);
		if (reply.error) throw new Error(`QMP ${execute}: ${JSON.stringify(reply.error)}`);
		return reply.return;
	}

	/** Counts edges on the inputs of the I/O APIC, which are the ISA requests by number. */
	async interceptIrqs(): Promise<void> {
		await this.command('irq_intercept_in ioapic');
	}

	/** Lets machine time move on by about `ns`; returns how much it was, to 280 ns. At most 2 s at a time. */
	async step(ns: number): Promise<number> {
		if (ns > 2e9) throw new RangeError('steps are at most 2 s');
		const before = await this.#pmTimer();
		await this.qmp('cont');
		await sleep(ns / 1e6);
		await this.qmp('stop');
		const ticks = (await this.#pmTimer()) - before;
		return (((ticks + PM_TIMER_RANGE) % PM_TIMER_RANGE) * 1e9) / PM_TIMER_HZ;
	}

	/** The 24-bit timer; where the PM block is mapped and whether is put back afterwards. */
	async #pmTimer(): Promise<number> {
		const address = await this.value('inl 0xcf8');
		const config = (offset: number) => this.command(`outl 0xcf8 ${PM_FUNCTION + offset}`);
		await config(0x40);
		const base = await this.value('inl 0xcfc');
		await this.command(`outl 0xcfc ${PM_BASE + 1}`);
		await config(0x80);
		const misc = await this.value('inb 0xcfc');
		await this.command('outb 0xcfc 1');
		const ticks = await this.value(`inl ${PM_BASE + 8}`);
		await this.command(`outb 0xcfc ${misc}`);
		await config(0x40);
		await this.command(`outl 0xcfc ${base}`);
		await this.command(`outl 0xcf8 ${address}`);
		return ticks;
	}

	#onLine(line: string): void {
		const words = line.trim().split(/\s+/);
		if (words[0] === 'IRQ') {
			const irq = Number(words[2]);
			const level = words[1] === 'raise';
			if (level && !this.levels.get(irq)) this.rises.set(irq, (this.rises.get(irq) ?? 0) + 1);
			this.levels.set(irq, level);
		} else if (words[0] === 'OK') this.#waiting.shift()?.resolve(words.slice(1));
		else if (words[0] === 'FAIL' || words[0] === 'ERR') this.#waiting.shift()?.reject(new Error(`qtest: ${line}`));
	}
}

/** 64 KiB that end in: cli; hlt; jmp to the hlt. */
function haltingBios(): Uint8Array {
	const image = new Uint8Array(65536).fill(0xf4);
	image.set([0xfa, 0xf4, 0xeb, 0xfd], 0xfff0);
	return image;
}
