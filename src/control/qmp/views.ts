/** The machine's state in the shapes of qapi: block-core.json, pci.json, ui.json. */
import type { AudioInfo, CaptureInfo, VoiceInfo } from '../../audio/index.ts';
import type { AudioBackEndStats } from '../../core/index.ts';
import { type BlockInfo, nodeName, type PciInfo, type PciRegion, type SpiceInfo } from '../../machine/control.ts';
import { pciClassName } from '../../machine/pci-classes.ts';

/** qapi/block-core.json, BlockInfo. */
export function blockView(block: BlockInfo): Record<string, unknown> {
	const { inserted } = block;
	return {
		device: block.device,
		...(block.qdev === undefined ? {} : { qdev: block.qdev }),
		type: 'unknown',
		removable: block.removable,
		locked: block.locked,
		'io-status': block.ioStatus ?? 'ok',
		...(block.removable ? { tray_open: block.trayOpen ?? false } : {}),
		...(inserted === undefined ? {} : { inserted: insertedView(block.device, inserted) }),
	};
}

function insertedView(device: string, medium: NonNullable<BlockInfo['inserted']>): Record<string, unknown> {
	const image = {
		filename: medium.file,
		format: medium.driver,
		'virtual-size': medium.size,
		'dirty-flag': false,
	};
	return {
		file: medium.file,
		'node-name': nodeName(device),
		ro: medium.readOnly,
		drv: medium.driver,
		backing_file_depth: 0,
		encrypted: false,
		detect_zeroes: 'off',
		bps: 0,
		bps_rd: 0,
		bps_wr: 0,
		iops: 0,
		iops_rd: 0,
		iops_wr: 0,
		write_threshold: 0,
		cache: { writeback: true, direct: false, 'no-flush': medium.snapshot },
		image,
	};
}

/** qapi/ui.json, SpiceInfo. */
export function spiceView(info: SpiceInfo | undefined): Record<string, unknown> {
	if (!info) return { enabled: false, migrated: false, 'mouse-mode': 'unknown' };
	return {
		enabled: true,
		migrated: false,
		host: info.host,
		...(info.port === undefined ? {} : { port: info.port }),
		...(info.tlsPort === undefined ? {} : { 'tls-port': info.tlsPort }),
		auth: info.auth,
		'compiled-version': COMPILED_VERSION,
		// Without a client it is the mode that the next one starts in.
		'mouse-mode': info.mouseMode === 'unknown' ? 'server' : info.mouseMode,
		channels: info.channels.map((channel) => ({
			host: channel.host,
			port: channel.port,
			family: channel.family,
			'connection-id': channel.connectionId,
			'channel-type': channel.channelType,
			'channel-id': channel.channelId,
			tls: channel.tls,
		})),
	};
}

/** Not QEMU's: how each device's sound is going. Frames count at the host's rate for voices, at their own for captures. */
export function audioView(info: AudioInfo | undefined): Record<string, unknown> {
	if (!info) return { enabled: false, running: false, 'back-ends': [], sources: [], voices: [], captures: [] };
	const backEnd = (each: AudioBackEndStats) => ({
		name: each.name,
		active: each.active,
		frames: each.frames,
		underruns: each.underruns,
		overruns: each.overruns,
		'buffered-ms': Math.round(each.buffered),
	});
	const stream = (each: VoiceInfo | CaptureInfo) => ({
		name: each.name,
		active: each.active,
		rate: each.rate,
		frames: each.frames,
		underruns: each.underruns,
		overruns: each.overruns,
		'buffered-ms': Math.round(each.buffered),
		volume: each.volume,
	});
	return {
		enabled: true,
		running: info.running,
		'back-ends': info.backEnds.map(backEnd),
		sources: info.sources.map(backEnd),
		voices: info.voices.map(stream),
		captures: info.captures.map(stream),
	};
}

/** The release of spice-server whose protocol the server speaks. */
export const COMPILED_VERSION = '0.15.1';

/** qapi/pci.json, PciDeviceInfo. */
export function pciView(fn: PciInfo): Record<string, unknown> {
	const desc = pciClassName(fn.class);
	return {
		bus: fn.bus,
		slot: fn.slot,
		function: fn.function,
		class_info: { class: fn.class, ...(desc === undefined ? {} : { desc }) },
		id: {
			vendor: fn.vendor,
			device: fn.device,
			'subsystem-vendor': fn.subsystemVendor,
			subsystem: fn.subsystem,
		},
		...(fn.irqPin === 0 ? {} : { irq: fn.irqLine }),
		irq_pin: fn.irqPin,
		qdev_id: fn.id,
		regions: fn.regions.map(regionView),
	};
}

function regionView(region: PciRegion): Record<string, unknown> {
	const { bar, type, address, size } = region;
	if (type === 'io') return { bar, type, address, size };
	return { bar, type, address, size, prefetch: region.prefetch ?? false, mem_type_64: region.mem64 ?? false };
}
