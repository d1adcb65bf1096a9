/*
 * Boot sector of the guest that means harm: loads the sectors behind it to 8000h by the BIOS's extended read (Phoenix EDD 1.1,
 * INT 13h AH=42h), goes to flat 32-bit mode with interrupts off and enters guest.c there. Nothing is linked: the sector
 * is at 7C00h, SECTORS is given to the assembler.
 */
.code16
.globl _start
_start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7000, %sp
	sti
	movb $0x42, %ah
	movb $0x80, %dl
	movw $packet, %si
	int $0x13
	cli
	lgdt gdt_pointer
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmp $8, $flat
.code32
flat:
	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $0x70000, %esp
	movl $0x8000, %eax
	jmp *%eax

.align 4
packet:
	.byte 16, 0
	.word SECTORS
	.word 0, 0x800
	.long 1, 0
gdt:
	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt
.org 510
	.word 0xaa55
