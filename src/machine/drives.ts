/** The machine's disks and its CD-ROM drive: images opened and closed, media changed, and what QMP shows of them. */
import { AtaDisk, AtapiCdrom, type IdeDrive } from '../../devices/ide/index.ts';
import type { BlkOptions } from '../../devices/virtio/index.ts';
import { bootPath } from '../../firmware/index.ts';
import type { IoError } from '../block/index.ts';
import { TsvmError } from '../core/index.ts';
import { type BlockInfo, type MachineControl, nodeName } from './control.ts';
import { Medium, type MediumHost } from './medium.ts';
import type { DiskPlan, Plan } from './plan.ts';

type ReadOnlyMode = Parameters<MachineControl['changeMedium']>[2]['readOnlyMode'];

interface Slot {
	/** Back-end name as QEMU gives it. */
	readonly device: string;
	readonly channel: number;
	readonly unit: number;
	readonly drive: AtaDisk | AtapiCdrom;
	readonly bootindex: number | undefined;
	medium: Medium | undefined;
}
/** A disk on the virtio bus; it keeps its medium. */
interface VirtioDisk {
	readonly device: string;
	/** PCI slot. */
	readonly slot: number;
	readonly bootindex: number | undefined;
	medium: Medium | undefined;
	readonly options: BlkOptions;
}
interface OpenDisk {
	readonly plan: DiskPlan;
	readonly medium: Medium;
}
/** Data of QMP's BLOCK_IO_ERROR. */
export interface DriveError extends IoError {
	readonly device: string;
	readonly 'node-name': string;
}

/** Where the CD-ROM drive is, as `qemu -cdrom` puts it: secondary master. Disks take the other places in order. */
const CDROM_PLACE = 2;

export class Drives {
	readonly #slots: readonly Slot[];
	readonly #virtio: readonly VirtioDisk[];
	/** The tray moved: data of QMP's DEVICE_TRAY_MOVED. */
	onTray: ((data: { readonly device: string; readonly id: string; readonly 'tray-open': boolean }) => void) | undefined;

	/** The host has failed an image. The machine must stop if `action` says so, and call retry() when it goes on. */
	onError: ((error: DriveError) => void) | undefined;
	readonly #host: MediumHost;

	/** Opens every image; rejects with TsvmError, and has then closed what it opened. */
	static async open(plan: Pick<Plan, 'disks' | 'cdrom'>, host: MediumHost = {}): Promise<Drives> {
		if (!host.punchHole && plan.disks.some(({ discard }) => discard === 'unmap'))
			host.warn?.('discard=unmap does nothing without the native addon; tsvm doctor tells why there is none');
		if (!host.byteLocks && (plan.disks.length > 0 || plan.cdrom.file !== undefined))
			host.warn?.('QEMU does not see which images are in use without the native addon; tsvm doctor tells why');
		const disks: OpenDisk[] = [];
		try {
			for (const disk of plan.disks) {
				disks.push({ plan: disk, medium: await Medium.open({ ...disk, what: 'disk' }, host) });
			}
			const { file } = plan.cdrom;
			return new Drives(disks, plan.cdrom, file === undefined ? undefined : await openDisc(file, host), host);
		} catch (error) {
			for (const { medium } of disks) await medium.image.close();
			throw error;
		}
	}

	private constructor(all: readonly OpenDisk[], cdrom: Plan['cdrom'], disc: Medium | undefined, host: MediumHost) {
		this.#host = host;
		this.#virtio = all
			.flatMap(({ plan, medium }) => (plan.virtio ? [{ plan, medium, virtio: plan.virtio }] : []))
			.map(({ plan, medium, virtio: { slot, transport: _, ...blocks } }, n) => ({
				device: plan.device || `virtio${n}`,
				slot,
				bootindex: plan.bootindex,
				medium,
				options: { ...blocks, image: medium.image, readOnly: medium.readOnly, serial: plan.serial },
			}));
		const disks = all.filter(({ plan }) => !plan.virtio);
		const places = disks.length < 4 ? [0, 1, 3] : [0, 1, 2, 3];
		const slots: Slot[] = disks.map(({ plan, medium }, i) => {
			const [channel, unit] = [places[i] >> 1, places[i] & 1];
			const drive = new AtaDisk({ image: medium.image, names: plan.serial ? { serial: plan.serial } : {} });
			const device = plan.device || `ide${channel}-hd${unit}`;
			return { device, channel, unit, drive, bootindex: plan.bootindex, medium };
		});
		if (disks.length < 4) {
			const drive = new AtapiCdrom({ image: disc?.image });
			const [channel, unit] = [CDROM_PLACE >> 1, CDROM_PLACE & 1];
			const device = cdrom.device || 'ide1-cd0';
			const slot: Slot = { device, channel, unit, drive, bootindex: cdrom.bootindex, medium: disc };
			drive.onTray = (open) => this.onTray?.({ device: slot.device, id: qdevPath(slot), 'tray-open': open });
			slots.push(slot);
		}
		this.#slots = slots;
		for (const place of [...this.#slots, ...this.#virtio]) this.#watch(place);
	}

	#watch({ device, medium }: Slot | VirtioDisk): void {
		if (medium) medium.onError = (error) => this.onError?.({ device, 'node-name': nodeName(device), ...error });
	}

	/** What failed and made the machine stop is tried again. */
	retry(): void {
		for (const { medium } of [...this.#slots, ...this.#virtio]) medium?.retry();
	}

	/** Primary master and slave, secondary master and slave. */
	get ideDrives(): readonly (IdeDrive | undefined)[] {
		return [0, 1, 2, 3].map((place) => this.#slots.find((s) => s.channel * 2 + s.unit === place)?.drive);
	}

	/** Disks on the virtio bus, in order of their slots. */
	get virtioDisks(): readonly BlkOptions[] {
		return this.#virtio.map((disk) => disk.options);
	}

	/**
	 * Firmware's boot paths: those with a bootindex, then the others in an order such as `cd`. Among hard disks, those
	 * of the IDE bus come first, as under QEMU: a disk for data on the virtio bus does not keep a machine from booting.
	 */
	bootOrder(letters: string): string[] {
		const disks = this.#virtio.map(({ slot, bootindex }) => ({
			path: bootPath.virtioBlk(slot),
			bootindex,
			letter: 'c',
		}));
		const drives = this.#slots.map(({ channel, unit, drive, bootindex }) => {
			return { path: bootPath.ide(channel, unit), bootindex, letter: drive instanceof AtapiCdrom ? 'd' : 'c' };
		});
		const all = [...drives, ...disks].map(({ path, bootindex = Number.MAX_VALUE, letter }) => {
			return { path, bootindex, rank: letters.indexOf(letter) };
		});
		return all
			.filter(({ bootindex, rank }) => rank >= 0 || bootindex < Number.MAX_VALUE)
			.sort((a, b) => (a.bootindex === b.bootindex ? a.rank - b.rank : a.bootindex - b.bootindex))
			.map(({ path }) => path);
	}

	list(): BlockInfo[] {
		const virtio = this.#virtio.map(({ device, medium }, n) => ({
			device,
			qdev: `/machine/peripheral-anon/device[${n}]/virtio-backend`,
			removable: false,
			locked: false,
			ioStatus: medium?.ioStatus,
			inserted: medium && insertedInfo(medium),
		}));
		const ide = this.#slots.map((slot) => {
			const { device, drive, medium } = slot;
			const cdrom = drive instanceof AtapiCdrom ? drive : undefined;
			return {
				device,
				qdev: qdevPath(slot),
				removable: cdrom !== undefined,
				locked: cdrom?.locked ?? false,
				trayOpen: cdrom?.trayOpen,
				ioStatus: medium?.ioStatus,
				inserted: medium && insertedInfo(medium),
			};
		});
		return [...ide, ...virtio];
	}

	/** Opens the tray and takes the medium out. Rejects with TsvmError: no such device, not removable, locked. */
	async eject(device: string, force: boolean): Promise<void> {
		const { slot, drive } = this.#removable(device);
		if (!drive.eject(force))
			throw new TsvmError('locked', `Device '${device}' is locked`, 'the guest must unmount it first, or use force');
		await this.#closeMedium(slot);
	}

	/** Puts another medium in. Rejects with TsvmError: as eject, or the file cannot be opened. */
	async change(
		device: string,
		file: string,
		{ force, readOnlyMode }: { readonly force: boolean; readonly readOnlyMode: ReadOnlyMode },
	): Promise<void> {
		const { slot, drive } = this.#removable(device);
		if (readOnlyMode === 'read-write')
			throw new TsvmError('read-only', `Device '${device}' is a CD-ROM drive`, 'use read-only or retain');
		const next = await openDisc(file, this.#host);
		if (!drive.eject(force)) {
			await next.image.close();
			throw new TsvmError('locked', `Device '${device}' is locked`, 'the guest must unmount it first, or use force');
		}
		await this.#closeMedium(slot);
		slot.medium = next;
		this.#watch(slot);
		drive.insert(next.image);
	}

	/** Flushes and closes every image; rejects with the first failure once all are closed. */
	async close(): Promise<void> {
		const failures: unknown[] = [];
		for (const slot of [...this.#slots, ...this.#virtio]) {
			try {
				if (slot.medium && !slot.medium.readOnly) await slot.medium.image.flush();
			} catch (error) {
				failures.push(error);
			}
			await this.#closeMedium(slot).catch((error: unknown) => failures.push(error));
		}
		if (failures.length > 0) throw failures[0];
	}

	async #closeMedium(slot: Slot | VirtioDisk): Promise<void> {
		const { medium } = slot;
		slot.medium = undefined;
		await medium?.image.close();
	}

	#removable(device: string): { readonly slot: Slot; readonly drive: AtapiCdrom } {
		const slot = this.#slots.find((s) => s.device === device);
		if (!slot) throw new TsvmError('no-device', `Device '${device}' not found`, 'query-block lists the devices');
		if (!(slot.drive instanceof AtapiCdrom))
			throw new TsvmError('not-removable', `Device '${device}' is not removable`, 'only CD-ROM media can be changed');
		return { slot, drive: slot.drive };
	}
}

/** A drive's place in QEMU's object tree: what `id` of QMP's media commands names. */
function qdevPath({ channel, unit }: Pick<Slot, 'channel' | 'unit'>): string {
	return `/machine/unattached/device[${channel * 2 + unit}]`;
}

function insertedInfo({ file, image, readOnly, snapshot }: Medium): NonNullable<BlockInfo['inserted']> {
	return { file, driver: 'raw', readOnly, snapshot, size: image.size };
}

function openDisc(file: string, host: MediumHost): Promise<Medium> {
	const options = { file, readonly: true, snapshot: false, discard: 'ignore', what: 'CD-ROM image' } as const;
	return Medium.open({ ...options, rerror: 'report', werror: 'report' }, host);
}
