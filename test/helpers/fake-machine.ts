/** A MachineControl without a machine: what is asked of it is written down, what it tells is what the test says. */
import type { InputEvents } from '../../src/core/index.ts';
import { TsvmError } from '../../src/core/index.ts';
import type { CpuRegisters } from '../../src/cpu/backend.ts';
import { type MachineConfig, type MachineOptions, parseConfig } from '../../src/machine/config.ts';
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
	SpiceInfo,
} from '../../src/machine/control.ts';
import type { PanicAction } from '../../src/machine/panic.ts';

const HALTED: CpuRegisters = {
	eip: 0xb7b9,
	eflags: 0x246,
	general: { eax: 0, ecx: 0xb79d, edx: 0, ebx: 0, esp: 0x6f94, ebp: 0xb79d, esi: 0xb79d, edi: 0 },
	segments: { es: 0xd980, cs: 0xf000, ss: 0, ds: 0, fs: 0, gs: 0 },
	cr0: 0x10,
	cr2: 0,
	cr3: 0,
	cr4: 0,
	halted: true,
};

export class FakeMachine implements MachineControl {
	readonly config: MachineConfig;
	readonly ended: Promise<MachineEnd>;
	readonly calls: string[] = [];
	/** Scan code bytes in the order they came, as hexadecimal. */
	readonly scancodes: string[] = [];
	readonly pointer: string[] = [];
	readonly inputs: InputEvents;
	readonly spice: SpiceControl;
	balloon: BalloonControl | undefined;
	absolute = false;
	status: RunState = 'prelaunch';
	panicAction: PanicAction = 'shutdown';
	picture: Screenshot | undefined = { width: 2, height: 1, rgb: Uint8Array.of(1, 2, 3, 4, 5, 6) };
	drives: BlockInfo[] = [];
	pci: PciInfo[] = [];
	tree: QtreeBus = { name: 'main-system-bus', type: 'System', devices: [] };
	spiceInfo: SpiceInfo = { host: '127.0.0.1', port: 5940, auth: 'none', mouseMode: 'unknown', channels: [] };
	readonly #listeners = new Set<MachineEventListener>();
	#finish: (end: MachineEnd) => void = () => {};

	constructor(options: MachineOptions = {}) {
		this.config = parseConfig(options);
		this.ended = new Promise((resolve) => {
			this.#finish = resolve;
		});
		this.inputs = this.#recordedInputs();
		this.spice = {
			setPassword: (password, connected) => void this.calls.push(`setPassword ${password} ${connected}`),
			expirePassword: (time) => void this.calls.push(`expirePassword ${time}`),
			info: () => this.spiceInfo,
		};
	}

	get name(): string {
		return this.config.name;
	}
	get uuid(): string {
		return this.config.uuid;
	}

	cont(): void {
		const first = this.status === 'running';
		this.status = 'running';
		if (!first) this.emit('RESUME');
	}
	stop(): void {
		if (this.status !== 'running') return;
		this.status = 'paused';
		this.emit('STOP');
	}
	reset(): void {
		this.emit('RESET', { guest: false, reason: 'host-qmp-system-reset' });
	}
	powerdown(): void {
		this.emit('POWERDOWN');
	}
	async quit(cause: ShutdownCause = 'host-qmp-quit', failure?: string): Promise<void> {
		this.emit('SHUTDOWN', { guest: false, reason: cause });
		this.#finish({ cause, failure });
	}
	onEvent(listener: MachineEventListener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}
	emit(event: string, data: Record<string, unknown> = {}): void {
		for (const listener of this.#listeners) listener(event, data);
	}
	get listeners(): number {
		return this.#listeners.size;
	}
	screenshot(): Screenshot | undefined {
		return this.picture;
	}
	blocks(): readonly BlockInfo[] {
		return this.drives;
	}
	async eject(device: string, force: boolean): Promise<void> {
		this.calls.push(`eject ${device} ${force}`);
		this.#refuseLocked(device, force);
		this.#moveTray(device, true);
		this.#change(device, { trayOpen: true, inserted: undefined });
	}
	async changeMedium(device: string, file: string, options: { force: boolean; readOnlyMode: string }): Promise<void> {
		this.calls.push(`changeMedium ${device} ${file} ${options.force} ${options.readOnlyMode}`);
		this.#refuseLocked(device, options.force);
		if (!this.drives.find((drive) => drive.device === device)?.trayOpen) this.#moveTray(device, true);
		this.#moveTray(device, false);
		const inserted = { file, driver: 'raw', readOnly: true, snapshot: false, size: 1048576 };
		this.#change(device, { trayOpen: false, inserted });
	}
	pciTree(): readonly PciInfo[] {
		return this.pci;
	}
	deviceTree(): QtreeBus {
		return this.tree;
	}
	registers(): CpuRegisters {
		return HALTED;
	}

	#refuseLocked(device: string, force: boolean): void {
		if (this.drives.find((drive) => drive.device === device)?.locked && !force)
			throw new TsvmError('locked', `Device '${device}' is locked`);
	}
	#moveTray(device: string, open: boolean): void {
		const id = this.drives.find((drive) => drive.device === device)?.qdev ?? '';
		this.emit('DEVICE_TRAY_MOVED', { device, 'tray-open': open, id });
	}
	#change(device: string, change: Partial<BlockInfo>): void {
		this.drives = this.drives.map((drive) => (drive.device === device ? { ...drive, ...change } : drive));
	}
	#recordedInputs(): InputEvents {
		const machine = this;
		return {
			scancodes: (codes) => void this.scancodes.push(Buffer.from(codes).toString('hex')),
			motion: (...move) => void this.pointer.push(`motion ${move.join(' ')}`),
			position: (...move) => void this.pointer.push(`position ${move.join(' ')}`),
			get absolute() {
				return machine.absolute;
			},
			onChange: () => () => {},
			leds: 0,
		};
	}
}
