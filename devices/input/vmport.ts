/**
 * VMware's backdoor: I/O port 5658h, whose arguments and results travel in the CPU's registers. EAX holds a magic
 * number, CX the command, EBX its argument. Guests that find the hypervisor's name in CPUID use it.
 * Known from open-vm-tools, lib/include/backdoor_def.h, and Linux, arch/x86/include/asm/vmware.h.
 */
import type { PortRegisters, PortSpace } from '../../src/core/index.ts';

const PORT = 0x5658;
/** "VMXh". */
export const VMPORT_MAGIC = 0x564d5868;
const GET_VERSION = 10;
const VERSION = 6;
/** Product type "server", as QEMU says. */
const PRODUCT = 2;
const FAILED = 0xffffffff;

/** Runs a command: EBX is its argument; returns EAX, and sets what other registers it has results in. */
export type VmportCommand = (argument: number, registers: PortRegisters) => number;

export class Vmport {
	readonly #commands = new Map<number, VmportCommand>();
	readonly #registers: PortRegisters;

	constructor(ports: PortSpace, registers: PortRegisters) {
		this.#registers = registers;
		this.add(GET_VERSION, () => {
			registers.set('ebx', VMPORT_MAGIC);
			registers.set('ecx', PRODUCT);
			return VERSION;
		});
		ports.map(PORT, 4, { read8: () => 0xff, read16: () => 0xffff, read32: () => this.#call() }, 'vmport');
	}

	add(command: number, run: VmportCommand): void {
		this.#commands.set(command, run);
	}

	#call(): number {
		const registers = this.#registers;
		if (registers.get('eax') !== VMPORT_MAGIC) return FAILED;
		const command = this.#commands.get(registers.get('ecx') & 0xffff);
		return command ? command(registers.get('ebx'), registers) >>> 0 : FAILED;
	}
}
