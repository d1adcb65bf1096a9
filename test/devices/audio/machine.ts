/** An AC97 controller on a fake board, and the driver's part of talking to it. */
import { Ac97 } from '../../../devices/audio/index.ts';
import { PciBus } from '../../../devices/pci/bus.ts';
import type { AudioFormat, AudioSink, AudioSource, AudioVolume, Clock } from '../../../src/core/index.ts';
import { FakeBoard, FakeIrq } from '../../helpers/board.ts';

export const MIXER = 0xc000;
export const MASTER = 0xc400;
export const SLOT = 6;
export const MS = 1e6;
/** Bus masters' places in the bus mastering space. */
export const PI = 0x00;
export const PO = 0x10;
export const MC = 0x20;

export class MemorySink implements AudioSink {
	readonly latency = 0;
	readonly samples: number[] = [];
	readonly log: string[] = [];
	format: AudioFormat | undefined;
	heard: AudioVolume | undefined;
	start(format: AudioFormat): void {
		this.format = format;
		this.log.push(`start ${format.rate}`);
	}
	write(samples: Int16Array): void {
		this.samples.push(...samples);
	}
	stop(): void {
		this.log.push('stop');
	}
	volume(volume: AudioVolume): void {
		this.heard = volume;
	}
}

/** Counts up: frame n is (n, -n). */
export class CountingSource implements AudioSource {
	readonly log: string[] = [];
	frames = 0;
	heard: AudioVolume | undefined;
	start(format: AudioFormat): void {
		this.log.push(`start ${format.rate}`);
	}
	read(into: Int16Array): number {
		for (let i = 0; i < into.length; i += 2) {
			into[i] = this.frames;
			into[i + 1] = -this.frames++;
		}
		return into.length / 2;
	}
	stop(): void {
		this.log.push('stop');
	}
	volume(volume: AudioVolume): void {
		this.heard = volume;
	}
}

export class AudioBoard extends FakeBoard {
	readonly out = new MemorySink();
	readonly in = new CountingSource();
	readonly mic = new CountingSource();
	readonly intx = new FakeIrq();
	readonly device: Ac97;
	readonly bus: PciBus;

	/** `out` in place of the sink that keeps everything. */
	constructor(out?: (clock: Clock) => AudioSink) {
		super({ memory: 1 << 20 });
		const { host } = this;
		this.device = new Ac97({ host, out: out?.(host.clock) ?? this.out, in: this.in, mic: this.mic });
		this.bus = new PciBus(
			this.ports,
			this.mmio,
			Array.from({ length: 4 }, () => this.intx),
		);
		this.bus.plug(SLOT, this.device.pci);
		this.enable();
	}

	/** What firmware does: BARs, I/O space and bus mastering on. */
	enable(): void {
		this.device.pci.write(0x10, 4, MIXER);
		this.device.pci.write(0x14, 4, MASTER);
		this.device.pci.write(0x04, 2, 0x0005);
	}

	/** Descriptors at `list`: [address, samples, interrupt on completion]. */
	describe(list: number, buffers: readonly (readonly [address: number, samples: number, ioc?: boolean])[]): void {
		for (const [i, [address, samples, ioc]] of buffers.entries()) {
			this.host.dma.write32(list + i * 8, address);
			this.host.dma.write32(list + i * 8 + 4, (samples | (ioc ? 0x80000000 : 0)) >>> 0);
		}
	}

	/** Starts a bus master with all interrupts on. */
	play(box: number, list: number, lvi: number, control = 0x1d): void {
		this.ports.out32(MASTER + box, list);
		this.ports.out8(MASTER + box + 5, lvi);
		this.ports.out8(MASTER + box + 0xb, control);
	}

	civ(box: number): number {
		return this.ports.in8(MASTER + box + 4);
	}
	sr(box: number): number {
		return this.ports.in16(MASTER + box + 6);
	}
	picb(box: number): number {
		return this.ports.in16(MASTER + box + 8);
	}
	get globSta(): number {
		return this.ports.in32(MASTER + 0x30);
	}
}
