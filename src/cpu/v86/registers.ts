/** The CPU's registers as the core keeps them, read and written between slices. */
import type { CpuRegisters } from '../backend.ts';
import {
	CPL,
	CR,
	FLAGS,
	FLAGS_CHANGED,
	IN_HLT,
	INSTRUCTION_POINTER,
	IS_32,
	LAST_VIRT_EIP,
	PREVIOUS_IP,
	PROTECTED_MODE,
	REG32,
	SEGMENT_ACCESS,
	SEGMENT_IS_NULL,
	SEGMENT_LIMITS,
	SEGMENT_OFFSETS,
	SREG,
	STACK_SIZE_32,
} from './layout.ts';
import type { LinearMemory } from './memory.ts';
import type { CoreExports } from './wasm.ts';

const GENERAL = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
const CS = 1;
/** Descriptor access bytes (Intel SDM volume 3, 3.4.5): present, ring 0, code or data, accessed. */
const ACCESS_CODE = 0x9b;
const ACCESS_DATA = 0x93;
const CR0_PE = 1;
const EFLAGS_RESERVED = 2;

export function readRegisters(memory: LinearMemory, exports: CoreExports): CpuRegisters {
	const { u8, u32 } = memory;
	const sreg = new Uint16Array(u8.buffer, SREG, SEGMENTS.length);
	const general = Object.fromEntries(GENERAL.map((name, i) => [name, u32[REG32 / 4 + i]]));
	const segments = Object.fromEntries(SEGMENTS.map((name, i) => [name, sreg[i]]));
	return {
		eip: (u32[INSTRUCTION_POINTER / 4] - u32[SEGMENT_OFFSETS / 4 + CS]) >>> 0,
		eflags: exports.get_eflags() >>> 0,
		general: general as CpuRegisters['general'],
		segments: segments as CpuRegisters['segments'],
		cr0: u32[CR / 4],
		cr2: u32[CR / 4 + 2],
		cr3: u32[CR / 4 + 3],
		cr4: u32[CR / 4 + 4],
		halted: u8[IN_HLT] !== 0,
	};
}

/** Flat 32-bit protected mode, ring 0, paging and interrupts off. */
export function writeFlat(
	memory: LinearMemory,
	exports: CoreExports,
	eip: number,
	general: Partial<CpuRegisters['general']>,
): void {
	const { u8, u32 } = memory;
	for (const [i, name] of GENERAL.entries()) u32[REG32 / 4 + i] = general[name] ?? 0;
	for (let i = 0; i < SEGMENTS.length; i++) {
		u32[SEGMENT_OFFSETS / 4 + i] = 0;
		u32[SEGMENT_LIMITS / 4 + i] = 0xffffffff;
		u8[SEGMENT_IS_NULL + i] = 0;
		u8[SEGMENT_ACCESS + i] = i === CS ? ACCESS_CODE : ACCESS_DATA;
	}
	u32[CR / 4] |= CR0_PE;
	u8[PROTECTED_MODE] = 1;
	u8[IS_32] = 1;
	u8[STACK_SIZE_32] = 1;
	u8[CPL] = 0;
	u8[IN_HLT] = 0;
	u32[FLAGS / 4] = EFLAGS_RESERVED;
	u32[FLAGS_CHANGED / 4] = 0;
	u32[INSTRUCTION_POINTER / 4] = eip;
	u32[PREVIOUS_IP / 4] = eip;
	u32[LAST_VIRT_EIP / 4] = 0xffffffff;
	exports.full_clear_tlb();
	exports.update_state_flags();
}
