/** A qxl-vga on a board without a CPU, plugged in and mapped where QEMU's oracle test maps its own. */
import { QxlVga } from '../../devices/display/qxl/index.ts';
import { PCI_UNMAPPED, type PciBusPort, type PciFunction } from '../../src/core/index.ts';
import { FakeBoard, FakeVideoMemory } from './board.ts';
import { DrawingSink } from './display-sink.ts';

export const RAM_BASE = 0xc0000000;
export const VRAM_BASE = 0xd0000000;
export const ROM_BASE = 0xe0000000;
export const IO_BASE = 0xc000;

export interface DisplayBoard extends FakeBoard {
	readonly device: QxlVga;
	readonly ram: FakeVideoMemory;
	readonly vram: FakeVideoMemory;
	readonly sink: DrawingSink;
	/** Level of INTA#. */
	readonly interrupt: { level: boolean };
	/** Moves time on far enough for a picture. */
	refresh(): void;
}

/** Sizes in MiB: by default small ones, so that a test's board costs little. */
export function displayBoard(
	sizes = { ramMb: 64, vramMb: 32, vgamemMb: 16, revision: 5 },
	vgaBios?: Uint8Array,
	maxOutputs?: number,
): DisplayBoard {
	const board = new FakeBoard();
	const ram = new FakeVideoMemory(sizes.ramMb << 20);
	const vram = new FakeVideoMemory(sizes.vramMb << 20);
	const sink = new DrawingSink();
	const { host, ports, mmio } = board;
	const device = new QxlVga({ host, ports, mmio, ram, vram, sink, sizes, maxOutputs, vgaBios });
	const interrupt = { level: false };
	device.pci.attach(new OneSlotBus(board, interrupt), 0x10);
	for (const [bar, base] of [RAM_BASE, VRAM_BASE, ROM_BASE, IO_BASE].entries())
		device.pci.write(0x10 + bar * 4, 4, base);
	device.pci.write(4, 2, 7);
	const refresh = () => host.advance(200e6);
	return Object.assign(board, { device, ram, vram, sink, interrupt, refresh });
}

class OneSlotBus implements PciBusPort {
	readonly #board: FakeBoard;
	readonly #interrupt: { level: boolean };
	readonly #mapped = new Map<number, { readonly base: number; readonly unmap: () => void }>();
	constructor(board: FakeBoard, interrupt: { level: boolean }) {
		this.#board = board;
		this.#interrupt = interrupt;
	}
	/** QXL has no messages. */
	message(): void {}
	intx(_fn: PciFunction, level: boolean): void {
		this.#interrupt.level = level;
	}
	remap(fn: PciFunction): void {
		for (const [index, spec] of Object.entries(fn.identity.bars ?? {})) {
			const bar = Number(index);
			const base = fn.barAddress(bar);
			if (this.#mapped.get(bar)?.base === base) continue;
			this.#mapped.get(bar)?.unmap();
			this.#mapped.delete(bar);
			if (base === PCI_UNMAPPED) continue;
			const { mmio, ports } = this.#board;
			const mapping =
				spec.kind === 'video'
					? mmio.mapVideo(base, spec.memory, spec.offset ?? 0, spec.size)
					: spec.kind === 'mmio'
						? mmio.map(base, spec.size, spec.handler)
						: ports.map(base, spec.size, spec.handler);
			this.#mapped.set(bar, { base, unmap: () => mapping.unmap() });
		}
	}
}

/** Ports and memory of a board as one, for drivers written against either this or QEMU. */
export function access(board: FakeBoard) {
	const { ports, mmio } = board;
	return {
		out8: (p: number, v: number) => ports.out8(p, v),
		out16: (p: number, v: number) => ports.out16(p, v),
		in8: (p: number) => ports.in8(p),
		in16: (p: number) => ports.in16(p),
		write8: (a: number, v: number) => mmio.write8(a, v),
		read8: (a: number) => mmio.read8(a),
	};
}
