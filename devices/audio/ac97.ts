/**
 * AC'97 audio controller of the Intel 82801AA (ICH): a codec's registers in one I/O space (native audio mixer), three
 * bus masters and the global registers in the other (native audio bus mastering).
 * Intel 82801AA (ICH) datasheet, "AC '97 Audio Controller Registers (D31:F5)". Linux: snd_intel8x0.
 */
import {
	type AudioSink,
	type AudioSource,
	checkVersion,
	type Device,
	type DeviceState,
	type Host,
	type IoHandler,
	PciFunction,
	RegisterFile,
	registers,
	tracePoints,
} from '../../src/core/index.ts';
import { BusMaster } from './ac97-busmaster.ts';
import { Ac97Codec } from './ac97-codec.ts';
import { CaptureEnd, PlaybackEnd } from './ac97-ends.ts';

/** Offsets are from 2Ch of the bus mastering space. */
export const global = registers({
	globCnt: { at: 0x0, size: 4, w: 0x3b, doc: '5:4 other interrupts, 3 link off, 2 warm reset, 1 no cold reset, 0 GPI' },
	globSta: {
		at: 0x4,
		size: 4,
		reset: 0x100,
		w: 0x30000,
		w1c: 0x8c01,
		doc: '8 codec ready, 7 mic, 6 out, 5 in interrupt',
	},
	cas: { at: 0x8, size: 1, doc: 'codec access semaphore: reading takes it, a codec access returns it' },
});
const GLOBAL = 0x2c;
const COLD_RESET_OFF = 0x02;
const GlobSta = { pint: 0x20, point: 0x40, mint: 0x80 } as const;
const INTERRUPTS = GlobSta.pint | GlobSta.point | GlobSta.mint;

const MIXER_BAR = 0;
const MASTER_BAR = 1;
const MIXER_SIZE = 1024;
/** 80h for each of two codecs, of which the second is not there: its registers read as 0. */
const CODEC_SPACE = 0x100;
const MASTER_SIZE = 256;
/** Each bus master has this much of the space. */
const BOX_SIZE = 16;

const trace = tracePoints('ac97', { irq: ['level', 'glob_sta'], cold_reset: [] });

export interface Ac97Options {
	readonly host: Host;
	/** PCM out. */
	readonly out: AudioSink;
	/** PCM in and mic in. */
	readonly in: AudioSource;
	readonly mic: AudioSource;
}

export class Ac97 implements Device {
	readonly pci: PciFunction;
	readonly codec: Ac97Codec;
	readonly regs: RegisterFile<typeof global>;
	readonly #out: PlaybackEnd;
	readonly #in: CaptureEnd;
	readonly #mic: CaptureEnd;
	/** PCM in, PCM out, mic in. */
	readonly #boxes: readonly [BusMaster, BusMaster, BusMaster];

	constructor({ host, out, in: source, mic }: Ac97Options) {
		this.pci = new PciFunction({
			name: 'AC97',
			vendor: 0x8086,
			device: 0x2415,
			revision: 1,
			classCode: 0x040100,
			pin: 1,
			bars: {
				[MIXER_BAR]: { kind: 'io', size: MIXER_SIZE, handler: this.#mixerSpace() },
				[MASTER_BAR]: { kind: 'io', size: MASTER_SIZE, handler: this.#masterSpace() },
			},
			// Fast back-to-back capable, medium DEVSEL timing.
			config: { 6: 0x80, 7: 0x02 },
		});
		this.regs = new RegisterFile(global, {
			write: { globCnt: (now, was) => this.#control(now, was) },
		});
		this.#out = new PlaybackEnd(host.dma, out);
		this.#in = new CaptureEnd(host.dma, source);
		this.#mic = new CaptureEnd(host.dma, mic);
		this.codec = new Ac97Codec({ volumes: () => this.#setVolumes(), rates: () => this.#setRates() });
		const { regs } = this.codec;
		const box = (name: string, end: PlaybackEnd | CaptureEnd, rate: () => number) =>
			new BusMaster({ name, host, end, rate, mayMaster: () => this.pci.busMaster, changed: () => this.#updateIrq() });
		this.#boxes = [
			box('pcm in', this.#in, () => regs.pcmLrAdcRate),
			box('pcm out', this.#out, () => regs.pcmFrontDacRate),
			box('mic in', this.#mic, () => regs.micAdcRate),
		];
		this.#setVolumes();
	}

	/** The machine's reset; configuration space is the bus's to reset. */
	reset(): void {
		for (const box of this.#boxes) box.reset();
		this.regs.reset();
		this.codec.reset();
		this.#updateIrq();
	}

	save() {
		return {
			version: 1,
			pci: this.pci.save(),
			global: this.regs.save(),
			codec: this.codec.save(),
			boxes: this.#boxes.map((box) => box.save()),
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('AC97', state, 1);
		const saved = state as ReturnType<Ac97['save']>;
		this.pci.restore(saved.pci);
		this.regs.restore(saved.global);
		this.codec.restore(saved.codec);
		for (const [i, box] of this.#boxes.entries()) box.restore(saved.boxes[i]);
		this.#updateIrq();
	}

	/** The codecs' registers are words; any access to them returns the semaphore. Beyond them nothing answers. */
	#mixerSpace(): IoHandler {
		const reach = () => {
			this.regs.cas = 0;
		};
		return {
			read16: (at) => {
				reach();
				return at < CODEC_SPACE && (at & 1) === 0 ? this.codec.regs.read(at, 2) : 0xffff;
			},
			write16: (at, value) => {
				reach();
				if ((at & 1) === 0) this.codec.write(at, value);
			},
			read8: () => {
				reach();
				return 0xff;
			},
			write8: reach,
			read32: () => {
				reach();
				return 0xffffffff;
			},
			write32: reach,
		};
	}

	#masterSpace(): IoHandler {
		return {
			read8: (at) => this.#readMaster(at, 1),
			read16: (at) => this.#readMaster(at, 2),
			read32: (at) => this.#readMaster(at, 4),
			write8: (at, value) => this.#writeMaster(at, 1, value),
			write16: (at, value) => this.#writeMaster(at, 2, value),
			write32: (at, value) => this.#writeMaster(at, 4, value),
		};
	}

	#readMaster(at: number, size: 1 | 2 | 4): number {
		if (at < GLOBAL) return this.#boxes[at >> 4].regs.read(at % BOX_SIZE, size);
		const value = this.regs.read(at - GLOBAL, size);
		if (at === GLOBAL + global.cas.at) this.regs.cas = 1;
		return value;
	}

	#writeMaster(at: number, size: 1 | 2 | 4, value: number): void {
		if (at < GLOBAL) this.#boxes[at >> 4].regs.write(at % BOX_SIZE, size, value);
		else this.regs.write(at - GLOBAL, size, value);
	}

	/** Bit 1 going low resets the codec and the bus masters ("cold reset"); a warm reset wakes a link that never sleeps. */
	#control(now: number, was: number): void {
		if (!(was & ~now & COLD_RESET_OFF)) return;
		trace.cold_reset();
		for (const box of this.#boxes) box.clear();
		this.codec.reset();
		this.#updateIrq();
	}

	#setVolumes(): void {
		this.#out.volume(this.codec.outVolume);
		this.#in.volume(this.codec.inVolume);
		this.#mic.volume(this.codec.micVolume);
	}

	#setRates(): void {
		for (const box of this.#boxes) box.rateChanged();
	}

	#updateIrq(): void {
		const [pi, po, mc] = this.#boxes;
		const pending =
			(pi.interrupt ? GlobSta.pint : 0) | (po.interrupt ? GlobSta.point : 0) | (mc.interrupt ? GlobSta.mint : 0);
		const globSta = (this.regs.globSta & ~INTERRUPTS) | pending;
		const level = pending !== 0;
		if (globSta !== this.regs.globSta) trace.irq(level, globSta);
		this.regs.globSta = globSta;
		this.pci.irq.set(level);
	}
}
