/*
 * A guest that means harm, without an operating system. At power-on it says READY on COM1 and is calm: each key press
 * changes a character on the text screen. A letter on COM1 sends it off to do one device what that can bear worst, for
 * ever; only a reset ends that.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

enum { COM1 = 0x3f8, FW_CFG_DMA = 0x514, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc, KBD_DATA = 0x60, KBD_STATUS = 0x64 };
enum { BASE = 0x100000, ROOM = 0x200000 };

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static u32 in32(u16 port) { u32 value; __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }

static void read_block(u16 port, u32 at, u32 count)
{
	__asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
}

static void write_block(u16 port, u32 at, u32 count)
{
	__asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
}

static void poke(u32 at, u32 value) { *(volatile u32 *)at = value; }
static u32 peek(u32 at) { return *(volatile u32 *)at; }

/* Xorshift: G. Marsaglia, "Xorshift RNGs", 2003. */
static u32 state = 0x6b43a9b5;
static u32 next(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void say(const char *text)
{
	while (*text) {
		while (!(in8(COM1 + 5) & 0x20)) {}
		out8(COM1, *text++);
	}
}

static u32 pci(u32 slot, u32 function, u32 at)
{
	out32(PCI_ADDRESS, 0x80000000 | slot << 11 | function << 8 | at);
	return in32(PCI_DATA);
}

static void pci_write(u32 slot, u32 function, u32 at, u32 value)
{
	out32(PCI_ADDRESS, 0x80000000 | slot << 11 | function << 8 | at);
	out32(PCI_DATA, value);
}

/* Random bytes in random registers of `count` ports from `port` on; reads as many, and in blocks at times. */
static void scribble(u16 port, u32 count)
{
	u32 what = next(), at = port + next() % count;
	switch (what >> 29) {
	case 0: in8(at); break;
	case 1: out16(at, next()); break;
	case 2: out32(at, next()); break;
	case 3: read_block(at, ROOM, next() & 0xffff); break;
	case 4: write_block(at, ROOM, next() & 0xfff); break;
	default: out8(at, next());
	}
}

/* 400 MiB of one fw_cfg item into memory, again and again (QEMU docs/specs/fw_cfg.rst, "DMA"). */
static void fw_cfg(void)
{
	poke(BASE, __builtin_bswap32(7 << 16 | 8 | 2));
	poke(BASE + 4, __builtin_bswap32(400 << 20));
	poke(BASE + 8, 0);
	poke(BASE + 12, __builtin_bswap32(ROOM));
	out32(FW_CFG_DMA, 0);
	out32(FW_CFG_DMA + 4, __builtin_bswap32(BASE));
}

/* FLUSH CACHE, then a software reset before it is done. */
static void ide_flush(void)
{
	out8(0x1f7, 0xe7);
	out8(0x3f6, 4);
	out8(0x3f6, 0);
}

static void ide(void) { scribble(next() & 1 ? 0x1f0 : 0x170, 8); }
static void vga(void) { next() & 7 ? scribble(0x3c0, 0x20) : poke(0xa0000 + (next() & 0x1fffc), next()); }

/* Every byte of the planes in a mode where each one is four writes with a rotation and a bit mask. */
static void vga_planes(void)
{
	out16(0x3c4, 0x0f02);
	out16(0x3c4, 0x0604);
	out16(0x3ce, 0x0005);
	out16(0x3ce, 0x0506);
	out16(0x3ce, 0x1f03);
	for (u32 at = 0; at < 0x10000; at++) ((volatile u8 *)0xa0000)[at] = at;
}

static void pit(void) { scribble(0x40, 4); }
static void rtc(void) { out8(0x70, next() % 14); scribble(0x71, 1); }
static void dma(void) { next() & 1 ? scribble(0, 16) : scribble(0xc0, 32); }
static void i8042(void)
{
	/* FEh pulses the reset line, and D1h writes it: that would end the phase. */
	u8 command = next();
	if ((command & 0xf0) != 0xf0 && command != 0xd1) out8(KBD_STATUS, command);
	out8(KBD_DATA, next());
	in8(KBD_DATA);
}
static void com(void) { write_block(COM1, ROOM, 64); scribble(COM1 + 1, 7); }

static void io_bar(u32 slot, u32 bar, u32 count)
{
	pci_write(slot, 0, 4, 7);
	scribble(pci(slot, 0, bar) & 0xfffc, count);
}
static void ac97(void) { io_bar(6, next() & 1 ? 0x10 : 0x14, 0x40); }

/* A legacy queue of garbage, kicked (virtio 1.2, 4.1.4.8 "Legacy Interfaces"). */
static void virtio(u32 slot)
{
	u32 port = pci(slot, 0, 0x10) & 0xfffc;
	pci_write(slot, 0, 4, 7);
	for (u32 at = 0; at < 0x4000; at += 4) poke(ROOM + at, next() & 0x80ffffff);
	out8(port + 18, 0);
	out8(port + 18, 7);
	for (u32 queue = 0; queue < 4; queue++) {
		out16(port + 14, queue);
		out32(port + 8, ROOM >> 12);
		for (u32 kick = 0; kick < 16; kick++) out16(port + 16, queue);
	}
}
static void virtio_serial(void) { virtio(3); }
static void virtio_balloon(void) { virtio(4); }

/* QXL: qxl_dev.h of spice-protocol. The ram header's place and the offsets in it for a ram BAR of 64 MiB. */
enum { QXL = 2, RAM_SIZE = 64 << 20, HEADER = RAM_SIZE - 8192, COMMAND_RING = 0x100c, UPDATE_AREA = 0x1488 };
enum { MEM_SLOT = 0x149c, CREATE_SURFACE = 0x14ac, WIDTH = 1024, HEIGHT = 768, CLIP_RECTS = 4096 };

static u32 qxl_io(void)
{
	pci_write(QXL, 0, 4, 7);
	return pci(QXL, 0, 0x1c) & 0xfffc;
}

static void put(u32 at, u32 value)
{
	for (u32 i = 0; i < 4; i++) ((volatile u8 *)at)[i] = value >> 8 * i;
}

static void put_rect(u32 at, u32 bottom, u32 right)
{
	put(at, 0);
	put(at + 4, 0);
	put(at + 8, bottom);
	put(at + 12, right);
}

static u32 qxl_ram(void) { return pci(QXL, 0, 0x10) & ~15u; }

/* Out of VGA: the ram BAR as slot 1 and a primary surface at its start. */
static void qxl_native(void)
{
	u32 io = qxl_io(), ram = qxl_ram(), header = ram + HEADER;
	out8(io + 5, 0);
	poke(header + MEM_SLOT, ram);
	poke(header + MEM_SLOT + 4, 0);
	poke(header + MEM_SLOT + 8, header);
	poke(header + MEM_SLOT + 12, 0);
	out8(io + 8, 1);
	u32 surface[8] = { WIDTH, HEIGHT, WIDTH * 4, 32, 0, 0, 0, 0 };
	for (u32 i = 0; i < 8; i++) poke(header + CREATE_SURFACE + 4 * i, surface[i]);
	poke(header + CREATE_SURFACE + 32, 0);
	poke(header + CREATE_SURFACE + 36, 1 << 24);
	out8(io + 12, 0);
}

/* One COPY_BITS clipped to 4096 rectangles of the whole screen, pushed for ever. */
static void qxl_clip(void)
{
	u32 io = qxl_io(), ram = qxl_ram(), header = ram + HEADER, drawable = 16 << 20, clip = 17 << 20;
	qxl_native();
	poke(ram + clip, CLIP_RECTS);
	poke(ram + clip + 4, CLIP_RECTS * 16);
	for (u32 i = 8; i < 24; i += 4) poke(ram + clip + i, 0);
	for (u32 i = 0; i < CLIP_RECTS; i++) put_rect(ram + clip + 24 + 16 * i, HEIGHT - i % 7, WIDTH - i % 11);
	for (u32 i = 0; i < 256; i += 4) poke(ram + drawable + i, 0);
	*(volatile u8 *)(ram + drawable + 12) = 1;
	*(volatile u8 *)(ram + drawable + 13) = 4;
	put_rect(ram + drawable + 31, HEIGHT, WIDTH);
	*(volatile u8 *)(ram + drawable + 47) = 1;
	put(ram + drawable + 51, clip);
	put(ram + drawable + 55, 1 << 24);
	u32 ring = header + COMMAND_RING;
	for (;;) {
		u32 head = peek(ring + 4), tail = peek(ring + 12);
		while (head - tail < 32) {
			u32 item = ring + 20 + 16 * (head & 31);
			poke(item, drawable);
			poke(item + 4, 1 << 24);
			poke(item + 8, 1);
			poke(ring + 4, ++head);
		}
		out8(io, 0);
	}
}

static void qxl_ports(void)
{
	u32 io = qxl_io(), header = qxl_ram() + HEADER;
	if ((next() & 7) == 0) poke(header + (next() & 0x1ffc), next());
	else out8(io + (next() & 31), next());
}

static void qxl_update(void)
{
	u32 io = qxl_io(), header = qxl_ram() + HEADER;
	qxl_native();
	put_rect(header + UPDATE_AREA, HEIGHT, WIDTH);
	for (;;) out8(io + 2, 0);
}

/* 32 inversions of a screen of 4 megapixels, and then what waits for all of them. */
static void qxl_full(void)
{
	u32 io = qxl_io(), ram = qxl_ram(), header = ram + HEADER, drawable = 56 << 20;
	enum { SIDE = 2000 };
	out8(io + 5, 0);
	poke(header + MEM_SLOT, ram);
	poke(header + MEM_SLOT + 4, 0);
	poke(header + MEM_SLOT + 8, header);
	poke(header + MEM_SLOT + 12, 0);
	out8(io + 8, 1);
	u32 surface[8] = { SIDE, SIDE, SIDE * 4, 32, 0, 0, 0, 0 };
	for (u32 i = 0; i < 8; i++) poke(header + CREATE_SURFACE + 4 * i, surface[i]);
	poke(header + CREATE_SURFACE + 32, 0);
	poke(header + CREATE_SURFACE + 36, 1 << 24);
	out8(io + 12, 0);
	for (u32 i = 0; i < 256; i += 4) poke(ram + drawable + i, 0);
	*(volatile u8 *)(ram + drawable + 12) = 1;
	*(volatile u8 *)(ram + drawable + 13) = 8;
	put_rect(ram + drawable + 31, SIDE, SIDE);
	put_rect(header + UPDATE_AREA, 1, 1);
	u32 ring = header + COMMAND_RING;
	for (;;) {
		u32 head = peek(ring + 4), tail = peek(ring + 12);
		while (head - tail < 32) {
			u32 item = ring + 20 + 16 * (head & 31);
			poke(item, drawable);
			poke(item + 4, 1 << 24);
			poke(item + 8, 1);
			poke(ring + 4, ++head);
		}
		out8(io + 2, 0);
	}
}

/* Each move of video memory has the core forget its translations. */
static void bars(void)
{
	u32 bar = pci(QXL, 0, 0x10) & ~15u;
	pci_write(QXL, 0, 4, 7);
	pci_write(QXL, 0, 0x10, 0xd0000000 + (next() & 1 ? 64 << 20 : 0));
	poke((pci(QXL, 0, 0x10) & ~15u) + (next() & 0xffffc), next());
	pci_write(QXL, 0, 0x10, bar);
}

/* As many bytes as a count can name, to and from ports that answer slowly. */
static void blocks(void)
{
	static const u16 ports[] = { 0x1f0, 0x3c5, 0x3c9, 0x40, 0x511, 0x60, 0x3f8, 0xcfc, 0x71 };
	u16 port = ports[next() % (sizeof ports / sizeof *ports)];
	if (next() & 1) read_block(port, ROOM, 0x1000000);
	else write_block(port, ROOM, 0x1000000);
}

/* READ DMA of 65536 sectors through a table of the smallest pieces, and of large ones (SFF-8038i). */
static void ide_dma(void)
{
	u32 io = pci(1, 1, 0x20) & 0xfffc, piece = next() & 1 ? 2 : 0x8000;
	pci_write(1, 1, 4, 7);
	for (u32 i = 0; i < 8192; i++) {
		poke(BASE + 8 * i, ROOM);
		poke(BASE + 8 * i + 4, piece);
	}
	out8(io, 0);
	out32(io + 4, BASE);
	out8(io + 2, 6);
	for (u32 i = 0x1f2; i < 0x1f6; i++) { out8(i, 0); out8(i, 0); }
	out8(0x1f6, 0x40);
	out8(0x1f7, 0x25);
	out8(io, 9);
	for (u32 i = 0; i < 1000; i++) in8(0x3f6);
	out8(io, 0);
	out8(0x3f6, 4);
	out8(0x3f6, 0);
}

/* Anything but power management, which could switch the machine off, and what resets it. */
static void any_port(void)
{
	u16 port = next();
	if ((port & 0xff00) != 0xb000 && port != 0xcf9 && port != 0x92 && port != KBD_STATUS && (port & ~3) != 0x500)
		scribble(port, 1);
}

static void registers(void)
{
	for (u32 slot = 0; slot < 7; slot++) {
		u32 bar = pci(slot, 0, 0x10 + 4 * (next() % 6));
		if (!(bar & 1) && (bar & ~15u) >= 0x8000000 && bar < 0xfec00000)
			for (u32 i = 0; i < 256; i++) poke((bar & ~15u) + (next() & 0xffc), next());
	}
}

static const struct {
	char letter;
	void (*harm)(void);
} harms[] = {
	{ 'a', fw_cfg }, { 'b', ide_flush }, { 'c', ide }, { 'd', vga }, { 'e', vga_planes }, { 'f', pit }, { 'g', rtc },
	{ 'h', dma }, { 'i', i8042 }, { 'j', com }, { 'k', ac97 }, { 'l', virtio_serial }, { 'm', virtio_balloon },
	{ 'n', qxl_clip }, { 'o', qxl_ports }, { 'p', qxl_update }, { 'q', any_port }, { 'r', registers }, { 's', qxl_full },
	{ 't', bars }, { 'u', blocks }, { 'v', ide_dma },
};

__attribute__((section(".start"), noreturn)) void go(void)
{
	volatile u16 *screen = (u16 *)0xb8000;
	u16 shown = 0;
	say("READY\n");
	for (;;) {
		if ((in8(KBD_STATUS) & 0x21) == 1 && !(in8(KBD_DATA) & 0x80)) *screen = 0x0700 | ('a' + shown++ % 26);
		if (!(in8(COM1 + 5) & 1)) continue;
		char letter = in8(COM1);
		for (u32 i = 0; i < sizeof harms / sizeof *harms; i++) {
			if (harms[i].letter != letter) continue;
			say("HARM\n");
			for (;;) harms[i].harm();
		}
	}
}
