/** A machine's life: made from a description, started, stopped, reset, ended; and what may be asked of it meanwhile. */
import { fwCfgContents } from '../../firmware/index.ts';
import type { AudioMixer } from '../audio/index.ts';
import type { InputEvents } from '../core/index.ts';
import type { CpuBackend, CpuFailure, CpuRegisters } from '../cpu/backend.ts';
import { createV86 } from '../cpu/v86/index.ts';
import { native } from '../spice/codecs/native.ts';
import { Display } from '../spice/display/display.ts';
import type { SpiceServer } from '../spice/server.ts';
import { createSpicePorts, type SpicePorts } from './agent.ts';
import { MachineAudio } from './audio.ts';
import { Board } from './board.ts';
import { loadBoot } from './boot.ts';
import { type MachineConfig, type MachineOptions, parseConfig, videoMemorySize } from './config.ts';
import type {
	BalloonControl,
	BlockInfo,
	MachineControl,
	MachineEnd,
	MachineEventListener,
	PciInfo,
	QtreeBus,
	RunState,
	Screenshot,
	ShutdownCause,
	SpiceControl,
} from './control.ts';
import { type DriveError, Drives } from './drives.ts';
import { Inputs } from './inputs.ts';
import { deviceTree, pciTree } from './inspect.ts';
import { nativeImageCalls } from './medium.ts';
import { GuestPanics, type PanicAction } from './panic.ts';
import type { Plan } from './plan.ts';
import { planDevices } from './planner.ts';
import { RunLoop } from './runloop.ts';
import { type Chardevs, closeAll, openChardevs, openSerials, type SerialPorts } from './serials.ts';
import { spiceControl, startSpice } from './spice.ts';
import { virtioParts } from './virtio.ts';

/** What a caller may give to a machine besides its description. */
export interface MachineHost {
	/** Progress of something that takes a while, such as fetching firmware. */
	readonly progress?: (line: string) => void;
	/** Something the operator should know, one line. */
	readonly warn?: (line: string) => void;
	/** A line that firmware wrote to its debug port. */
	readonly debug?: (line: string) => void;
	/** Back ends of serial ports in place of the described ones, by port. */
	readonly serials?: SerialPorts;
	/** How the operator lets a machine go on that has stopped by itself, as warnings tell it; `cont` if left out. */
	readonly resume?: string;
	/** The operator wants the machine to end: the escape key of a serial console. */
	readonly quit?: () => void;
}

const BALLOON_EVENT_MS = 1000;

interface Parts {
	readonly config: MachineConfig;
	readonly host: MachineHost;
	readonly cpu: CpuBackend;
	readonly display: Display;
	readonly drives: Drives;
	readonly serials: SerialPorts;
	readonly chardevs: Chardevs;
	readonly plan: Plan;
	readonly audio: MachineAudio | undefined;
}

export class Machine implements MachineControl {
	readonly config: MachineConfig;
	readonly display: Display;
	readonly ended: Promise<MachineEnd>;
	spice: SpiceControl | undefined;
	readonly #host: MachineHost;
	readonly #cpu: CpuBackend;
	readonly #board: Board;
	readonly #inputs = new Inputs();
	readonly #drives: Drives;
	readonly #serials: SerialPorts;
	readonly #chardevs: Chardevs;
	readonly #audio: MachineAudio | undefined;
	readonly #guestPorts: SpicePorts;
	readonly #loop: RunLoop;
	readonly #listeners = new Set<MachineEventListener>();
	readonly #panics: GuestPanics;
	#status: RunState = 'prelaunch';
	#server: SpiceServer | undefined;
	#ending: Promise<void> | undefined;
	#finish: (end: MachineEnd) => void = () => {};
	#resetQueued = false;
	/** What the guest asked for in the rest of the slice in which it panicked: it waits until the guest goes on. */
	readonly #held: (() => void)[] = [];

	/**
	 * Opens everything the description names and puts the machine together; it waits for cont(). Throws TsvmError, and
	 * has then closed whatever it had opened.
	 */
	static async create(options: MachineOptions, host: MachineHost = {}): Promise<Machine> {
		const config = parseConfig(options);
		const undo: (() => unknown)[] = [];
		try {
			const boot = await loadBoot(config, host);
			const plan = planDevices(config);
			const drives = await Drives.open(plan, { ...nativeImageCalls(), ...host });
			undo.push(() => drives.close());
			const chardevs = await openChardevs(plan.chardevs, host);
			undo.push(() => closeAll(chardevs.values()));
			const serials = host.serials ?? (await openSerials(config, chardevs, host));
			undo.push(() => closeAll(serials));
			const display = new Display();
			const cpu = await createV86({
				memory: config.memory,
				videoMemory: videoMemorySize(config.display),
				time: config.clock,
				fastVideo: config.display.fastVideo,
				discard: native().addon?.discard,
			});
			undo.push(() => cpu.dispose());
			if (cpu.notice !== undefined) host.warn?.(cpu.notice);
			const audio = await MachineAudio.open(config, cpu.clock, host);
			undo.push(() => audio?.close());
			const machine = new Machine({ config, host, cpu, display, drives, serials, chardevs, plan, audio }, boot);
			if (config.spice) await machine.#openSpice(config.spice);
			return machine;
		} catch (error) {
			for (const step of undo.reverse()) await step();
			throw error;
		}
	}

	private constructor(parts: Parts, boot: Awaited<ReturnType<typeof loadBoot>>) {
		const { config, host, cpu, display, drives, serials, chardevs, plan, audio } = parts;
		this.config = config;
		this.display = display;
		this.#host = host;
		this.#cpu = cpu;
		this.#drives = drives;
		this.#serials = serials;
		this.#chardevs = chardevs;
		this.#audio = audio;
		this.ended = new Promise((resolve) => {
			this.#finish = resolve;
		});
		this.#panics = new GuestPanics(config.panic, {
			defer: (work) => cpu.defer(work),
			tell: (event, action) => this.#emit(event, { action }),
			warn: (line) => host.warn?.(line),
			stop: () => this.#stop('guest-panicked'),
			end: (failure) => void this.quit('guest-panic', failure),
			now: () => performance.now(),
			resume: host.resume ?? 'cont',
		});
		this.#guestPorts = createSpicePorts(config, plan, chardevs, {
			monitors: (heads) => this.#board.qxl.clientMonitorsConfig(heads),
			screen: () => display.screen,
		});
		this.#board = new Board({
			cpu,
			config,
			bios: boot.firmware.bios,
			vgaBios: boot.firmware.vgaBios,
			fwCfg: fwCfgContents({
				memory: config.memory,
				taken: videoMemorySize(config.display),
				serialPorts: serials.flatMap((port, n) => (port ? [n + 1] : [])),
				linux: boot.linux,
				bootOrder: drives.bootOrder(config.boot.once ?? config.boot.order),
				bootMenu: config.boot.menu ? { wait: 0 } : undefined,
				pvpanic: plan.pvpanic?.port,
				uuid: Buffer.from(config.uuid.replaceAll('-', ''), 'hex'),
			}),
			sink: display,
			serials,
			drives: drives.ideDrives,
			audio: audio?.mixer,
			soundSlot: plan.soundSlot,
			virtio: virtioParts(config, plan, { disks: drives.virtioDisks, serials: this.#guestPorts.serials }),
			onReset: () => this.#queueReset(),
			onPowerOff: () => this.#soon(() => void this.quit('guest-shutdown')),
			onPanic: this.#panics.happened,
			onDebugLine: host.debug,
		});
		this.#inputs.setKeyboard(this.#board.keyboard);
		this.#inputs.setMouse(this.#board.mouse);
		// The first one that the guest uses counts, and the agent knows the place on the screen best.
		if (this.#guestPorts.agent) this.#inputs.addPointer(this.#guestPorts.agent.pointer);
		const { keyboard, tablet } = this.#board.virtio;
		if (keyboard) this.#inputs.addKeyboard(keyboard);
		if (tablet) this.#inputs.addPointer(tablet);
		if (this.#board.pointer) this.#inputs.addPointer(this.#board.pointer);
		this.#watchBalloon();
		drives.onTray = (data) => this.#emit('DEVICE_TRAY_MOVED', data);
		drives.onError = (data) => this.#ioError(data);
		cpu.onFailure = (failure) => this.#cpuFailed(failure);
		this.#loop = new RunLoop(cpu);
	}

	get name(): string {
		return this.config.name;
	}
	get uuid(): string {
		return this.config.uuid;
	}
	get status(): RunState {
		return this.#status;
	}
	get panicAction(): PanicAction {
		return this.#panics.action;
	}
	set panicAction(action: PanicAction) {
		this.#panics.action = action;
	}
	get audio(): AudioMixer | undefined {
		return this.#audio?.mixer;
	}
	get inputs(): InputEvents {
		return this.#inputs;
	}

	cont(): void {
		if (!['prelaunch', 'paused', 'io-error', 'guest-panicked'].includes(this.#status)) return;
		this.#status = 'running';
		this.#loop.start();
		this.#emit('RESUME', {});
		this.#drives.retry();
		for (const work of this.#held.splice(0)) work();
	}

	stop(): void {
		this.#stop('paused');
	}

	#stop(status: 'paused' | 'io-error' | 'guest-panicked'): void {
		if (this.#status !== 'running') return;
		this.#status = status;
		this.#loop.stop();
		this.#emit('STOP', {});
	}

	#ioError(error: DriveError): void {
		this.#emit('BLOCK_IO_ERROR', { ...error });
		if (error.action === 'stop') this.#stop('io-error');
	}

	reset(): void {
		this.#resetNow(false, 'host-qmp-system-reset');
	}

	powerdown(): void {
		this.#board.pm.powerButton();
		this.#emit('POWERDOWN', {});
	}

	/** Ends the machine; a second call waits for the first. */
	quit(cause: ShutdownCause = 'host-qmp-quit', failure?: string): Promise<void> {
		this.#ending ??= this.#end(cause, failure);
		return this.#ending;
	}

	onEvent(listener: MachineEventListener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	screenshot(head = 0): Screenshot | undefined {
		return this.display.screenshot(head);
	}

	blocks(): readonly BlockInfo[] {
		return this.#drives.list();
	}

	eject(device: string, force: boolean): Promise<void> {
		return this.#drives.eject(device, force);
	}

	changeMedium(...args: Parameters<MachineControl['changeMedium']>): Promise<void> {
		return this.#drives.change(...args);
	}

	pciTree(): readonly PciInfo[] {
		return pciTree(this.#board.pci);
	}

	deviceTree(): QtreeBus {
		return deviceTree(this.#board.pci, this.config, this.#drives.list());
	}

	registers(): CpuRegisters {
		return this.#cpu.registers();
	}

	get balloon(): BalloonControl | undefined {
		return this.#board.virtio.balloon;
	}

	/** As QEMU's monitor: at most one event a second, the last one of each second. */
	#watchBalloon(): void {
		const { balloon } = this.#board.virtio;
		if (!balloon) return;
		if (this.config.balloon?.target !== undefined) balloon.target = this.config.balloon.target;
		let quiet = false;
		let again = false;
		const tell = () => {
			quiet = true;
			again = false;
			this.#emit('BALLOON_CHANGE', { actual: balloon.actual });
			setTimeout(() => {
				quiet = false;
				if (again) tell();
			}, BALLOON_EVENT_MS).unref();
		};
		balloon.onChange = () => {
			if (quiet) again = true;
			else tell();
		};
	}

	async #openSpice(config: NonNullable<MachineConfig['spice']>): Promise<void> {
		const server = await startSpice(config, {
			machine: this,
			display: this.display,
			guestPorts: this.#guestPorts,
			mixer: this.#audio?.clientMixer,
			client: this.#board.qxl,
			warn: (line) => this.#host.warn?.(line),
			emit: (event, data) => this.#emit(event, data),
		});
		this.#server = server;
		this.spice = spiceControl(server);
	}

	/** The guest asks in the middle of an access; it happens once that is over, and once however often it asked. */
	#queueReset(): void {
		if (this.#resetQueued) return;
		this.#resetQueued = true;
		this.#soon(() => this.#resetNow(true, 'guest-reset'));
	}

	/** Once the guest's access is over, if it still runs then. */
	#soon(work: () => void): void {
		this.#cpu.defer(() => (this.#status === 'guest-panicked' ? this.#held.push(work) : work()));
	}

	#resetNow(guest: boolean, reason: ShutdownCause): void {
		this.#resetQueued = false;
		this.#held.length = 0;
		if (this.#ending) return;
		this.#board.reset();
		// softmmu/runstate.c, main_loop_should_exit: why it stood still is over.
		if (this.#status !== 'running') this.#status = 'prelaunch';
		this.#emit('RESET', { guest, reason });
	}

	#cpuFailed(failure: CpuFailure): void {
		// A PC's chipset answers the CPU's shutdown cycle with a reset; kernels use it as their last way to reboot.
		if (failure.reason === 'triple fault') {
			this.#resetNow(true, 'guest-reset');
			return;
		}
		this.#status = 'internal-error';
		this.#loop.stop();
		const at = failure.registers.eip.toString(16);
		void this.quit('host-error', `${failure.reason} (at 0x${at})`);
	}

	async #end(cause: ShutdownCause, failure: string | undefined): Promise<void> {
		this.#loop.stop();
		this.#status = failure === undefined ? 'shutdown' : 'internal-error';
		const guest = cause.startsWith('guest');
		this.#emit('SHUTDOWN', { guest, reason: cause });
		await this.#server?.close();
		let lost: string | undefined;
		try {
			await this.#drives.close();
		} catch (error) {
			lost = `a disk could not be written: ${error instanceof Error ? error.message : String(error)}`;
		}
		await this.#audio?.close();
		closeAll(this.#serials, this.#chardevs.values());
		this.#cpu.dispose();
		this.#finish({ cause, failure: failure ?? lost });
	}

	#emit(event: string, data: Readonly<Record<string, unknown>>): void {
		for (const listener of this.#listeners) listener(event, data);
	}
}
