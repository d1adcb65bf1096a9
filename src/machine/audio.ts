/** The machine's sound: one mixer, and the files that hear it. SPICE and other back ends add themselves to the mixer. */
import { AudioMixer, WavFile } from '../audio/index.ts';
import type { Clock } from '../core/index.ts';
import type { MachineConfig } from './config.ts';
import type { MachineHost } from './machine.ts';

export class MachineAudio {
	readonly mixer: AudioMixer;
	/** The mixer, if SPICE clients are to hear it. */
	readonly clientMixer: AudioMixer | undefined;
	readonly #files: readonly WavFile[];

	/** Rejects with TsvmError when a file cannot be written, and has then closed the others. */
	static async open(config: MachineConfig, clock: Clock, host: MachineHost): Promise<MachineAudio | undefined> {
		if (!config.sound) return undefined;
		const files: WavFile[] = [];
		try {
			for (const spec of config.audio)
				if (spec.kind === 'wav') files.push(await WavFile.create(spec.path, (line) => host.warn?.(line)));
		} catch (error) {
			for (const file of files) await file.close();
			throw error;
		}
		return new MachineAudio(clock, files, !config.audio.some((spec) => spec.kind === 'none'));
	}

	private constructor(clock: Clock, files: readonly WavFile[], forClients: boolean) {
		this.mixer = new AudioMixer(clock);
		this.clientMixer = forClients ? this.mixer : undefined;
		this.#files = files;
		for (const file of files) this.mixer.addSink(file);
	}

	/** Files are whole when this is done. Never rejects. */
	async close(): Promise<void> {
		for (const file of this.#files) await file.close();
	}
}
