/**
 * The option ROM that boots a kernel from fw_cfg: a bootstrap entry vector (BIOS Boot Specification 1.01, 5; Plug and
 * Play BIOS Specification 1.0A, 3.2) that lets the fw_cfg device copy each piece to its place, then starts the kernel's
 * own 16-bit setup code, just as a boot loader does (Linux Documentation/x86/boot.rst, "Running the kernel").
 */

/** One item to copy into guest memory. */
export interface RomLoad {
	/** fw_cfg selector key. */
	readonly key: number;
	readonly length: number;
	/** Guest-physical address, below 4 GiB. */
	readonly address: number;
}

const ROM_SIZE = 512;
const PNP = 0x20;
const CODE = 0x40;
/** Real-mode paragraph of scratch memory: where boot sectors go, free at this stage. */
const SCRATCH = 0x07c0;
const DMA_SELECT_READ = 0x0a;

/** `setupSegment` is the real-mode segment of the setup code; its stack ends at the segment's end. */
export function linuxRom(loads: readonly RomLoad[], setupSegment: number): Uint8Array {
	const code = new Code(CODE);
	const failed = code.label();
	const next = code.label();
	const poll = code.label();
	const table = code.label();
	const message = code.label();
	const print = code.label();
	const giveUp = code.label();

	code.emit(0xfa); //                           cli
	code.emit(0xfc); //                           cld
	code.emit(0x0e, 0x1f); //                     push cs; pop ds
	code.emit(0xb8, lo(SCRATCH), hi(SCRATCH)); // mov ax, SCRATCH
	code.emit(0x8e, 0xc0); //                     mov es, ax
	code.emit(0xbe).abs16(table); //              mov si, table
	code.emit(0xb9, loads.length, 0); //          mov cx, count
	code.place(next);
	code.emit(0x31, 0xff); //                     xor di, di
	// The device writes its answer into the descriptor, so it must lie in RAM.
	for (let i = 0; i < 4; i++) code.emit(0x66, 0xa5); // movsd
	code.emit(0x66, 0x31, 0xc0); //               xor eax, eax
	code.emit(0xba, 0x14, 0x05); //               mov dx, 514h
	code.emit(0x66, 0xef); //                     out dx, eax       ; high half of the descriptor's address
	code.emit(0x66, 0xb8, 0, 0, hi(SCRATCH << 4), lo(SCRATCH << 4)); // mov eax, bswap(SCRATCH * 16)
	code.emit(0xba, 0x18, 0x05); //               mov dx, 518h
	code.emit(0x66, 0xef); //                     out dx, eax       ; low half: copies
	code.place(poll);
	code.emit(0x26, 0x66, 0xf7, 0x06, 0, 0, 0xff, 0xff, 0xff, 0xfe); // test dword [es:0], feffffffh
	code.emit(0x75).rel8(poll); //                jnz poll          ; until only the error bit is left of the control word
	code.emit(0x26, 0xf6, 0x06, 3, 0, 0x01); //   test byte [es:3], 1
	code.emit(0x75).rel8(failed); //              jnz failed
	code.emit(0xe2).rel8(next); //                loop next

	code.emit(0xb8, lo(setupSegment), hi(setupSegment)); // mov ax, setup
	code.emit(0x8e, 0xd8, 0x8e, 0xc0); //         mov ds, ax; mov es, ax
	code.emit(0x8e, 0xe0, 0x8e, 0xe8); //         mov fs, ax; mov gs, ax
	code.emit(0x8e, 0xd0); //                     mov ss, ax
	code.emit(0x66, 0xbc, 0xf0, 0xff, 0, 0); //   mov esp, fff0h
	const entry = setupSegment + 0x20;
	code.emit(0xea, 0, 0, lo(entry), hi(entry)); // jmp setup + 20h : 0

	code.place(failed);
	code.emit(0xfb); //                           sti
	code.emit(0xbe).abs16(message); //            mov si, message
	code.place(print);
	code.emit(0xac); //                           lodsb
	code.emit(0x84, 0xc0); //                     test al, al
	code.emit(0x74).rel8(giveUp); //             jz giveUp
	code.emit(0xb4, 0x0e); //                     mov ah, 0eh
	code.emit(0xbb, 7, 0); //                     mov bx, 7
	code.emit(0xcd, 0x10); //                     int 10h
	code.emit(0xeb).rel8(print); //               jmp print
	code.place(giveUp);
	code.emit(0xcd, 0x18); //                     int 18h           ; the next boot device, please

	code.place(message);
	code.text('tsvm: the kernel does not fit into memory\r\n');
	const maker = code.here;
	code.text('tsvm');
	const product = code.here;
	code.text('Linux kernel');
	code.place(table);
	for (const { key, length, address } of loads) code.be32((key << 16) | DMA_SELECT_READ, length, 0, address);

	const rom = new Uint8Array(ROM_SIZE);
	rom.set(code.bytes(), CODE);
	rom.set([0x55, 0xaa, ROM_SIZE / 512, 0xcb]); // signature, sectors, init entry: retf
	rom[0x1a] = PNP;
	rom.set([0x24, 0x50, 0x6e, 0x50, 1, 2], PNP); // "$PnP", revision 1, 32 bytes
	rom.set([lo(maker), hi(maker), lo(product), hi(product)], PNP + 0x0e);
	rom.set([0x80], PNP + 0x12); // class: mass storage, other
	rom.set([0x14], PNP + 0x15); // may be shadowed, needed only at boot
	rom.set([CODE, 0], PNP + 0x1a); // bootstrap entry vector
	rom[PNP + 9] = -sum(rom.subarray(PNP, PNP + 32));
	rom[ROM_SIZE - 1] = -sum(rom);
	return rom;
}

const lo = (v: number) => v & 0xff;
const hi = (v: number) => (v >>> 8) & 0xff;
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0);

interface Label {
	at: number;
}

/** Bytes of 16-bit code with labels, at offset `origin` of its segment. */
class Code {
	readonly #origin: number;
	readonly #bytes: number[] = [];
	readonly #fixes: { at: number; label: Label; kind: 'abs16' | 'rel8' }[] = [];
	constructor(origin: number) {
		this.#origin = origin;
	}
	get here(): number {
		return this.#origin + this.#bytes.length;
	}
	label(): Label {
		return { at: -1 };
	}
	place(label: Label): void {
		label.at = this.here;
	}
	emit(...bytes: readonly number[]): this {
		this.#bytes.push(...bytes);
		return this;
	}
	abs16(label: Label): void {
		this.#fixes.push({ at: this.#bytes.length, label, kind: 'abs16' });
		this.emit(0, 0);
	}
	rel8(label: Label): void {
		this.#fixes.push({ at: this.#bytes.length, label, kind: 'rel8' });
		this.emit(0);
	}
	text(value: string): void {
		this.emit(...new TextEncoder().encode(value), 0);
	}
	be32(...values: readonly number[]): void {
		for (const v of values) this.emit(v >>> 24, (v >>> 16) & 0xff, hi(v), lo(v));
	}
	bytes(): Uint8Array {
		const out = Uint8Array.from(this.#bytes);
		for (const { at, label, kind } of this.#fixes) {
			if (kind === 'abs16') {
				out[at] = lo(label.at);
				out[at + 1] = hi(label.at);
			} else {
				const distance = label.at - (this.#origin + at + 1);
				if (label.at < 0 || distance < -128 || distance > 127) throw new RangeError(`jump at ${at} is too far`);
				out[at] = distance;
			}
		}
		if (out.length > ROM_SIZE - 1 - this.#origin) throw new RangeError('option ROM is too long');
		return out;
	}
}
