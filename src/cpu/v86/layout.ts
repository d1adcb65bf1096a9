/**
 * Where the core keeps its state: byte offsets into the linear memory of v86.wasm 0.5.462. The module has no call that
 * returns these fields; they are fixed at its build (v86 src/rust/cpu/global_pointers.rs), which is why the version is
 * pinned and the module's imports and exports are checked at start.
 */

/** Bytes from here to STATE_END are the CPU proper; saving them saves the CPU. */
export const STATE_START = 64;
export const STATE_END = 1280;

/** i32[8] in the order eax ecx edx ebx esp ebp esi edi. */
export const REG32 = 64;
/** Lazy flags: i32 each; `FLAGS_CHANGED` 0 means that FLAGS holds them all. */
export const FLAGS_CHANGED = 100;
export const FLAGS = 120;
/** u8[8], access byte of each segment register's descriptor. */
export const SEGMENT_ACCESS = 512;
/** u8: CPUID and MSR 1Bh show a local APIC, and the I/O APIC answers. */
export const ACPI_ENABLED = 552;
/** i32, linear: base of CS + EIP. */
export const INSTRUCTION_POINTER = 556;
export const PREVIOUS_IP = 560;
/** i32[8], CR0 .. CR7. */
export const CR = 580;
/** u8. */
export const CPL = 612;
/** u8, 1 while halted. */
export const IN_HLT = 616;
/** i32, page of the last translated EIP, -1 for none; behind it an i32 with that translation. */
export const LAST_VIRT_EIP = 620;
/** u32, wraps. */
export const INSTRUCTION_COUNTER = 664;
/** u16[8] in the order es cs ss ds fs gs tr ldtr. */
export const SREG = 668;
/** u8[8], i32[8], u32[8]. */
export const SEGMENT_IS_NULL = 724;
export const SEGMENT_OFFSETS = 736;
export const SEGMENT_LIMITS = 768;
/** u8 each. */
export const PROTECTED_MODE = 800;
export const IS_32 = 804;
export const STACK_SIZE_32 = 808;
/** u32; what is at or above it goes to the MMIO callbacks. Written by the embedder. */
export const MEMORY_SIZE = 812;
/** i32. */
export const MXCSR = 824;
/** u64, valid after store_current_tsc(). */
export const CURRENT_TSC = 960;
/** u16, x87 control word. */
export const FPU_CW = 1036;

/** Bytes behind get_pic_addr_master/slave(), get_apic_addr(), get_ioapic_addr(). */
export const PIC_SIZE = 13;
export const APIC_SIZE = 184;
/** In the local APIC's: u32[8] each, a bit a vector. Interrupt request and trigger mode registers. */
export const APIC_IRR = 64;
export const APIC_TMR = 128;
export const IOAPIC_SIZE = 208;

/** First slot of the function table for translated code; the core uses the JIT_TABLE_SIZE slots from there. */
export const JIT_TABLE_START = 1024;
export const JIT_TABLE_SIZE = 900;

/** The core's translation cache (no export leads there; video.ts proves the addresses before it uses them). */
export const TLB_DATA = 0x415d64;
export const VALID_TLB_ENTRIES = 0x40c124;
export const VALID_TLB_ENTRIES_COUNT = 0x40c120;
export const VALID_TLB_ENTRY_MAX = 10000;

/** Flags in the low 12 bits of a TLB entry; the rest is (mem8 + physical page) xor virtual page. */
export const TLB_VALID = 1;
export const TLB_READONLY = 2;
export const TLB_IN_MAPPED_RANGE = 8;
export const TLB_HAS_CODE = 32;

/** The legacy VGA window, which the core never treats as RAM. */
export const VGA_START = 0xa0000;
export const VGA_END = 0xc0000;

export const PAGE = 4096;
