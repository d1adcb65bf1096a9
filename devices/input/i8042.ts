/**
 * Intel 8042 keyboard and auxiliary device controller, ports 60h and 64h, IRQ 1 and IRQ 12.
 * IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller": status register,
 * command byte, controller commands, translation of scan code set 2 to set 1.
 */
import {
	checkVersion,
	type Device,
	type DeviceState,
	guestError,
	type IoHandler,
	type Irq,
	type PortSpace,
	tracePoints,
} from '../../src/core/index.ts';
import type { Ps2Device } from './ps2.ts';
import { RELEASE_PREFIX, SET2_TO_SET1 } from './scancodes.ts';

/** Port 64h, read. */
const Status = {
	outputFull: 0x01,
	systemFlag: 0x04,
	/** QEMU keeps it set, whatever port was written last. */
	commandWritten: 0x08,
	unlocked: 0x10,
	auxOutputFull: 0x20,
} as const;

/** The command byte, commands 20h and 60h. */
const Mode = {
	keyboardInterrupt: 0x01,
	auxInterrupt: 0x02,
	systemFlag: 0x04,
	disableKeyboard: 0x10,
	disableAux: 0x20,
	translate: 0x40,
} as const;

/** The output port, commands D0h and D1h. */
const OutputPort = {
	/** Low resets the CPU. */
	notReset: 0x01,
	a20: 0x02,
	keyboardInterrupt: 0x10,
	auxInterrupt: 0x20,
	/** Lines without a function read as ones. */
	unused: 0xcc,
} as const;

const Command = {
	readMode: 0x20,
	writeMode: 0x60,
	disableAux: 0xa7,
	enableAux: 0xa8,
	testAux: 0xa9,
	selfTest: 0xaa,
	testKeyboard: 0xab,
	disableKeyboard: 0xad,
	enableKeyboard: 0xae,
	readInputPort: 0xc0,
	readOutputPort: 0xd0,
	writeOutputPort: 0xd1,
	writeKeyboardOutput: 0xd2,
	writeAuxOutput: 0xd3,
	writeAux: 0xd4,
	disableA20: 0xdd,
	enableA20: 0xdf,
	/** F0h..FFh pulse the output port's low lines that are 0 in the low four bits. */
	pulse: 0xf0,
} as const;

const SELF_TEST_PASSED = 0x55;
const INPUT_PORT = 0x80;
/** Release bit of set 1. */
const RELEASED = 0x80;

const trace = tracePoints('i8042', {
	command: ['byte'],
	mode: ['value'],
	data_read: ['byte', 'aux'],
	data_write: ['byte', 'command'],
	reset: [],
});

export interface I8042Options {
	readonly ports: PortSpace;
	readonly keyboard: Ps2Device;
	readonly mouse: Ps2Device;
	/** IRQ 1 and IRQ 12. */
	readonly keyboardIrq: Irq;
	readonly auxIrq: Irq;
	/** The guest pulled the CPU's reset line. */
	readonly onReset: () => void;
	/** The guest switched address line 20. */
	readonly onA20?: (enabled: boolean) => void;
}

export class I8042 implements Device {
	readonly #keyboard: Ps2Device;
	readonly #mouse: Ps2Device;
	readonly #keyboardIrq: Irq;
	readonly #auxIrq: Irq;
	readonly #onReset: () => void;
	readonly #onA20: (enabled: boolean) => void;
	#status = 0;
	#mode = 0;
	#outputPort = 0;
	#output = 0;
	/** An answer of the controller itself that waits for the output buffer, or -1. */
	#answer = -1;
	#answerAux = false;
	/** The command whose data byte comes next through port 60h, or 0. */
	#expects = 0;
	/** The keyboard sent F0h: the next code is a release. */
	#released = false;
	#filling = false;

	constructor(options: I8042Options) {
		this.#keyboard = options.keyboard;
		this.#mouse = options.mouse;
		this.#keyboardIrq = options.keyboardIrq;
		this.#auxIrq = options.auxIrq;
		this.#onReset = options.onReset;
		this.#onA20 = options.onA20 ?? (() => {});
		this.#keyboard.onPending = () => this.#fill();
		this.#mouse.onPending = () => this.#fill();
		const data: IoHandler = { read8: () => this.#readData(), write8: (_, value) => this.#writeData(value) };
		const control: IoHandler = { read8: () => this.#status, write8: (_, value) => this.#command(value) };
		options.ports.map(0x60, 1, data, 'i8042-data');
		options.ports.map(0x64, 1, control, 'i8042-cmd');
		this.reset();
	}

	reset(): void {
		this.#mode = Mode.keyboardInterrupt | Mode.auxInterrupt;
		this.#status = Status.commandWritten | Status.unlocked;
		this.#outputPort = OutputPort.notReset | OutputPort.a20 | OutputPort.unused;
		this.#output = 0;
		this.#answer = -1;
		this.#answerAux = false;
		this.#expects = 0;
		this.#released = false;
		this.#driveIrqs();
	}

	save() {
		return {
			version: 1,
			status: this.#status,
			mode: this.#mode,
			outputPort: this.#outputPort,
			output: this.#output,
			answer: this.#answer,
			answerAux: this.#answerAux,
			expects: this.#expects,
			released: this.#released,
		} satisfies DeviceState;
	}

	restore(state: DeviceState): void {
		checkVersion('i8042', state, 1);
		const saved = state as ReturnType<I8042['save']>;
		this.#status = saved.status;
		this.#mode = saved.mode;
		this.#outputPort = saved.outputPort;
		this.#output = saved.output;
		this.#answer = saved.answer;
		this.#answerAux = saved.answerAux;
		this.#expects = saved.expects;
		this.#released = saved.released;
		this.#driveIrqs();
	}

	#readData(): number {
		const byte = this.#output;
		if (this.#status & Status.outputFull) {
			trace.data_read(byte, (this.#status & Status.auxOutputFull) !== 0);
			this.#status &= ~(Status.outputFull | Status.auxOutputFull);
			this.#outputPort &= ~(OutputPort.keyboardInterrupt | OutputPort.auxInterrupt);
			// Low first: the next byte must make a new edge.
			this.#driveIrqs();
			this.#fill();
		}
		return byte;
	}

	#writeData(value: number): void {
		const command = this.#expects;
		trace.data_write(value, command);
		this.#expects = 0;
		switch (command) {
			case Command.writeMode:
				this.#setMode(value);
				break;
			case Command.writeKeyboardOutput:
				this.#reply(value, false);
				break;
			case Command.writeAuxOutput:
				this.#reply(value, true);
				break;
			case Command.writeOutputPort:
				this.#setOutputPort(value);
				break;
			case Command.writeAux:
				this.#mode &= ~Mode.disableAux;
				this.#mouse.write(value);
				this.#fill();
				break;
			default:
				// Speaking to the keyboard enables its clock line.
				this.#mode &= ~Mode.disableKeyboard;
				this.#keyboard.write(value);
				this.#fill();
		}
	}

	#command(value: number): void {
		trace.command(value);
		this.#expects = 0;
		if (value >= Command.pulse) {
			if (!(value & OutputPort.notReset)) this.#pulseReset();
			return;
		}
		switch (value) {
			case Command.readMode:
				this.#reply(this.#mode, false);
				break;
			case Command.writeMode:
			case Command.writeOutputPort:
			case Command.writeKeyboardOutput:
			case Command.writeAuxOutput:
			case Command.writeAux:
				this.#expects = value;
				break;
			case Command.disableAux:
				this.#setMode(this.#mode | Mode.disableAux);
				break;
			case Command.enableAux:
				this.#setMode(this.#mode & ~Mode.disableAux);
				break;
			case Command.selfTest:
				this.#status |= Status.systemFlag;
				this.#reply(SELF_TEST_PASSED, false);
				break;
			case Command.testAux:
			case Command.testKeyboard:
				this.#reply(0, false);
				break;
			case Command.disableKeyboard:
				this.#setMode(this.#mode | Mode.disableKeyboard);
				break;
			case Command.enableKeyboard:
				this.#setMode(this.#mode & ~Mode.disableKeyboard);
				break;
			case Command.readInputPort:
				this.#reply(INPUT_PORT, false);
				break;
			case Command.readOutputPort:
				this.#reply(this.#outputPort, false);
				break;
			case Command.enableA20:
				this.#setOutputPort(this.#outputPort | OutputPort.a20);
				break;
			case Command.disableA20:
				this.#setOutputPort(this.#outputPort & ~OutputPort.a20);
				break;
			default:
				guestError('i8042', `no command 0x${value.toString(16)}`);
		}
	}

	#setMode(value: number): void {
		trace.mode(value);
		this.#mode = value;
		this.#driveIrqs();
		this.#fill();
	}

	#setOutputPort(value: number): void {
		const a20 = (value & OutputPort.a20) !== 0;
		if (a20 !== ((this.#outputPort & OutputPort.a20) !== 0)) this.#onA20(a20);
		this.#outputPort = value;
		if (!(value & OutputPort.notReset)) this.#pulseReset();
	}

	#pulseReset(): void {
		trace.reset();
		this.#onReset();
	}

	/** Puts a byte of the controller's own in the output buffer, or behind the one that is there. */
	#reply(byte: number, aux: boolean): void {
		this.#answer = byte;
		this.#answerAux = aux;
		this.#fill();
	}

	/** Moves the next byte into the output buffer if that is empty: own answers first, then keyboard, then mouse. */
	#fill(): void {
		// Taking a byte makes room in a device, which then calls back: not before this byte is latched.
		if (this.#filling || this.#status & Status.outputFull) return;
		this.#filling = true;
		this.#fillEmpty();
		this.#filling = false;
	}

	#fillEmpty(): void {
		if (this.#answer >= 0) {
			this.#latch(this.#answer, this.#answerAux);
			this.#answer = -1;
			return;
		}
		while (this.#keyboard.pending && !(this.#mode & Mode.disableKeyboard)) {
			const byte = this.#keyboard.take();
			if (!(this.#mode & Mode.translate)) {
				this.#latch(byte, false);
				return;
			}
			if (byte === RELEASE_PREFIX) {
				this.#released = true;
				continue;
			}
			const code = SET2_TO_SET1[byte] | (this.#released ? RELEASED : 0);
			this.#released = false;
			this.#latch(code, false);
			return;
		}
		if (this.#mouse.pending && !(this.#mode & Mode.disableAux)) this.#latch(this.#mouse.take(), true);
	}

	#latch(byte: number, aux: boolean): void {
		this.#output = byte;
		this.#status |= Status.outputFull | (aux ? Status.auxOutputFull : 0);
		this.#outputPort |= aux ? OutputPort.auxInterrupt : OutputPort.keyboardInterrupt;
		this.#driveIrqs();
	}

	#driveIrqs(): void {
		const full = (this.#status & Status.outputFull) !== 0;
		const aux = (this.#status & Status.auxOutputFull) !== 0;
		const keyboardOn = (this.#mode & (Mode.keyboardInterrupt | Mode.disableKeyboard)) === Mode.keyboardInterrupt;
		this.#keyboardIrq.set(full && !aux && keyboardOn);
		this.#auxIrq.set(full && aux && (this.#mode & Mode.auxInterrupt) !== 0);
	}
}
