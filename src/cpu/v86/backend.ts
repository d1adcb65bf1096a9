/**
 * The v86 core as a CpuBackend: wires memory, ports, MMIO, interrupts, timers and translation to the module's
 * callbacks, and decides what may happen where.
 *
 * A slice has three kinds of places. Between two calls of main_loop everything is allowed. In run_hardware_timers, which
 * the core calls after every 100 000 instructions or so and at each HLT, interrupts and guest memory may be touched.
 * Inside a port or memory callback the guest is in the middle of an instruction: interrupt lines and deferred work wait
 * there, and the core is made to come to its next safe place early.
 */
import { checkVersion, type DeviceState, type Irq, type StateValue, type VideoMemory } from '../../core/index.ts';
import type { CpuBackend, CpuFailure, CpuOptions, CpuRegisters } from '../backend.ts';
import { Deferred, FaultLog } from './deferred.ts';
import { Failures } from './failure.ts';
import { GuestAccess } from './guest-access.ts';
import { GuardedInputs } from './inputs.ts';
import { Instructions } from './instructions.ts';
import { IrqLines } from './irq.ts';
import { Jit } from './jit.ts';
import { Lacks } from './lacks.ts';
import { ACPI_ENABLED, FLAGS, IN_HLT, INSTRUCTION_POINTER, PREVIOUS_IP, STATE_END, STATE_START } from './layout.ts';
import { GuestRam, LinearMemory } from './memory.ts';
import { Messages } from './messages.ts';
import { Mmio } from './mmio.ts';
import { CorePortRegisters } from './port-registers.ts';
import { Ports } from './ports.ts';
import { FIRST_TEXT } from './probes.ts';
import { HostRandom, type RandomSource, SeededRandom } from './random.ts';
import { readRegisters, writeFlat } from './registers.ts';
import { Repose } from './repose.ts';
import { proveRedirect } from './selftest.ts';
import {
	adoptCpu,
	bytesOf,
	Controllers,
	checkPages,
	numberOf,
	restoreCpu,
	restorePages,
	type Saved,
	saveCpu,
	savedMemorySize,
	savePages,
} from './state.ts';
import { MachineTimers, RealTime, type TimeSource, VirtualTime } from './time.ts';
import { TimeStampCounter } from './tsc.ts';
import { VideoWindows } from './video.ts';
import { type LoadedCore, loadCore } from './wasm.ts';

const STATE_VERSION = 1;
/** The longest sleep, ms; also what the core answers for "no timer of mine is armed". */
const LONGEST_SLEEP = 100;
/** LVT timer register, and its mode bits; 0 is one-shot (Intel SDM volume 3, 11.5.1). */
const APIC_LVT_TIMER = 0xfee00320;
const APIC_TIMER_MODE = 3 << 17;
const FLAG_INTERRUPT = 0x200;

export class V86Backend implements CpuBackend {
	readonly dma: GuestRam;
	readonly ports: Ports;
	readonly portRegisters: CorePortRegisters;
	readonly mmio: Mmio;
	readonly clock: MachineTimers;
	onWake: (() => void) | undefined;
	onFailure: ((failure: CpuFailure) => void) | undefined;

	readonly #core: LoadedCore;
	readonly #memory: LinearMemory;
	readonly #time: TimeSource;
	readonly #random: RandomSource;
	readonly #access: GuestAccess;
	readonly #instructions: Instructions;
	readonly #messages: Messages;
	readonly #inputs: GuardedInputs;
	readonly #irqs: IrqLines;
	readonly #jit: Jit;
	readonly #video: VideoWindows;
	readonly #videoMemory: number;
	readonly #controllers: Controllers;
	readonly #tsc: TimeStampCounter;
	readonly #repose = new Repose();
	readonly #faults = new FaultLog();
	readonly #deferred: Deferred;
	#notice: string | undefined;
	#inSlice = false;
	#flushWanted = false;
	#paused = false;
	readonly #failures: Failures;
	readonly #lacks: Lacks;
	/** Machine time until which the last slice said it may sleep, ns. */
	#sleepUntil = 0;
	/** When the local APIC's timer is due, ns of machine time; Infinity while it is off. */
	#apicNext = Number.POSITIVE_INFINITY;

	static async create(options: CpuOptions): Promise<V86Backend> {
		let b: V86Backend | undefined;
		// Callbacks come only from calls made by a constructed backend.
		const self = () => b as V86Backend;
		const core = await loadCore({
			microtick: () => self().#microtick(),
			run_hardware_timers: () => self().#atTimers(),
			cpu_event_halt: () => {},
			stop_idling: () => self().#wake(),
			io_port_read8: (port) => self().#access.portRead8(port),
			io_port_read16: (port) => self().#access.portRead16(port),
			io_port_read32: (port) => self().#access.portRead32(port),
			io_port_write8: (port, value) => self().#access.portWrite8(port, value),
			io_port_write16: (port, value) => self().#access.portWrite16(port, value),
			io_port_write32: (port, value) => self().#access.portWrite32(port, value),
			mmap_read8: (address) => self().#access.memoryRead8(address >>> 0),
			mmap_read32: (address) => self().#access.memoryRead32(address >>> 0),
			mmap_write8: (address, value) => self().#access.memoryWrite8(address >>> 0, value),
			mmap_write16: (address, value) => self().#access.memoryWrite16(address >>> 0, value),
			mmap_write32: (address, value) => self().#access.memoryWrite32(address >>> 0, value),
			mmap_write64: (address, low, high) => self().#access.memoryWrite64(address >>> 0, low, high),
			mmap_write128: (address, d0, d1, d2, d3) => self().#access.memoryWrite128(address >>> 0, d0, d1, d2, d3),
			codegen_finalize: (index, physical, flags, at, length) => self().#jit.emitted(index, physical, flags, at, length),
			jit_clear_func: (index) => self().#jit.cleared(index),
			get_rand_int: () => self().#random.next(),
			console_log_from_wasm: (at, length) => self().#told(at >>> 0, length >>> 0),
		});
		b = new V86Backend(core, options);
		b.#start(options);
		return b;
	}

	private constructor(core: LoadedCore, options: CpuOptions) {
		const { exports } = core;
		exports.rust_init();
		this.#core = core;
		this.#memory = new LinearMemory(exports, options.memory, options.videoMemory);
		this.#failures = new Failures(exports, this.#memory);
		this.#instructions = new Instructions(this.#memory);
		this.#time = options.time === 'real' ? new RealTime() : new VirtualTime(() => this.instructions);
		this.#random = options.time === 'real' ? new HostRandom() : new SeededRandom();
		this.#deferred = new Deferred(this.#faults, options.time === 'real');
		this.portRegisters = new CorePortRegisters(this.#memory);
		this.#jit = new Jit(core, this.#memory);
		this.dma = new GuestRam(this.#memory, exports, options.discard);
		this.#lacks = new Lacks(
			this.#memory,
			() => this.instructions,
			(address, length) => (address + length <= this.dma.size ? this.dma.view(address, length) : undefined),
		);
		this.#videoMemory = options.videoMemory;
		this.#video = new VideoWindows(this.#memory, exports, options.videoMemory, () => this.#flushTlb());
		this.ports = new Ports(this.#faults);
		this.mmio = new Mmio(this.#video, this.#faults);
		this.#access = new GuestAccess(this.ports, this.mmio, this.dma, options.time === 'real', () =>
			this.#instructions.hurry(),
		);
		this.#inputs = new GuardedInputs(exports, (error) => this.#breakDown(error));
		this.#irqs = new IrqLines(
			this.#inputs,
			() => this.#access.busy,
			() => this.#instructions.hurry(),
			(line) => this.#lowerQuietly(line),
		);
		this.#messages = new Messages(exports, this.#memory, () => {
			this.#instructions.hurry();
			this.#wake();
		});
		this.clock = new MachineTimers(this.#time, (deadline) => {
			if (deadline < this.#sleepUntil) this.#wake();
		});
		this.#tsc = new TimeStampCounter(this.#memory, exports);
		this.#controllers = new Controllers(this.#memory, exports);
	}

	#start(options: CpuOptions): void {
		const { exports } = this.#core;
		this.#memory.u8[ACPI_ENABLED] = 1;
		exports.reset_cpu();
		if (options.fastVideo && options.videoMemory > 0) {
			this.#inSlice = true;
			this.#notice = proveRedirect(this.#memory, exports, this.mmio, this.#video, options.memory);
			this.#inSlice = false;
			this.#video.fast = this.#notice === undefined;
			exports.reset_cpu();
			this.#controllers.reset();
		}
		this.#instructions.total = 0;
		this.#time.set({ ns: 0, wall: this.#time.wall(), read: false });
		this.#tsc.offset = 0n;
	}

	get fastVideo(): boolean {
		return this.#video.fast;
	}

	/** Why video memory is slow although it was asked to be fast: one line for the log. */
	get notice(): string | undefined {
		return this.#notice === undefined ? undefined : `video memory is slow on this host: ${this.#notice}`;
	}

	/** What translation has cost so far. */
	get jit(): Jit['statistics'] {
		return this.#jit.statistics;
	}

	allocateVideo(size: number): VideoMemory {
		return this.#video.allocate(size);
	}

	irq(line: number): Irq {
		const found = this.#irqs.lines[line];
		if (found === undefined) throw new RangeError(`interrupt line ${line} does not exist`);
		return found;
	}

	message(address: number, data: number): void {
		this.#messages.post(address, data);
	}

	defer(work: () => void): void {
		this.#deferred.add(work);
		if (this.#access.busy) this.#instructions.hurry();
		else this.#wake();
	}

	get overdue(): boolean {
		return this.#access.overdue;
	}

	spent(bytes: number): void {
		if (!this.#access.busy) return;
		this.#access.spent(bytes);
		this.#time.spend(bytes);
	}

	again(): void {
		if (!this.#access.busy) return;
		const { u32 } = this.#memory;
		u32[INSTRUCTION_POINTER / 4] = u32[PREVIOUS_IP / 4];
		this.#instructions.hurry();
	}

	runSlice(): number {
		if (this.#paused || this.#failures.dead) return LONGEST_SLEEP;
		this.#inSlice = true;
		this.#attempt(this.#round);
		this.#attempt(this.#rest);
		this.#inSlice = false;
		return this.#failures.dead ? LONGEST_SLEEP : this.#sleep();
	}

	readonly #round = () => {
		this.#settle();
		this.#failures.check();
		if (this.#dead()) this.#runTimers(this.#time.now());
		else this.#core.exports.main_loop();
	};
	readonly #rest = () => {
		this.#settle();
		this.#lacks.look();
	};

	/** Runs a part of a slice and ends the core if it failed there. */
	#attempt(part: () => void): void {
		try {
			part();
			this.#failures.check();
		} catch (error) {
			this.#fail(error);
		}
	}

	/** The core failed where nobody expects an exception: the slice ends with it, or the next one begins with it. */
	#breakDown(error: unknown): void {
		this.#failures.breakDown(error);
		this.#inputs.dead = true;
		this.dma.dead = true;
		this.#wake();
	}

	/** HLT with interrupts off: only a reset helps, but devices live on. */
	#dead(): boolean {
		return this.#memory.u8[IN_HLT] !== 0 && (this.#memory.u32[FLAGS / 4] & FLAG_INTERRUPT) === 0;
	}

	/** How long the machine may sleep now, ms. */
	#sleep(): number {
		this.#sleepUntil = 0;
		if (this.#memory.u8[IN_HLT] === 0 || this.#deferred.waiting || this.#jit.waiting || this.#paused) return 0;
		const next = Math.min(this.clock.next, this.#dead() ? Number.POSITIVE_INFINITY : this.#apicNext);
		if (next !== Number.POSITIVE_INFINITY && this.#time.skip(next)) return 0;
		const now = this.#time.now();
		const lateness = this.#repose.look(now, this.instructions);
		const late = lateness > 0 && next === this.#apicNext && this.#oneShot();
		const end = late ? Math.min(Math.max(next, now + lateness), this.clock.next) : next;
		const ms = Math.min((end - now) / 1e6, LONGEST_SLEEP);
		if (ms <= 0) return 0;
		this.#sleepUntil = now + ms * 1e6;
		// Host timers count whole ms: rounded down, a sleep would end early and cost a second one.
		return Math.ceil(ms);
	}

	/** The local APIC's timer runs once: the core drops periods that it is late for. */
	#oneShot(): boolean {
		return (this.#core.exports.read32s(APIC_LVT_TIMER) & APIC_TIMER_MODE) === 0;
	}

	#wake(): void {
		if (this.#inSlice) return;
		this.#repose.disturb(this.#time.now(), this.instructions);
		this.onWake?.();
	}

	/** Everything that had to wait for a safe place. */
	#settle(): void {
		this.dma.settle();
		if (this.#flushWanted) {
			this.#flushWanted = false;
			this.#core.exports.full_clear_tlb();
		}
		this.#irqs.settle();
		this.#compile();
		this.#deferred.run();
		this.#irqs.settle();
	}

	#compile(): void {
		try {
			this.#jit.compile();
		} catch (error) {
			this.#breakDown(error);
		}
	}

	#runTimers(now: number): void {
		try {
			this.clock.run(now);
		} catch (error) {
			this.#faults.caught('timer', error);
		}
	}

	/** The core's microtick: its only clock, ms. */
	#microtick(): number {
		return this.#tsc.moment ?? this.#time.read() / 1e6;
	}

	/** The core's run_hardware_timers: between two instructions. Returns ms until it has to be called again. */
	#atTimers(): number {
		this.#access.rest();
		// The round that was cut short is over: the next one can be cut short too.
		this.#instructions.count();
		const now = this.#time.now();
		this.#controllers.levelCascade();
		this.#runTimers(now);
		if (this.#memory.u8[IN_HLT] === 0) {
			this.#settle();
		} else {
			// Inside the HLT instruction: main_loop is about to return or go on, and the rest can wait for that.
			this.dma.settle();
			this.#irqs.settle();
		}
		this.#failures.check();
		const apic = this.#core.exports.apic_timer(now / 1e6);
		this.#apicNext = apic === LONGEST_SLEEP ? Number.POSITIVE_INFINITY : now + apic * 1e6;
		return Math.max(0, Math.min(apic, (this.clock.next - now) / 1e6, LONGEST_SLEEP));
	}

	/** Takes a line down in the middle of an instruction; the core, thinking that interrupts are off, delivers none. */
	#lowerQuietly(line: number): void {
		const { u32 } = this.#memory;
		const flags = u32[FLAGS / 4];
		u32[FLAGS / 4] = flags & ~FLAG_INTERRUPT;
		this.#inputs.device_lower_irq(line);
		u32[FLAGS / 4] = flags;
	}

	#flushTlb(): void {
		if (this.#access.busy) {
			this.#flushWanted = true;
			this.#instructions.hurry();
		} else {
			this.#core.exports.full_clear_tlb();
		}
	}

	/** The core says why it panics, or a probe what the guest does. */
	#told(at: number, length: number): void {
		if (at < FIRST_TEXT) this.#lacks.probe(at, length);
		else this.#failures.said(at, length);
	}

	#fail(error: unknown): void {
		this.#access.abandon();
		const failure = this.#failures.judge(error, () => this.registers());
		this.#inputs.dead = this.dma.dead = failure !== undefined;
		if (failure) this.onFailure?.(failure);
	}

	pause(): void {
		this.#paused = true;
		this.#time.pause();
	}

	resume(): void {
		this.#paused = false;
		this.#time.resume();
	}

	get instructions(): number {
		return this.#instructions.total;
	}

	registers(): CpuRegisters {
		return readRegisters(this.#memory, this.#core.exports);
	}

	startFlat(eip: number, general: Partial<CpuRegisters['general']> = {}): void {
		writeFlat(this.#memory, this.#core.exports, eip, general);
	}

	/**
	 * CPU and interrupt controllers as after power-on; RAM keeps its content. Ends a triple fault as on real hardware; a
	 * core that failed otherwise, or too often, stays dead.
	 */
	reset(): void {
		if (this.#failures.final) return;
		this.#failures.forget();
		this.#inputs.dead = false;
		this.dma.dead = false;
		const { exports } = this.#core;
		const before = this.instructions;
		exports.reset_cpu();
		this.#instructions.total = before;
		this.#tsc.offset = BigInt(Math.trunc(this.#time.now()));
		this.#controllers.reset();
		this.#irqs.forget();
		this.#memory.u8[ACPI_ENABLED] = 1;
		this.#wake();
	}

	save(): DeviceState {
		const instructions = this.instructions;
		return {
			version: STATE_VERSION,
			cpu: saveCpu(this.#memory),
			tscOffset: this.#tsc.offset,
			controllers: this.#controllers.save(),
			irqs: this.#irqs.levels,
			time: { ...this.#time.save() },
			instructions,
			random: this.#random.save(),
			memory: savePages(this.#memory, this.#core.exports, this.dma.size + this.#videoMemory),
		};
	}

	/** Takes the place of what runs. Throws, with the machine unchanged, when the state does not fit this machine. */
	restore(state: DeviceState): void {
		checkVersion('cpu', state, STATE_VERSION);
		const size = this.dma.size + this.#videoMemory;
		const cpu = bytesOf(state, 'cpu', STATE_END - STATE_START);
		if (savedMemorySize(cpu) !== size) throw new Error('cpu: saved state is of a machine with another memory size');
		const memory = part(state.memory);
		const time = part(state.time);
		const saved = { ns: numberOf(time, 'ns'), wall: numberOf(time, 'wall'), read: time.read === true };
		const [irqs, instructions, random] = ['irqs', 'instructions', 'random'].map((name) => numberOf(state, name));
		if (typeof state.tscOffset !== 'bigint') throw new Error('cpu: saved state has no proper "tscOffset"');
		checkPages(memory, size);
		this.#controllers.restore(part(state.controllers));
		restorePages(this.#memory, memory, size);
		restoreCpu(this.#memory, cpu);
		adoptCpu(this.#core.exports);
		this.#irqs.adopt(irqs & 0xffff);
		this.#instructions.total = instructions;
		this.#time.set(saved);
		this.#tsc.offset = state.tscOffset;
		this.#random.restore(random);
		this.#video.markAllDirty();
		this.#failures.forget();
		this.#inputs.dead = false;
		this.dma.dead = false;
		this.#wake();
	}

	dispose(): void {
		this.#paused = true;
		this.#deferred.clear();
		this.onWake = undefined;
		this.onFailure = undefined;
	}
}

function part(value: StateValue | undefined): Saved {
	if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array)
		throw new Error('cpu: saved state is incomplete');
	return value;
}
