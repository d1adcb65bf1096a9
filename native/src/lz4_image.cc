// SPICE's LZ4 image (spice-common canvas_base.c, canvas_get_lz4): u8 top-down, u8 bitmap_fmt, then blocks of
// {u32 big-endian size, LZ4 block}, each of which may refer to the ones before. One block holds it all here.

#include "image.h"

#include <vector>

#ifdef TSVM_LZ4
#include "lz4.h"
#endif

namespace tsvm {

#ifdef TSVM_LZ4
bool haveLz4() { return true; }

bool encodeLz4(const Image &image, Bytes &out) {
	const size_t size = image.rowBytes() * image.height;
	if (image.layout == Layout::Gray8 || size > LZ4_MAX_INPUT_SIZE) return false;
	std::vector<uint8_t> gathered;
	const uint8_t *base = image.top;
	if (!image.packed()) {
		gathered.resize(size);
		for (uint32_t y = 0; y < image.height; y++)
			std::memcpy(gathered.data() + image.rowBytes() * y, image.row(y), image.rowBytes());
		base = gathered.data();
	}
	const int bound = LZ4_compressBound(static_cast<int>(size));
	uint8_t *to = out.reserve(0, 6 + static_cast<size_t>(bound));
	const int used = LZ4_compress_default(reinterpret_cast<const char *>(base), reinterpret_cast<char *>(to + 6),
	                                      static_cast<int>(size), bound);
	if (used <= 0) return false;
	to[0] = 1;
	to[1] = static_cast<uint8_t>(image.layout);
	for (int i = 0; i < 4; i++) to[2 + i] = static_cast<uint8_t>(static_cast<uint32_t>(used) >> (24 - 8 * i));
	out.size = 6 + static_cast<size_t>(used);
	return true;
}
#else
bool haveLz4() { return false; }
bool encodeLz4(const Image &, Bytes &) { return false; }
#endif

} // namespace tsvm
