/*
 * A program for 32-bit x86 Linux guests that reads and writes disks and ports, without a C library:
 *
 *   io time  FILE r|w SIZE COUNT seq|rand   COUNT requests of SIZE bytes past the page cache, one after another
 *   io write FILE SEED BLOCKS               numbered blocks for ever, each batch flushed and then told: F <n>
 *   io put   FILE BYTES                     writes so many bytes to a port
 *   io get   FILE BYTES                     reads so many bytes from a port
 *
 * GO and DONE stand on standard output around what is timed. Numbers are 32-bit; test/helpers/guest-io.ts knows what
 * `write` writes. System calls: Linux arch/x86/entry/syscalls/syscall_32.tbl.
 */
typedef unsigned int u32;
typedef unsigned char u8;

enum { EXIT = 1, READ = 3, WRITE = 4, OPEN = 5, FDATASYNC = 148, PREAD64 = 180, PWRITE64 = 181, IOCTL = 54 };
enum { O_RDWR = 2, O_DIRECT = 040000, BLKGETSIZE64 = 0x80041272 };
enum { BLOCK = 4096, MOST_BLOCKS = 16, LARGEST = 1 << 20 };

static u8 buffer[LARGEST] __attribute__((aligned(4096)));

static int call(int n, u32 a, u32 b, u32 c, u32 d, u32 e)
{
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return result;
}

static void say(const char *text)
{
	u32 length = 0;
	while (text[length]) length++;
	call(WRITE, 1, (u32)text, length, 0, 0);
}

static __attribute__((noreturn)) void fail(const char *what)
{
	say("IO-FAILED ");
	say(what);
	say("\n");
	for (;;) call(EXIT, 1, 0, 0, 0, 0);
}

static u32 number(const char *text)
{
	u32 value = 0;
	if (!text) fail("a number is missing");
	while (*text >= '0' && *text <= '9') value = value * 10 + (*text++ - '0');
	return value;
}

static void say_number(u32 value)
{
	char text[12], *at = text + 11;
	*at = 0;
	do *--at = '0' + value % 10; while (value /= 10);
	say(at);
}

/* Xorshift: G. Marsaglia, "Xorshift RNGs", 2003. */
static u32 next(u32 *state)
{
	u32 x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

static int open_file(const char *path, u32 flags)
{
	int fd = path ? call(OPEN, (u32)path, O_RDWR | flags, 0, 0, 0) : -1;
	if (fd < 0) fail("open");
	return fd;
}

/* Offset as blocks of `size` bytes; pread64 and pwrite64 take it in two halves. */
static int transfer(int what, int fd, u32 size, u32 block, u8 *from)
{
	unsigned long long offset = (unsigned long long)block * size;
	return call(what, fd, (u32)from, size, (u32)offset, (u32)(offset >> 32));
}

static void timed(char **words)
{
	int fd = open_file(words[0], O_DIRECT);
	int what = words[1][0] == 'w' ? PWRITE64 : PREAD64;
	u32 size = number(words[2]), count = number(words[3]), state = 2463534242u, shift = 0;
	int random = words[4] && words[4][0] == 'r';
	unsigned long long bytes = 0;
	if (size == 0 || size > LARGEST) fail("size");
	if (call(IOCTL, fd, BLKGETSIZE64, (u32)&bytes, 0, 0) < 0) fail("ioctl");
	while ((size << shift) < LARGEST && shift < 20) shift++;
	/* Blocks of the disk, with shifts only: 64-bit division would need a library. Sizes are powers of two. */
	u32 blocks = (u32)(bytes >> 20) << shift;
	say("GO\n");
	for (u32 n = 0; n < count; n++) {
		u32 block = random ? next(&state) % blocks : n % blocks;
		if (transfer(what, fd, size, block, buffer) != (int)size) fail("transfer");
	}
	say("DONE\n");
}

static void fill(u32 batch, u32 block, u8 *into)
{
	u32 *words = (u32 *)into, state = batch * 2654435761u ^ block * 40503u ^ 0x9e3779b9u;
	if (state == 0) state = 1;
	words[0] = batch;
	words[1] = block;
	for (u32 i = 2; i < BLOCK / 4; i++) words[i] = next(&state);
}

static void write_for_ever(char **words)
{
	int fd = open_file(words[0], 0);
	u32 state = number(words[1]), blocks = number(words[2]);
	if (state == 0 || blocks <= MOST_BLOCKS) fail("numbers");
	for (u32 batch = 1;; batch++) {
		u32 runs = 1 + next(&state) % 4;
		while (runs--) {
			u32 count = 1 + next(&state) % MOST_BLOCKS, first = next(&state) % (blocks - count);
			for (u32 i = 0; i < count; i++) {
				fill(batch, first + i, buffer);
				if (transfer(PWRITE64, fd, BLOCK, first + i, buffer) != BLOCK) fail("write");
			}
		}
		if (call(FDATASYNC, fd, 0, 0, 0, 0) < 0) fail("fdatasync");
		say("F ");
		say_number(batch);
		say("\n");
	}
}

static void stream(int what, char **words)
{
	int fd = open_file(words[0], 0);
	u32 left = number(words[1]);
	say("GO\n");
	while (left > 0) {
		int done = call(what, fd, (u32)buffer, left < 65536 ? left : 65536, 0, 0);
		if (done <= 0) fail("stream");
		left -= done;
	}
	say("DONE\n");
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b) a++, b++;
	return *a == *b;
}

__attribute__((used)) static void run(u32 *stack)
{
	char **words = (char **)(stack + 1);
	if (stack[0] < 4) fail("usage");
	if (equal(words[1], "time")) timed(words + 2);
	else if (equal(words[1], "write")) write_for_ever(words + 2);
	else if (equal(words[1], "put")) stream(WRITE, words + 2);
	else if (equal(words[1], "get")) stream(READ, words + 2);
	else fail("usage");
	for (;;) call(EXIT, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall run\n");
