// What every image encoder takes and gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace tsvm {

/** Pixel layouts, little-endian in memory, as spice.proto's bitmap_fmt names them. */
enum class Layout : uint8_t { Rgb555 = 6, Rgb24 = 7, Xrgb32 = 8, Argb32 = 9, Gray8 = 10 };

inline size_t bytesPerPixel(Layout layout) {
	switch (layout) {
	case Layout::Rgb555:
		return 2;
	case Layout::Rgb24:
		return 3;
	case Layout::Gray8:
		return 1;
	default:
		return 4;
	}
}

/** Pixels to encode: `height` rows of `width` pixels, `stride` bytes from one row to the next one below it. */
struct Image {
	Layout layout;
	uint32_t width;
	uint32_t height;
	ptrdiff_t stride;
	const uint8_t *top;

	const uint8_t *row(uint32_t y) const { return top + static_cast<ptrdiff_t>(y) * stride; }
	size_t rowBytes() const { return width * bytesPerPixel(layout); }
	bool packed() const { return stride == static_cast<ptrdiff_t>(rowBytes()); }
};

/** Bytes that grow; malloc'd, so that they can be handed on without a copy. */
class Bytes {
public:
	Bytes() = default;
	Bytes(const Bytes &) = delete;
	Bytes &operator=(const Bytes &) = delete;
	~Bytes() { std::free(data_); }

	/** Room for `more` bytes behind the first `used`; throws bad_alloc. */
	uint8_t *reserve(size_t used, size_t more) {
		if (used + more > capacity_) {
			size_t capacity = capacity_ + capacity_ / 2;
			if (capacity < used + more) capacity = used + more;
			void *grown = std::realloc(data_, capacity);
			if (grown == nullptr) throw std::bad_alloc();
			data_ = static_cast<uint8_t *>(grown);
			capacity_ = capacity;
		}
		return data_ + used;
	}
	uint8_t *data() { return data_; }
	size_t size = 0;

	/** Gives the bytes away, cut to size. */
	uint8_t *release() {
		uint8_t *out = data_;
		if (size < capacity_ && size > 0) {
			void *cut = std::realloc(out, size);
			if (cut != nullptr) out = static_cast<uint8_t *>(cut);
		}
		data_ = nullptr;
		capacity_ = 0;
		return out;
	}

private:
	uint8_t *data_ = nullptr;
	size_t capacity_ = 0;
};

/** SPICE's QUIC: predictive coding with adaptive Golomb-Rice codes. All layouts. */
void encodeQuic(const Image &image, Bytes &out);
/** SPICE's LZ: dictionary coding over whole pixels. All layouts. */
void encodeLz(const Image &image, Bytes &out);
/** SPICE's LZ4 image: two header bytes and LZ4 blocks. All layouts but Gray8; false if built without LZ4. */
bool encodeLz4(const Image &image, Bytes &out);
bool haveLz4();

} // namespace tsvm
