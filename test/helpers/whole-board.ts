/** A board with every kind of device, around a core that the test gives it. Its disks are arrays, its ends silent. */
import { AtaDisk, AtapiCdrom } from '../../devices/ide/index.ts';
import { fwCfgContents } from '../../firmware/index.ts';
import type { CpuBackend } from '../../src/cpu/backend.ts';
import { Board } from '../../src/machine/board.ts';
import { parseConfig } from '../../src/machine/config.ts';
import { planDevices } from '../../src/machine/planner.ts';
import { virtioParts } from '../../src/machine/virtio.ts';
import { Display } from '../../src/spice/display/display.ts';
import { MemoryImage } from './memory-image.ts';

const MIB = 1 << 20;

/** Video memory of the board, bytes: as the core needs it. */
export const VIDEO_MEMORY = 20 * MIB;

export function wholeBoard(cpu: CpuBackend, memory: number): Board {
	const config = parseConfig({
		memory,
		display: { ram: '16M', vram: '4M', vgamem: '8M' },
		balloon: { freePageReporting: true, freePageHint: true },
		rng: true,
		tablet: true,
		drives: [{ file: 'opened by nobody', if: 'virtio' }],
		devices: [{ driver: 'virtio-keyboard-pci' }, { driver: 'pvpanic' }, { driver: 'pvpanic-pci' }],
		clock: 'virtual',
	});
	const written = { write: (bytes: Uint8Array) => bytes.length, attach: () => {}, close: () => {} };
	const board: Board = new Board({
		cpu,
		config,
		bios: new Uint8Array(256 << 10),
		vgaBios: new Uint8Array(32 << 10),
		fwCfg: fwCfgContents({ memory, serialPorts: [1, 2] }),
		sink: new Display(),
		serials: [written, written],
		drives: [new AtaDisk({ image: new MemoryImage(MIB) }), undefined, new AtapiCdrom({}), undefined],
		virtio: virtioParts(config, planDevices(config), {
			disks: [{ image: new MemoryImage(MIB) }],
			serials: [
				[
					{ name: '', backend: written, console: true },
					{ name: 'org.example.port', backend: written },
				],
			],
		}),
		onReset: () => cpu.defer(() => board.reset()),
		onPowerOff: () => {},
		onPanic: () => {},
	});
	return board;
}
