// SPICE's LZ: literals and back references over whole pixels, colours first and alpha, where there is one, as a second
// pass of its own. The byte format (like FastLZ's level 2) is fixed by its decoders: spice-common's lz.c and
// spice-html5's lz.js.
//
//   control byte c < 32      c + 1 literal pixels follow
//   control byte c >= 32     a match: top 3 bits length (7: more bytes follow while they are 255), low 5 bits and the
//                            next byte its distance - 1; distance bits all one: two more bytes, big-endian, + 8191

#include "image.h"

#include <vector>

namespace tsvm {
namespace {

constexpr uint32_t kMagic = 0x20205a4c; // "LZ  "
constexpr uint32_t kVersion = 0x00010001;
constexpr uint32_t kMaxLiterals = 32;
constexpr uint32_t kNear = 8191;
/** The greatest distance a reference can name. */
constexpr uint32_t kFar = kNear + 65535;
constexpr uint32_t kMinMatch = 3;
constexpr uint32_t kFarMinMatch = 4;

/** Pixels of one kind: `key` are the bits that count, `put` writes them as a literal. */
struct Rgb32 {
	static constexpr uint32_t kBias = 0;
	const uint8_t *base;
	uint32_t key(size_t i) const {
		uint32_t v;
		std::memcpy(&v, base + i * 4, 4);
		return v & 0xffffff;
	}
	static uint8_t *put(uint8_t *to, uint32_t key) {
		to[0] = static_cast<uint8_t>(key);
		to[1] = static_cast<uint8_t>(key >> 8);
		to[2] = static_cast<uint8_t>(key >> 16);
		return to + 3;
	}
};
struct Rgb24 {
	static constexpr uint32_t kBias = 0;
	const uint8_t *base;
	uint32_t key(size_t i) const {
		const uint8_t *p = base + i * 3;
		return p[0] | p[1] << 8 | p[2] << 16;
	}
	static uint8_t *put(uint8_t *to, uint32_t key) { return Rgb32::put(to, key); }
};
struct Rgb555 {
	static constexpr uint32_t kBias = 1;
	const uint8_t *base;
	uint32_t key(size_t i) const { return (base[i * 2] | base[i * 2 + 1] << 8) & 0x7fff; }
	static uint8_t *put(uint8_t *to, uint32_t key) {
		to[0] = static_cast<uint8_t>(key >> 8);
		to[1] = static_cast<uint8_t>(key);
		return to + 2;
	}
};
struct Alpha {
	static constexpr uint32_t kBias = 2;
	const uint8_t *base;
	uint32_t key(size_t i) const { return base[i * 4 + 3]; }
	static uint8_t *put(uint8_t *to, uint32_t key) {
		to[0] = static_cast<uint8_t>(key);
		return to + 1;
	}
};
struct Byte {
	static constexpr uint32_t kBias = 2;
	const uint8_t *base;
	uint32_t key(size_t i) const { return base[i]; }
	static uint8_t *put(uint8_t *to, uint32_t key) { return Alpha::put(to, key); }
};

template <class P> class Coder {
public:
	Coder(P pixels, size_t count, uint8_t *out) : pixels_(pixels), count_(count), out_(out) {
		unsigned bits = 6;
		while (bits < kTableBits && (size_t{1} << bits) < count) bits++;
		shift_ = 32 - bits;
		table_.assign(size_t{1} << bits, 0);
	}

	uint8_t *run() {
		size_t at = 0;
		size_t misses = 0;
		literals_ = 0;
		// Matching looks at three pixels, and the last ones are cheap as literals.
		const size_t limit = count_ < kMinMatch + 1 ? 0 : count_ - kMinMatch;
		while (at < limit) {
			const uint32_t first = pixels_.key(at);
			const uint32_t second = pixels_.key(at + 1);
			const uint32_t third = pixels_.key(at + 2);
			size_t from;
			if (at > 0 && first == second && second == third && first == pixels_.key(at - 1)) {
				from = at - 1;
			} else {
				uint32_t &slot = table_[hash(first, second, third)];
				from = slot;
				slot = static_cast<uint32_t>(at);
				if (from >= at || at - from > kFar || pixels_.key(from) != first || pixels_.key(from + 1) != second ||
				    pixels_.key(from + 2) != third) {
					// Where nothing matches for long, look less often.
					for (size_t step = 1 + (misses++ >> 6); step > 0 && at < limit; step--) literal(pixels_.key(at++));
					continue;
				}
			}
			size_t length = kMinMatch;
			while (at + length < count_ && pixels_.key(from + length) == pixels_.key(at + length)) length++;
			const size_t distance = at - from - 1;
			if (distance >= kNear && length < kFarMinMatch) {
				literal(first);
				at++;
				continue;
			}
			misses = 0;
			match(distance, length);
			at += length;
			// Where one match ends another often begins.
			if (at < limit && at >= 2)
				table_[hash(pixels_.key(at - 2), pixels_.key(at - 1), pixels_.key(at))] = static_cast<uint32_t>(at - 2);
		}
		while (at < count_) literal(pixels_.key(at++));
		return out_;
	}

private:
	static constexpr unsigned kTableBits = 14;

	uint32_t hash(uint32_t a, uint32_t b, uint32_t c) const {
		return ((a * 0x9e3779b1u) ^ (b * 0x85ebca77u + 0x165667b1u) ^ ((c << 9 | c >> 23) * 0xc2b2ae3du)) * 0x27d4eb2fu >>
		       shift_;
	}

	inline void literal(uint32_t key) {
		if (literals_ == 0) {
			control_ = out_;
			out_++;
		}
		*control_ = static_cast<uint8_t>(literals_);
		out_ = P::put(out_, key);
		if (++literals_ == kMaxLiterals) literals_ = 0;
	}

	inline void match(size_t distance, size_t pixels) {
		literals_ = 0;
		size_t length = pixels - P::kBias;
		const size_t high = distance < kNear ? distance >> 8 : 31;
		if (length < 7) {
			*out_++ = static_cast<uint8_t>(length << 5 | high);
		} else {
			*out_++ = static_cast<uint8_t>(7 << 5 | high);
			for (length -= 7; length >= 255; length -= 255) *out_++ = 255;
			*out_++ = static_cast<uint8_t>(length);
		}
		if (distance < kNear) {
			*out_++ = static_cast<uint8_t>(distance);
		} else {
			*out_++ = 255;
			*out_++ = static_cast<uint8_t>((distance - kNear) >> 8);
			*out_++ = static_cast<uint8_t>(distance - kNear);
		}
	}

	P pixels_;
	size_t count_;
	uint8_t *out_;
	uint8_t *control_ = nullptr;
	uint32_t literals_ = 0;
	unsigned shift_;
	std::vector<uint32_t> table_;
};

template <class P> void encodePixels(const uint8_t *base, size_t count, size_t literalBytes, Bytes &out) {
	// A match of three or more pixels takes at most 5 bytes and ends a run of literals; a literal its bytes and 1.
	uint8_t *to = out.reserve(out.size, count * (literalBytes + 1) + 16);
	out.size = static_cast<size_t>(Coder<P>(P{base}, count, to).run() - out.data());
}

} // namespace

void encodeLz(const Image &image, Bytes &out) {
	// lz_common.h, LzImageType
	uint32_t type = 8;
	if (image.layout == Layout::Rgb555) type = 6;
	if (image.layout == Layout::Rgb24) type = 7;
	if (image.layout == Layout::Argb32) type = 9;
	if (image.layout == Layout::Gray8) type = 11;

	std::vector<uint8_t> gathered;
	const uint8_t *base = image.top;
	if (!image.packed()) {
		gathered.resize(image.rowBytes() * image.height);
		for (uint32_t y = 0; y < image.height; y++)
			std::memcpy(gathered.data() + image.rowBytes() * y, image.row(y), image.rowBytes());
		base = gathered.data();
	}

	uint8_t *to = out.reserve(0, 28);
	for (uint32_t word : {kMagic, kVersion, type, image.width, image.height, static_cast<uint32_t>(image.rowBytes()), 1u})
		for (int shift = 24; shift >= 0; shift -= 8) *to++ = static_cast<uint8_t>(word >> shift);
	out.size = 28;

	const size_t count = static_cast<size_t>(image.width) * image.height;
	switch (image.layout) {
	case Layout::Gray8:
		encodePixels<Byte>(base, count, 1, out);
		break;
	case Layout::Rgb555:
		encodePixels<Rgb555>(base, count, 2, out);
		break;
	case Layout::Rgb24:
		encodePixels<Rgb24>(base, count, 3, out);
		break;
	case Layout::Xrgb32:
		encodePixels<Rgb32>(base, count, 3, out);
		break;
	case Layout::Argb32:
		encodePixels<Rgb32>(base, count, 3, out);
		encodePixels<Alpha>(base, count, 1, out);
		break;
	}
}

} // namespace tsvm
