/**
 * The codec behind the AC link: volumes, record select and sample rates, as a SigmaTel STAC9700 names itself with
 * variable rate audio. Intel, "Audio Codec '97", revision 2.1, chapter 5 (mixer registers) and appendix A (extended
 * audio). Which registers are there, and their values after reset, are QEMU's: optional ones read as 0.
 */
import { type AudioVolume, RegisterFile, registers, type StateValue, tracePoints } from '../../src/core/index.ts';

export const mixer = registers({
	codecReset: { at: 0x00, size: 2, w: 0, doc: 'any write resets all registers of the codec' },
	masterVolume: { at: 0x02, size: 2, reset: 0x8000, w: 0xbf3f, doc: 'mute; attenuation left and right, 1.5 dB a step' },
	pcmOutVolume: {
		at: 0x18,
		size: 2,
		reset: 0x8808,
		w: 0x9f1f,
		doc: 'mute; gain left and right, +12 dB less 1.5 dB a step',
	},
	recordSelect: { at: 0x1a, size: 2, w: 0x0707, doc: 'source left and right: 0 mic, 4 line in' },
	recordGain: { at: 0x1c, size: 2, reset: 0x8808, w: 0x8f0f, doc: 'mute; gain left and right, 1.5 dB a step' },
	powerdown: {
		at: 0x26,
		size: 2,
		reset: 0x000f,
		w: 0x7ff0,
		doc: 'PR bits; ready: 0 ADC, 1 DAC, 2 analog, 3 reference',
	},
	extendedAudioId: { at: 0x28, size: 2, reset: 0x0809, doc: 'variable rate audio and microphone' },
	extendedAudioCtrl: { at: 0x2a, size: 2, reset: 0x0009, w: 0x0009, doc: 'enables: 0 VRA, 3 VRM' },
	pcmFrontDacRate: { at: 0x2c, size: 2, reset: 48000, w: 0xffff, doc: 'PCM out, Hz' },
	pcmSurroundDacRate: { at: 0x2e, size: 2, reset: 48000, doc: 'not there' },
	pcmLfeDacRate: { at: 0x30, size: 2, reset: 48000, doc: 'not there' },
	pcmLrAdcRate: { at: 0x32, size: 2, reset: 48000, w: 0xffff, doc: 'PCM in, Hz' },
	micAdcRate: { at: 0x34, size: 2, reset: 48000, w: 0xffff, doc: 'mic in, Hz' },
	vendorId1: { at: 0x7c, size: 2, reset: 0x8384, doc: 'SigmaTel' },
	vendorId2: { at: 0x7e, size: 2, reset: 0x7600, doc: 'STAC9700' },
});

const MUTE = 0x8000;
const VRA = 0x0001;
const VRM = 0x0008;
const FIXED_RATE = 48000;
const MIN_RATE = 8000;
/** Powerdown register: PR0 ADC, PR1 DAC, PR2 mixer, PR3 mixer and reference. */
const PR0 = 0x0100;
const PR1 = 0x0200;
const PR2 = 0x0400;
const PR3 = 0x0800;
/** Attenuation and gain steps of the volume registers. */
const OUT_STEPS = 0x1f;
const GAIN_STEPS = 0x0f;
const STEP_DB = 1.5;
/** PCM out volume at 0 (analog mixer input gain registers). */
const PCM_MOST_DB = 12;
const SILENCE: AudioVolume = { left: 0, right: 0, mute: true };

const trace = tracePoints('ac97-codec', { write: ['register', 'value'], reset: [] });

/** What the rest of the device must know of a change. */
export interface CodecEvents {
	volumes(): void;
	rates(): void;
}

export class Ac97Codec {
	readonly #events: CodecEvents;
	readonly regs: RegisterFile<typeof mixer>;

	constructor(events: CodecEvents) {
		this.#events = events;
		const volumes = () => this.#events.volumes();
		const rates = () => this.#settleRates();
		this.regs = new RegisterFile(mixer, {
			write: {
				codecReset: () => this.reset(),
				masterVolume: () => {
					this.regs.masterVolume = saturate(this.regs.masterVolume);
					this.#events.volumes();
				},
				pcmOutVolume: volumes,
				recordSelect: volumes,
				recordGain: volumes,
				powerdown: () => {
					this.regs.powerdown = (this.regs.powerdown & ~0xf) | this.#ready();
					this.#events.volumes();
				},
				extendedAudioCtrl: rates,
				pcmFrontDacRate: rates,
				pcmLrAdcRate: rates,
				micAdcRate: rates,
			},
		});
	}

	reset(): void {
		trace.reset();
		this.regs.reset();
		this.#events.volumes();
		this.#events.rates();
	}

	save(): { [name: string]: StateValue } {
		return this.regs.save();
	}

	restore(saved: { readonly [name: string]: StateValue | undefined }): void {
		this.regs.restore(saved);
		this.#events.volumes();
	}

	write(offset: number, value: number): void {
		trace.write(offset, value);
		this.regs.write(offset, 2, value);
	}

	/** What PCM out is heard with. Samples are as loud as can be: what would make them louder is left out. */
	get outVolume(): AudioVolume {
		const { masterVolume, pcmOutVolume, powerdown } = this.regs;
		if ((masterVolume | pcmOutVolume) & MUTE || powerdown & (PR1 | PR2 | PR3)) return SILENCE;
		const amplitude = (shift: number) => {
			const pcm = PCM_MOST_DB - STEP_DB * ((pcmOutVolume >> shift) & OUT_STEPS);
			return decibels(Math.min(0, pcm) - STEP_DB * ((masterVolume >> shift) & OUT_STEPS));
		};
		return { left: amplitude(8), right: amplitude(0), mute: false };
	}

	/**
	 * What PCM in is recorded with. Sources that nothing is plugged into are silent; the others are so weak that they need
	 * all the gain there is, so that none is too much.
	 */
	get inVolume(): AudioVolume {
		const { recordSelect, recordGain, powerdown } = this.regs;
		if (recordGain & MUTE || powerdown & (PR0 | PR2 | PR3)) return SILENCE;
		const amplitude = (shift: number) =>
			isConnected((recordSelect >> shift) & 7)
				? decibels(-STEP_DB * (GAIN_STEPS - ((recordGain >> shift) & GAIN_STEPS)))
				: 0;
		return { left: amplitude(8), right: amplitude(0), mute: false };
	}

	/** The microphone's own ADC has no volume register of this codec's. */
	get micVolume(): AudioVolume {
		return this.regs.powerdown & (PR0 | PR2 | PR3) ? SILENCE : { left: 1, right: 1, mute: false };
	}

	/** "If the value written is not supported, the closest value supported is returned" (appendix A.2.3). */
	#settleRates(): void {
		const { regs } = this;
		const settle = (rate: number, variable: boolean) =>
			variable ? Math.min(FIXED_RATE, Math.max(MIN_RATE, rate)) : FIXED_RATE;
		const vra = (regs.extendedAudioCtrl & VRA) !== 0;
		regs.pcmFrontDacRate = settle(regs.pcmFrontDacRate, vra);
		regs.pcmLrAdcRate = settle(regs.pcmLrAdcRate, vra);
		regs.micAdcRate = settle(regs.micAdcRate, (regs.extendedAudioCtrl & VRM) !== 0);
		this.#events.rates();
	}

	/** Section 5.7: a section that is powered down is not ready. */
	#ready(): number {
		const { powerdown } = this.regs;
		const adc = powerdown & PR0 ? 0 : 1;
		const dac = powerdown & PR1 ? 0 : 2;
		const analog = powerdown & (PR2 | PR3) ? 0 : 4;
		const reference = powerdown & PR3 ? 0 : 8;
		return adc | dac | analog | reference;
	}
}

function isConnected(source: number): boolean {
	return source === 0 || source === 4;
}

function decibels(db: number): number {
	return 10 ** (db / 20);
}

/** Bits D5 and D13 ask for more attenuation than five bits have: they read back as the most there is (section 5.2). */
function saturate(volume: number): number {
	let value = volume;
	if (value & 0x2000) value |= 0x1f00;
	if (value & 0x0020) value |= 0x001f;
	return value;
}
