/**
 * The PCI configuration access capability: a window from configuration space to BAR 4, for firmware that has no memory to
 * map it into. Virtio 1.2, 4.1.4.9.
 */
import type { IoHandler, PciFunction } from '../../src/core/index.ts';
import { MODERN_BAR, MODERN_SIZE, PciCfg } from './pci-layout.ts';

export type Width = 1 | 2 | 4;
/** One that answers accesses of every width. */
export type WideHandler = Required<IoHandler>;

export function wideHandler(
	read: (at: number, size: Width) => number,
	write: (at: number, size: Width, value: number) => void,
): WideHandler {
	return {
		read8: (at) => read(at, 1) & 0xff,
		read16: (at) => read(at, 2),
		read32: (at) => read(at, 4),
		write8: (at, value) => write(at, 1, value),
		write16: (at, value) => write(at, 2, value),
		write32: (at, value) => write(at, 4, value),
	};
}

export class PciWindow {
	readonly #pci: PciFunction;
	readonly #bar: WideHandler;
	readonly #data: DataView;

	/** `bar` answers at BAR 4. */
	constructor(pci: PciFunction, bar: WideHandler) {
		this.#pci = pci;
		this.#bar = bar;
		this.#data = new DataView(pci.config.buffer, PciCfg.data, 4);
	}

	/** The guest is about to read `length` bytes of configuration space at `offset`. */
	read(offset: number, length: number): void {
		if (!touchesData(offset, length)) return;
		const place = this.#place();
		if (place?.size === 1) this.#data.setUint8(0, this.#bar.read8(place.at));
		else if (place?.size === 2) this.#data.setUint16(0, this.#bar.read16(place.at), true);
		else if (place) this.#data.setUint32(0, this.#bar.read32(place.at), true);
	}

	/** The guest has written there. */
	write(offset: number, length: number): void {
		if (!touchesData(offset, length)) return;
		const place = this.#place();
		if (place?.size === 1) this.#bar.write8(place.at, this.#data.getUint8(0));
		else if (place?.size === 2) this.#bar.write16(place.at, this.#data.getUint16(0, true));
		else if (place) this.#bar.write32(place.at, this.#data.getUint32(0, true));
	}

	/** What the capability names, if it makes sense. */
	#place(): { readonly at: number; readonly size: Width } | undefined {
		const at = this.#pci.read(PciCfg.offset, 4);
		const size = this.#pci.read(PciCfg.length, 4);
		if (this.#pci.config[PciCfg.bar] !== MODERN_BAR || (size !== 1 && size !== 2 && size !== 4)) return undefined;
		return at + size <= MODERN_SIZE && at % size === 0 ? { at, size } : undefined;
	}
}

function touchesData(offset: number, length: number): boolean {
	return offset + length > PciCfg.data && offset < PciCfg.data + 4;
}
