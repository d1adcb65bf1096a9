/** Makes the plan of a machine's devices: slots, drives, ports and what they are joined to. */
import { PVPANIC_PORT } from '../../devices/misc/index.ts';
import { AGENT_PORT } from '../spice/agent/spicevmc.ts';
import { MiB } from './config-kit.ts';
import type { Chardev, Device, DeviceOf, Drive } from './devices.ts';
import {
	type DiskPlan,
	type Plan,
	PlanError,
	type Pluggable,
	type PortEnd,
	type PortPlan,
	type VirtioPlace,
} from './plan.ts';

const SERIAL_SLOT = 3;
const BALLOON_SLOT = 4;
const SOUND_SLOT = 6;
/** Host bridge, ISA bridge with its functions, display. */
const FIXED_SLOTS = ['the host bridge', 'the ISA bridge', 'the display'];
const LAST_SLOT = 31;
const IDE_PLACES = 4;
const MAX_PORT = 30;
/** virtio 1.2, 5.2.4: min_io_size has 16 bits, in logical blocks; a transfer of half a GiB suits nobody. */
const MOST_MIN_IO = 0xffff;
const MOST_OPT_IO = 512 * MiB;

/** Throws PlanError. */
export function planDevices(config: Pluggable): Plan {
	return new Planner(config).plan();
}

/** Devices with the transport's words. */
type VirtioDevice = Extract<Device, { readonly packed?: boolean }>;

class Planner {
	readonly #config: Pluggable;
	readonly #slots: (string | undefined)[] = [...FIXED_SLOTS];
	/** Drives and chardevs by id, and which of them a device has. */
	readonly #used = new Map<string, string>();

	constructor(config: Pluggable) {
		this.#config = config;
	}

	plan(): Plan {
		const { devices, rng, tablet, balloon } = this.#config;
		this.#checkIds();
		this.#one('qxl-vga');
		for (const [n, device] of devices.entries())
			if ('addr' in device && device.addr !== undefined) this.#take(device.addr, device.driver, n);
		// Those that every machine has keep their places where they can; then the rest in order.
		const sound = this.#one('AC97');
		const soundSlot = sound?.addr ?? (this.#config.sound ? this.#free('AC97', SOUND_SLOT) : SOUND_SLOT);
		const serials = this.#serials();
		const balloonDevice = this.#one('virtio-balloon-pci');
		const planned = {
			soundSlot,
			serials,
			balloon: balloon ? this.#place(balloonDevice, 'virtio-balloon-pci', BALLOON_SLOT) : undefined,
			...this.#storage(),
			rngs: [
				...(rng ? [this.#place(undefined, 'virtio-rng-pci')] : []),
				...this.#all('virtio-rng-pci').map((device) => this.#place(device, device.driver)),
			],
			tablet: this.#pointer('virtio-tablet-pci', tablet),
			keyboard: this.#pointer('virtio-keyboard-pci', false),
			...this.#pvpanic(),
		};
		return { ...planned, chardevs: this.#chardevs() };
	}

	#all<Driver extends Device['driver']>(driver: Driver): DeviceOf<Driver>[] {
		return this.#config.devices.filter((device): device is DeviceOf<Driver> => device.driver === driver);
	}

	/** Where a complaint about a device points. */
	#at(device: Device): PropertyKey[] {
		return ['devices', this.#config.devices.indexOf(device)];
	}

	#one<Driver extends Device['driver']>(driver: Driver): DeviceOf<Driver> | undefined {
		const [first, second] = this.#all(driver);
		if (second) throw new PlanError(this.#at(second), `a machine has one ${driver}`, 'leave the second one out');
		return first;
	}

	#take(slot: number, driver: string, device: number): void {
		const there = this.#slots[slot];
		const [at, hex] = [['devices', device], slot.toString(16).padStart(2, '0')];
		if (there !== undefined) throw new PlanError(at, `slot ${hex} is taken by ${there}`, 'choose another addr');
		this.#slots[slot] = driver;
	}

	#free(driver: string, wish?: number): number {
		let slot = wish !== undefined && this.#slots[wish] === undefined ? wish : SERIAL_SLOT;
		// The places of what every machine has stay free for it, so that one device more moves none of the others.
		const kept = (n: number) => n !== wish && [SERIAL_SLOT, BALLOON_SLOT, SOUND_SLOT].includes(n);
		while (this.#slots[slot] !== undefined || kept(slot)) slot++;
		if (slot > LAST_SLOT) throw new PlanError([], `no PCI slot is left for ${driver}`, 'leave devices out');
		this.#slots[slot] = driver;
		return slot;
	}

	/** Where a virtio device goes and how it shows itself; without `device` it has no words of its own. */
	#place(device: VirtioDevice | undefined, driver: string, wish?: number): VirtioPlace {
		const words: Partial<VirtioDevice> = device ?? {};
		const transport = {
			packed: words.packed ?? this.#config.packedRings,
			vectors: words.vectors,
			disableModern: words['disable-modern'] ?? false,
			disableLegacy: words['disable-legacy'] === 'auto' ? undefined : words['disable-legacy'],
		};
		const modernOnly = driver === 'virtio-tablet-pci' || driver === 'virtio-keyboard-pci';
		if (device && modernOnly && (transport.disableModern || transport.disableLegacy === false))
			throw new PlanError(this.#at(device), `${driver} has only the modern interface`, 'leave disable-… out');
		if (device && transport.disableModern && transport.disableLegacy)
			throw new PlanError(this.#at(device), `${driver} has neither interface`, 'disable only one of them');
		return { slot: words.addr ?? this.#free(driver, wish), transport };
	}

	#pointer(driver: 'virtio-tablet-pci' | 'virtio-keyboard-pci', always: boolean): VirtioPlace | undefined {
		const device = this.#one(driver);
		return device || always ? this.#place(device, driver) : undefined;
	}

	#pvpanic(): Pick<Plan, 'pvpanic' | 'pvpanicPci'> {
		const isa = this.#one('pvpanic');
		const pci = this.#one('pvpanic-pci');
		return {
			pvpanic: isa && { port: isa.ioport ?? PVPANIC_PORT, events: isa.events },
			pvpanicPci: pci && { slot: pci.addr ?? this.#free(pci.driver), events: pci.events },
		};
	}

	#checkIds(): void {
		for (const list of ['drives', 'chardevs', 'devices'] as const) {
			const seen = new Set<string>();
			for (const [n, { id }] of this.#config[list].entries()) {
				if (id !== undefined && seen.has(id)) throw new PlanError([list, n], `id '${id}' is there twice`);
				if (id === undefined && list === 'chardevs')
					throw new PlanError([list, n], 'a chardev needs an id', 'write id=NAME');
				if (id !== undefined) seen.add(id);
			}
		}
	}

	/** Marks a drive or chardev as used by one device. */
	#use(kind: 'drive' | 'chardev', id: string, device: string, at: PropertyKey[]): void {
		const key = `${kind} ${id}`;
		const by = this.#used.get(key);
		if (by !== undefined) throw new PlanError(at, `${kind} '${id}' is used by ${by} already`, 'each has one device');
		this.#used.set(key, device);
	}

	#storage(): Pick<Plan, 'disks' | 'cdrom'> {
		const { drives, cdrom } = this.#config;
		const disks: DiskPlan[] = this.#config.disks.map(({ bus, ...disk }) => ({
			...disk,
			device: '',
			virtio: bus === 'virtio' ? this.#place(undefined, 'virtio-blk-pci') : undefined,
		}));
		const discs: Plan['cdrom'][] = cdrom === undefined ? [] : [{ device: '', file: cdrom }];
		for (const [n, drive] of drives.entries()) {
			const at = ['drives', n];
			if (drive.if === 'none') {
				if (drive.id === undefined) throw new PlanError(at, 'a drive with if=none needs an id', 'write id=NAME');
				continue;
			}
			if (drive.id !== undefined) this.#use('drive', drive.id, `if=${drive.if ?? 'ide'}`, at);
			if (drive.media === 'cdrom') {
				if (drive.if === 'virtio') throw new PlanError(at, 'a CD-ROM drive is on IDE', 'leave if=virtio out');
				discs.push({ device: drive.id ?? '', file: drive.file });
			} else {
				const virtio = drive.if === 'virtio' ? this.#place(undefined, 'virtio-blk-pci') : undefined;
				disks.push({ ...disk(drive, at), virtio });
			}
		}
		for (const device of this.#config.devices) {
			if (device.driver === 'ide-cd') discs.push(this.#disc(device));
			if (device.driver === 'ide-hd' || device.driver === 'virtio-blk-pci') disks.push(this.#disk(device));
		}
		if (discs.length > 1) throw new PlanError(['cdrom'], 'there is one CD-ROM drive', 'give one medium');
		const ide = disks.filter(({ virtio }) => !virtio).length;
		if (ide > IDE_PLACES)
			throw new PlanError(['disks'], 'there is room for four IDE drives', 'put the others on the virtio bus');
		if (ide === IDE_PLACES && discs.length > 0)
			throw new PlanError(['cdrom'], 'four disks leave no room for a CD-ROM', 'give three disks');
		return { disks, cdrom: discs[0] ?? { device: '' } };
	}

	#disk(device: DeviceOf<'ide-hd' | 'virtio-blk-pci'>): DiskPlan {
		const at = this.#at(device);
		const drive = this.#drive(device);
		if (drive?.media === 'cdrom') throw new PlanError(at, `drive '${device.drive}' is a CD-ROM`, 'use ide-cd');
		if (!drive) throw new PlanError(at, `${device.driver} needs a drive`, 'write drive=ID, and --drive if=none,id=ID');
		const { serial = drive.serial, bootindex } = device;
		const plan = { ...disk(drive, at), serial, bootindex };
		if (device.driver === 'ide-hd') return plan;
		const { logical_block_size: logical, physical_block_size: physical } = device;
		if ((physical ?? logical ?? 512) < (logical ?? 512))
			throw new PlanError(at, 'physical_block_size is less than logical_block_size');
		for (const name of ['min_io_size', 'opt_io_size'] as const)
			if ((device[name] ?? 0) % (logical ?? 512) !== 0)
				throw new PlanError(at, `${name} is no multiple of the logical block size`);
		if ((device.min_io_size ?? 0) / (logical ?? 512) > MOST_MIN_IO || (device.opt_io_size ?? 0) > MOST_OPT_IO)
			throw new PlanError(at, 'min_io_size or opt_io_size is too large', 'give less, or none');
		return {
			...plan,
			virtio: {
				...this.#place(device, device.driver),
				logicalBlockSize: logical,
				physicalBlockSize: physical,
				minIoSize: device.min_io_size,
				optIoSize: device.opt_io_size,
			},
		};
	}

	#disc(device: DeviceOf<'ide-cd'>): Plan['cdrom'] {
		return { device: device.drive ?? '', file: this.#drive(device)?.file, bootindex: device.bootindex };
	}

	#drive(device: DeviceOf<'ide-hd' | 'ide-cd' | 'virtio-blk-pci'>): Drive | undefined {
		if (device.drive === undefined) return undefined;
		const drive = this.#config.drives.find(({ id }) => id === device.drive);
		if (!drive)
			throw new PlanError(this.#at(device), `there is no drive '${device.drive}'`, known(this.#config.drives));
		this.#use('drive', device.drive, device.driver, this.#at(device));
		return drive;
	}

	/** Controllers with their ports. What every machine has comes first on the first one. */
	#serials(): Plan['serials'] {
		const driver = 'virtio-serial-pci';
		const [first, ...others] = this.#all(driver);
		const controllers = [
			{ id: first?.id, ...this.#place(first, driver, SERIAL_SLOT), ports: [] as PortPlan[] },
			...others.map((device) => ({ id: device.id, ...this.#place(device, driver), ports: [] as PortPlan[] })),
		];
		const given = this.#config.devices.filter(
			(device) => device.driver === 'virtserialport' || device.driver === 'virtconsole',
		);
		const planned = given.map((device) => ({ device, port: this.#port(device) }));
		if (this.#config.spice) {
			const hasAgent = planned.some(({ port }) => port.end.kind === 'agent');
			if (this.#config.agent && !hasAgent)
				controllers[0].ports.push({ name: AGENT_PORT, console: false, end: { kind: 'agent' } });
			for (const name of this.#config.spicePorts)
				controllers[0].ports.push({ name, console: false, end: { kind: 'spice', name } });
		}
		for (const { device, port } of planned) {
			const controller = controllers.find(({ id }, n) =>
				device.bus === undefined ? n === 0 : device.bus === `${id}.0`,
			);
			if (!controller)
				throw new PlanError(this.#at(device), `there is no bus '${device.bus}'`, 'write ID.0 of a virtio-serial-pci');
			if (port.number !== undefined && controller.ports.some(({ number }) => number === port.number))
				throw new PlanError(this.#at(device), `port ${port.number} is taken`, 'choose another nr');
			if (controller.ports.length >= MAX_PORT)
				throw new PlanError(this.#at(device), `a virtio-serial-pci has room for ${MAX_PORT} ports`);
			controller.ports.push(port);
		}
		return controllers.map(({ id: _, ...controller }) => ({
			...controller,
			// Numbers that were asked for are taken before the others are given out.
			ports: controller.ports.toSorted((a, b) => Number(a.number === undefined) - Number(b.number === undefined)),
		}));
	}

	#port(device: DeviceOf<'virtserialport' | 'virtconsole'>): PortPlan {
		const { nr, name = '', chardev, driver } = device;
		const at = this.#at(device);
		if (nr !== undefined && nr > MAX_PORT) throw new PlanError(at, `port ${nr}: ports are 0 to ${MAX_PORT}`);
		if (nr === 0 && driver === 'virtserialport') throw new PlanError(at, 'port 0 is for a virtconsole', 'give nr=1');
		return { name, console: driver === 'virtconsole', number: nr, end: this.#end(chardev, driver, at) };
	}

	#end(id: string | undefined, driver: string, at: PropertyKey[]): PortEnd {
		if (id === undefined) return { kind: 'nobody' };
		const chardev = this.#config.chardevs.find((each) => each.id === id);
		if (!chardev) throw new PlanError(at, `there is no chardev '${id}'`, known(this.#config.chardevs));
		this.#use('chardev', id, driver, at);
		if (chardev.backend !== 'spicevmc' && chardev.backend !== 'spiceport') return { kind: 'chardev', id };
		if (!this.#config.spice) return { kind: 'nobody' };
		if (chardev.backend === 'spicevmc') return { kind: 'agent' };
		return { kind: 'spice', name: chardev.name as string };
	}

	/** Back ends that are files, sockets and the like. */
	#chardevs(): Chardev[] {
		for (const [n, { kind, id }] of this.#config.serials.entries()) {
			if (kind !== 'chardev' || id === undefined) continue;
			const chardev = this.#config.chardevs.find((each) => each.id === id);
			const at = ['serials', n];
			if (!chardev) throw new PlanError(at, `there is no chardev '${id}'`, known(this.#config.chardevs));
			if (chardev.backend === 'spicevmc' || chardev.backend === 'spiceport')
				throw new PlanError(at, `${chardev.backend} goes with a virtserialport`, 'use another back end');
			this.#use('chardev', id, `serial port ${n + 1}`, at);
		}
		const { chardevs } = this.#config;
		for (const [n, chardev] of chardevs.entries()) checkChardev(chardev, ['chardevs', n]);
		const vmc = chardevs.findIndex(({ backend }) => backend === 'spicevmc');
		const second = chardevs.findIndex(({ backend }, n) => backend === 'spicevmc' && n > vmc);
		if (second >= 0) throw new PlanError(['chardevs', second], 'there is one agent', 'leave the second spicevmc out');
		this.#checkPortNames();
		const stdio = this.#config.serials.filter(({ kind }) => kind === 'stdio').length;
		if (stdio > 1)
			throw new PlanError(
				['serials'],
				'only one serial port can be on stdio',
				'use file:PATH or unix:PATH for the others',
			);
		if (stdio + chardevs.filter(({ backend }) => backend === 'stdio').length > 1)
			throw new PlanError(['chardevs'], 'stdio is taken already', 'use a file or a socket');
		return chardevs.filter(({ backend }) => backend !== 'spicevmc' && backend !== 'spiceport');
	}

	/** Clients know ports by their names only. */
	#checkPortNames(): void {
		const { spicePorts, chardevs } = this.#config;
		const taken = new Set<string>();
		const take = (name: string, at: PropertyKey[]): void => {
			if (taken.has(name)) throw new PlanError(at, `there are two SPICE ports named '${name}'`, 'rename one');
			taken.add(name);
		};
		for (const [n, name] of spicePorts.entries()) take(name, ['spicePorts', n]);
		for (const [n, chardev] of chardevs.entries())
			if (chardev.backend === 'spiceport' && chardev.name !== undefined) take(chardev.name, ['chardevs', n]);
	}
}

function checkChardev(chardev: Chardev, at: PropertyKey[]): void {
	if ((chardev.backend === 'socket' || chardev.backend === 'file') && chardev.path === undefined)
		throw new PlanError(at, `${chardev.backend} needs a path`, 'write path=FILE');
	if (chardev.backend === 'spiceport' && chardev.name === undefined)
		throw new PlanError(at, 'spiceport needs a name', 'write name=NAME');
	if (chardev.backend === 'socket' && (chardev.server === false || chardev.wait === true))
		throw new PlanError(at, 'tsvm listens on its sockets and waits for nobody', 'write server=on,wait=off');
}

function disk(drive: Drive, at: PropertyKey[]): DiskPlan {
	const { file, readonly = false, snapshot = false, discard = 'ignore', serial, id = '' } = drive;
	const { werror = 'enospc', rerror = 'report' } = drive;
	if (file === undefined) throw new PlanError(at, 'a disk needs a file', 'write file=PATH');
	return { device: id, file, readonly, snapshot, discard, serial, werror, rerror };
}

function known(list: readonly { readonly id?: string }[]): string {
	const ids = list.flatMap(({ id }) => (id === undefined ? [] : [id]));
	return ids.length === 0 ? 'there are none' : `there are ${ids.join(', ')}`;
}

/** What a qxl-vga says of the display; sizes in bytes. */
export function displayWords(device: DeviceOf<'qxl-vga'>): {
	ram?: number;
	vram?: number;
	vgamem?: number;
	maxOutputs?: number;
} {
	const mb = (count: number | undefined) => (count === undefined ? undefined : count * MiB);
	return {
		ram: mb(device.ram_size_mb) ?? device.ram_size,
		vram: mb(device.vram_size_mb) ?? device.vram_size,
		vgamem: mb(device.vgamem_mb),
		maxOutputs: device.max_outputs,
	};
}
