/**
 * Machine code for bare-metal tests, an instruction a function, named as Intel's manual names them. 32-bit flat code
 * unless said otherwise; numbers become little-endian bytes.
 */
import type { CpuBackend } from '../../src/cpu/backend.ts';

export const le16 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff];
export const le32 = (value: number): number[] => [...le16(value), ...le16(value >>> 16)];

/** General registers by their number in an opcode. */
export const EAX = 0;
export const ECX = 1;
export const EDX = 2;
export const EBX = 3;
export const ESI = 6;
export const EDI = 7;

export const hlt = [0xf4];
export const sti = [0xfb];
export const cli = [0xfa];
export const cld = [0xfc];
export const pushad = [0x60];
export const popad = [0x61];
export const iret = [0xcf];
export const rdtsc = [0x0f, 0x31];
export const int3 = [0xcc];
/** mov r32, imm32 */
export const mov = (reg: number, value: number): number[] => [0xb8 + reg, ...le32(value)];
/** mov eax, [address] */
export const load = (address: number): number[] => [0xa1, ...le32(address)];
/** mov al, [address] */
export const load8 = (address: number): number[] => [0xa0, ...le32(address)];
/** mov ax, [address] */
export const load16 = (address: number): number[] => [0x66, 0xa1, ...le32(address)];
/** mov [address], eax */
export const store = (address: number): number[] => [0xa3, ...le32(address)];
/** mov byte/word/dword [address], imm */
export const store8 = (address: number, value: number): number[] => [0xc6, 0x05, ...le32(address), value & 0xff];
export const store16 = (address: number, value: number): number[] => [
	...[0x66, 0xc7, 0x05],
	...le32(address),
	...le16(value),
];
export const store32 = (address: number, value: number): number[] => [0xc7, 0x05, ...le32(address), ...le32(value)];
/** movdqu xmm0, [address]; movdqu [address], xmm0. CR4.OSFXSR need not be set on this core. */
export const loadXmm = (address: number): number[] => [0xf3, 0x0f, 0x6f, 0x05, ...le32(address)];
export const storeXmm = (address: number): number[] => [0xf3, 0x0f, 0x7f, 0x05, ...le32(address)];
/** movq xmm0, [address]; movq [address], xmm0 */
export const loadQ = (address: number): number[] => [0xf3, 0x0f, 0x7e, 0x05, ...le32(address)];
export const storeQ = (address: number): number[] => [0x66, 0x0f, 0xd6, 0x05, ...le32(address)];
/** inc dword [address] */
export const inc = (address: number): number[] => [0xff, 0x05, ...le32(address)];
/** add dword [address], imm32 */
export const add = (address: number, value: number): number[] => [0x81, 0x05, ...le32(address), ...le32(value)];
export const incReg = (reg: number): number[] => [0x40 + reg];
/** out dx, al/ax/eax and in al/ax/eax, dx, with the port put into DX first. */
export const out8 = (port: number, value: number): number[] => [...mov(EDX, port), ...mov(EAX, value), 0xee];
export const out16 = (port: number, value: number): number[] => [...mov(EDX, port), ...mov(EAX, value), 0x66, 0xef];
export const out32 = (port: number, value: number): number[] => [...mov(EDX, port), ...mov(EAX, value), 0xef];
export const in8 = (port: number): number[] => [...mov(EDX, port), ...mov(EAX, 0), 0xec];
export const in16 = (port: number): number[] => [...mov(EDX, port), ...mov(EAX, 0), 0x66, 0xed];
export const in32 = (port: number): number[] => [...mov(EDX, port), ...mov(EAX, 0), 0xed];
/** rep stosd: EAX to [EDI], ECX times */
export const repStosd = [0xf3, 0xab];
export const repMovsd = [0xf3, 0xa5];
/** mov [edi], eax; add edi, 4; dec ecx; jnz back */
export const fillLoop = [0x89, 0x07, 0x83, 0xc7, 0x04, 0x49, 0x75, 0xf8];
/** add edx, [esi]; add esi, 4; dec ecx; jnz back */
export const sumLoop = [0x03, 0x16, 0x83, 0xc6, 0x04, 0x49, 0x75, 0xf8];
/** dec ecx; jnz back */
export const countDown = [0x49, 0x75, 0xfd];
/** jmp to itself */
export const forever = [0xeb, 0xfe];

/** jmp rel32 from an instruction that starts at `from`. */
export const jmp = (from: number, to: number): number[] => [0xe9, ...le32(to - from - 5)];

export function code(...parts: readonly (readonly number[])[]): Uint8Array {
	return Uint8Array.from(parts.flat());
}

/** Where withInterrupts() keeps its tables. */
const GDT = 0x500;
const GDT_POINTER = 0x540;
const IDT_POINTER = 0x548;
const IDT = 0x600;
/** Interrupt vector of IRQ 0 after withInterrupts(). */
export const VECTOR = 0x20;

/**
 * Code at `at` that sets up flat segments with selectors 08h and 10h, an IDT with `handlers` by vector, a stack below
 * 0x500 and both 8259s with edge-triggered lines from VECTOR on, all unmasked; what follows it runs with interrupts off.
 */
export function withInterrupts(cpu: CpuBackend, at: number, handlers: ReadonlyMap<number, number>): Uint8Array {
	const gdt = new DataView(new ArrayBuffer(24));
	gdt.setBigUint64(8, 0x00cf9b000000ffffn, true);
	gdt.setBigUint64(16, 0x00cf93000000ffffn, true);
	cpu.dma.write(GDT, new Uint8Array(gdt.buffer));
	cpu.dma.write(GDT_POINTER, Uint8Array.from([...le16(23), ...le32(GDT)]));
	const idt = new DataView(new ArrayBuffer(0x30 * 8));
	for (const [vector, handler] of handlers) {
		idt.setUint16(vector * 8, handler & 0xffff, true);
		idt.setUint16(vector * 8 + 2, 0x08, true);
		idt.setUint16(vector * 8 + 4, 0x8e00, true);
		idt.setUint16(vector * 8 + 6, handler >>> 16, true);
	}
	cpu.dma.write(IDT, new Uint8Array(idt.buffer));
	cpu.dma.write(IDT_POINTER, Uint8Array.from([...le16(0x30 * 8 - 1), ...le32(IDT)]));
	return code(
		[0x0f, 0x01, 0x15, ...le32(GDT_POINTER)], // lgdt
		[0xea, ...le32(at + 14), 0x08, 0x00], // jmp 08:next
		mov(EAX, 0x10),
		[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // mov ds, es, ss, ax
		[0xbc, ...le32(GDT)], // mov esp, GDT
		[0x0f, 0x01, 0x1d, ...le32(IDT_POINTER)], // lidt
		...(
			[
				[0x20, 0x11],
				[0x21, VECTOR],
				[0x21, 4],
				[0x21, 1],
				[0xa0, 0x11],
				[0xa1, VECTOR + 8],
				[0xa1, 2],
				[0xa1, 1],
				[0x21, 0],
				[0xa1, 0],
			] as const
		).map(([port, value]) => out8(port, value)),
	);
}

/** A handler for IRQ `line`: counts at `counter`, ends the interrupt. */
export function countingHandler(line: number, counter: number): Uint8Array {
	return code(pushad, inc(counter), line >= 8 ? out8(0xa0, 0x20) : [], out8(0x20, 0x20), popad, iret);
}

/** Runs slices until the CPU halts; throws when it has not after `limit` of them. */
export function untilHalt(cpu: CpuBackend, limit = 2000): void {
	for (let i = 0; i < limit; i++) {
		cpu.runSlice();
		if (cpu.registers().halted) return;
	}
	throw new Error(`the guest did not halt, eip is 0x${cpu.registers().eip.toString(16)}`);
}

/** Starts `bytes` at `at` in flat mode and runs them to their HLT. */
export function run(cpu: CpuBackend, bytes: Uint8Array, at = 0x10000): void {
	cpu.dma.write(at, bytes);
	cpu.startFlat(at, { esp: 0x8000 });
	untilHalt(cpu);
}
