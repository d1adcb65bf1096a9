// QUIC, SPICE's lossless image code: each colour is predicted from its left and upper neighbours, the error is written
// in one of eight Golomb-Rice codes chosen by an adaptive model (after Starosolski's SFALIC), runs of equal pixels in
// a melcode. The bit stream is fixed by its decoders: spice-common's quic.c and spice-html5's quic.js.

#include "image.h"

#include <tuple>
#include <vector>

namespace tsvm {
namespace {

constexpr uint32_t kMagic = 0x43495551; // "QUIC"
constexpr int kMaxCodes = 8;
constexpr int kCodeLimit = 26;
/** The model learns from ever fewer pixels: each 2048 pixels the wait mask grows by a bit, up to this many. */
constexpr uint32_t kWaitSteps = 6;
constexpr uint32_t kPixelsPerWaitStep = 2048;
/** A model's counters are halved once its best code passes this, by wait step. */
constexpr uint16_t kHalveAt[kWaitSteps + 1] = {110, 550, 900, 800, 550, 400, 350};

/** Pseudo-random waits; the table is part of the format. */
constexpr uint32_t kChaos[256] = {
	0x02c57542, 0x35427717, 0x2f5a2153, 0x9244f155, 0x7bd26d07, 0x354c6052, 0x57329b28, 0x2993868e,
	0x6cd8808c, 0x147b46e0, 0x99db66af, 0xe32b4cac, 0x1b671264, 0x9d433486, 0x62a4c192, 0x06089a4b,
	0x9e3dce44, 0xdaabee13, 0x222425ea, 0xa46f331d, 0xcd589250, 0x8bb81d7f, 0xc8b736b9, 0x35948d33,
	0xd7ac7fd0, 0x5fbe2803, 0x2cfbc105, 0x013dbc4e, 0x7a37820f, 0x39f88e9e, 0xedd58794, 0xc5076689,
	0xfcada5a4, 0x64c2f46d, 0xb3ba3243, 0x8974b4f9, 0x5a05aebd, 0x20afcd00, 0x39e2b008, 0x88a18a45,
	0x600bde29, 0xf3971ace, 0xf37b0a6b, 0x7041495b, 0x70b707ab, 0x06beffbb, 0x4206051f, 0xe13c4ee3,
	0xc1a78327, 0x91aa067c, 0x8295f72a, 0x732917a6, 0x1d871b4d, 0x4048f136, 0xf1840e7e, 0x6a6048c1,
	0x696cb71a, 0x7ff501c3, 0x0fc6310b, 0x57e0f83d, 0x8cc26e74, 0x11a525a2, 0x946934c7, 0x7cd888f0,
	0x8f9d8604, 0x4f86e73b, 0x04520316, 0xdeeea20c, 0xf1def496, 0x67687288, 0xf540c5b2, 0x22401484,
	0x3478658a, 0xc2385746, 0x01979c2c, 0x5dad73c8, 0x0321f58b, 0xf0fedbee, 0x92826ddf, 0x284bec73,
	0x5b1a1975, 0x03df1e11, 0x20963e01, 0xa17cf12b, 0x740d776e, 0xa7a6bf3c, 0x01b5cce4, 0x1118aa76,
	0xfc6fac0a, 0xce927e9b, 0x00bf2567, 0x806f216c, 0xbca69056, 0x795bd3e9, 0xc9dc4557, 0x8929b6c2,
	0x789d52ec, 0x3f3fbf40, 0xb9197368, 0xa38c15b5, 0xc3b44fa8, 0xca8333b0, 0xb7e8d590, 0xbe807feb,
	0xbf5f8360, 0xd99e2f5c, 0x372928e1, 0x7c757c4c, 0x0db5b154, 0xc01ede02, 0x1fc86e78, 0x1f3985be,
	0xb4805c77, 0x00c880fa, 0x974c1b12, 0x35ab0214, 0xb2dc840d, 0x5b00ae37, 0xd313b026, 0xb260969d,
	0x7f4c8879, 0x1734c4d3, 0x49068631, 0xb9f6a021, 0x6b863e6f, 0xcee5debf, 0x29f8c9fb, 0x53dd6880,
	0x72b61223, 0x1f67a9fd, 0x0a0f6993, 0x13e59119, 0x11cca12e, 0xfe6b6766, 0x16b6effc, 0x97918fc4,
	0xc2b8a563, 0x94f2f741, 0x0bfa8c9a, 0xd1537ae8, 0xc1da349c, 0x873c60ca, 0x95005b85, 0x9b5c080e,
	0xbc8abbd9, 0xe1eab1d2, 0x6dac9070, 0x4ea9ebf1, 0xe0cf30d4, 0x1ef5bd7b, 0xd161043e, 0x5d2fa2e2,
	0xff5d3cae, 0x86ed9f87, 0x2aa1daa1, 0xbd731a34, 0x9e8f4b22, 0xb1c2c67a, 0xc21758c9, 0xa182215d,
	0xccb01948, 0x8d168df7, 0x04238cfe, 0x368c3dbc, 0x0aeadca5, 0xbad21c24, 0x0a71fee5, 0x9fc5d872,
	0x54c152c6, 0xfc329483, 0x6783384a, 0xeddb3e1c, 0x65f90e30, 0x884ad098, 0xce81675a, 0x4b372f7d,
	0x68bf9a39, 0x43445f1e, 0x40f8d8cb, 0x90d5acb6, 0x4cd07282, 0x349eeb06, 0x0c9d5332, 0x520b24ef,
	0x80020447, 0x67976491, 0x2f931ca3, 0xfe9b0535, 0xfcd30220, 0x61a9e6cc, 0xa487d8d7, 0x3f7c5dd1,
	0x7d0127c5, 0x48f51d15, 0x60dea871, 0xc9a91cb7, 0x58b53bb3, 0x9d5e0b2d, 0x624a78b4, 0x30dbee1b,
	0x9bdf22e7, 0x1df5c299, 0x2d5643a7, 0xf4dd35ff, 0x03ca8fd6, 0x53b47ed8, 0x6f2c19aa, 0xfeb0c1f4,
	0x49e54438, 0x2f2577e6, 0xbf876969, 0x72440ea9, 0xfa0bafb8, 0x74f5b3a0, 0x7dd357cd, 0x89ce1358,
	0x6ef2cdda, 0x1e7767f3, 0xa6be9fdb, 0x4f5f88f8, 0xba994a3a, 0x08ca6b65, 0xe0893818, 0x9e00a16a,
	0xf42bfc8f, 0x9972eedc, 0x749c8b51, 0x32c05f5e, 0xd706805f, 0x6bfbb7cf, 0xd9210a10, 0x31a1db97,
	0x923a9559, 0x37a7a1f6, 0x059f8861, 0xca493e62, 0x65157e81, 0x8f6467dd, 0xab85ff9f, 0x9331aff2,
	0x8616b9f5, 0xedbd5695, 0xee7e29b1, 0x313ac44f, 0xb903112f, 0x432ef649, 0xdc0a36c0, 0x61cf2bba,
	0x81474925, 0xa8b6c7ad, 0xee5931de, 0xb2f8158d, 0x59fb7409, 0x2e3dfaed, 0x9af25a3f, 0xe1fed4d5,
};

/** Lengths of runs by melcode state, as powers of two. */
constexpr uint8_t kRunBits[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,  2,  3,  3,  3,  3,
                                  4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

constexpr uint32_t ones(int bits) { return bits >= 32 ? 0xffffffffu : (1u << bits) - 1; }

constexpr int ceilLog2(uint32_t value) {
	int bits = 0;
	while ((1u << bits) < value) bits++;
	return bits;
}

/** The codes for errors of `Bits` bits: a Golomb-Rice code a number, its longest codewords replaced by fixed ones. */
template <int Bits> struct Codes {
	struct Word {
		uint16_t bits;
		uint8_t length;
	};
	Word word[kMaxCodes][1 << Bits] = {};
	/** Code lengths once more, by value, for the model. */
	uint8_t length[1 << Bits][kMaxCodes] = {};
	/** A signed difference, modulo 2^Bits, folded to small unsigned numbers. */
	uint8_t fold[1 << Bits] = {};
	/** Which model a value selects for its right neighbour: 0, 1-2, 3-6, 7-14, ... */
	uint8_t bucket[1 << Bits] = {};

	constexpr Codes() {
		for (int l = 0; l < Bits; l++) {
			uint32_t prefix = kCodeLimit - Bits;
			if (prefix > ones(Bits - l)) prefix = ones(Bits - l);
			const uint32_t golomb = prefix << l;
			const int tail = static_cast<int>(prefix) + ceilLog2((1u << Bits) - golomb);
			for (uint32_t v = 0; v < (1u << Bits); v++) {
				if (v < golomb)
					word[l][v] = {static_cast<uint16_t>((1u << l) | (v & ones(l))), static_cast<uint8_t>((v >> l) + l + 1)};
				else
					word[l][v] = {static_cast<uint16_t>(v - golomb), static_cast<uint8_t>(tail)};
				length[v][l] = word[l][v].length;
			}
		}
		for (uint32_t v = 0; v < (1u << Bits); v++) {
			fold[v] = static_cast<uint8_t>(v <= ones(Bits) >> 1 ? v << 1 : ((ones(Bits) - v) << 1) + 1);
			int b = 0;
			while ((2u << b) <= v + 1 && b < Bits - 1) b++;
			bucket[v] = static_cast<uint8_t>(b);
		}
	}
};
constexpr Codes<8> kCodes8;
constexpr Codes<5> kCodes5;
template <int Bits> constexpr const Codes<Bits> &codes() {
	if constexpr (Bits == 8)
		return kCodes8;
	else
		return kCodes5;
}

/** Bits, most significant first, in little-endian 32-bit words. Small and plain, so that loops keep it in registers. */
struct BitWriter {
	uint8_t *at = nullptr;
	uint64_t pending = 0;
	unsigned count = 0;

	/** Writes the low `length` bits of `word`, length <= 32. There must be room: see Output. */
	inline void put(uint32_t word, unsigned length) {
		pending = (pending << length) | word;
		count += length;
		if (count >= 32) {
			count -= 32;
			const uint32_t whole = static_cast<uint32_t>(pending >> count);
			const uint8_t bytes[4] = {static_cast<uint8_t>(whole), static_cast<uint8_t>(whole >> 8),
			                          static_cast<uint8_t>(whole >> 16), static_cast<uint8_t>(whole >> 24)};
			std::memcpy(at, bytes, 4);
			at += 4;
		}
	}
};

/** A BitWriter on bytes that grow. */
class Output {
public:
	explicit Output(Bytes &out) : out_(out) {}
	BitWriter bits;

	/** Makes room for `bytes`, and takes in what was written. */
	void reserve(size_t bytes) {
		commit();
		bits.at = out_.reserve(out_.size, bytes);
	}
	/** Fills the last word, and adds one that decoders read ahead. */
	void finish() {
		reserve(8);
		if (bits.count > 0) bits.put(0, 32 - bits.count);
		bits.put(0, 32);
		commit();
	}

private:
	void commit() {
		if (bits.at != nullptr) out_.size = static_cast<size_t>(bits.at - out_.data());
	}
	Bytes &out_;
};

/** What a scan over rows remembers between pixels; colours share one, alpha has its own. */
struct ScanState {
	uint32_t wait = 0;
	uint32_t seed = 0xff;
	uint32_t step = 0;
	uint32_t left = kPixelsPerWaitStep;
	uint32_t runState = 0;

	uint32_t nextWait() { return kChaos[++seed & 0xff] & ones(static_cast<int>(step)); }

	void putRun(BitWriter &out, uint32_t length) {
		while (length >= (1u << kRunBits[runState])) {
			length -= 1u << kRunBits[runState];
			if (runState < 31) runState++;
			out.put(1, 1);
		}
		out.put(length, kRunBits[runState] + 1u);
		if (runState > 0) runState--;
	}
};

template <int Bits> struct Model {
	struct Bucket {
		uint32_t best = Bits - 1;
		uint32_t cost[kMaxCodes] = {};
	};
	Bucket buckets[Bits];
	/** Folded errors of the row; index 0 is the one left of the row. Entries that a run skips keep older rows'. */
	std::vector<uint8_t> errors;

	explicit Model(uint32_t width) : errors(width + 1, 0) {}

	inline void put(BitWriter &out, uint32_t x, uint8_t error) {
		const Bucket &b = buckets[codes<Bits>().bucket[errors[x]]];
		errors[x + 1] = error;
		const auto w = codes<Bits>().word[b.best][error];
		out.put(w.bits, w.length);
	}

	inline void learn(uint32_t x, uint32_t halveAt) {
		Bucket &b = buckets[codes<Bits>().bucket[errors[x]]];
		const uint8_t *length = codes<Bits>().length[errors[x + 1]];
		for (int l = 0; l < Bits; l++) b.cost[l] += length[l];
		uint32_t best = Bits - 1;
		for (int l = Bits - 2; l >= 0; l--)
			if (b.cost[l] < b.cost[best]) best = static_cast<uint32_t>(l);
		b.best = best;
		if (b.cost[best] > halveAt)
			for (int l = 0; l < Bits; l++) b.cost[l] >>= 1;
	}
};

/** How a layout's pixels are taken apart: `load` gives the bits that count, colour c lies at `shift(c)`. */
struct Xrgb {
	static constexpr int kBits = 8, kChannels = 3;
	static uint32_t load(const uint8_t *row, uint32_t x) {
		uint32_t v;
		std::memcpy(&v, row + x * 4, 4);
		return v & 0xffffff;
	}
	static constexpr int shift(int c) { return 16 - 8 * c; }
};
struct Rgb24 {
	static constexpr int kBits = 8, kChannels = 3;
	static uint32_t load(const uint8_t *row, uint32_t x) {
		const uint8_t *p = row + x * 3;
		return p[0] | p[1] << 8 | p[2] << 16;
	}
	static constexpr int shift(int c) { return 16 - 8 * c; }
};
struct Rgb555 {
	static constexpr int kBits = 5, kChannels = 3;
	static uint32_t load(const uint8_t *row, uint32_t x) { return (row[x * 2] | row[x * 2 + 1] << 8) & 0x7fff; }
	static constexpr int shift(int c) { return 10 - 5 * c; }
};
struct Alpha {
	static constexpr int kBits = 8, kChannels = 1;
	static uint32_t load(const uint8_t *row, uint32_t x) { return row[x * 4 + 3]; }
	static constexpr int shift(int) { return 0; }
};
struct Gray {
	static constexpr int kBits = 8, kChannels = 1;
	static uint32_t load(const uint8_t *row, uint32_t x) { return row[x]; }
	static constexpr int shift(int) { return 0; }
};

template <class P> class Scan {
public:
	explicit Scan(uint32_t width) : width_(width), models_(P::kChannels, Model<P::kBits>(width)) {}

	/** Codes one row under `above` (null for the first). */
	void row(BitWriter &out, const uint8_t *above, const uint8_t *row) {
		for (auto &m : models_) m.errors[0] = above == nullptr ? 0 : m.errors[1];
		uint32_t from = 0;
		uint32_t left = width_;
		while (state_.step < kWaitSteps && state_.left <= left) {
			if (state_.left > 0) segment(out, above, row, from, from + state_.left);
			left -= state_.left;
			from += state_.left;
			state_.step++;
			state_.left = kPixelsPerWaitStep;
		}
		if (left > 0) {
			segment(out, above, row, from, from + left);
			if (state_.step < kWaitSteps) state_.left -= left;
		}
	}

private:
	static constexpr uint32_t kMask = ones(P::kBits);

	static uint32_t channel(uint32_t pixel, int c) { return (pixel >> P::shift(c)) & kMask; }

	inline void putPixel(BitWriter &out, uint32_t x, uint32_t pixel, uint32_t left, uint32_t up, bool first) {
		for (int c = 0; c < P::kChannels; c++) {
			const uint32_t predicted = first ? channel(left, c) : (channel(left, c) + channel(up, c)) >> 1;
			models_[c].put(out, x, codes<P::kBits>().fold[(channel(pixel, c) - predicted) & kMask]);
		}
	}

	void learn(uint32_t x) {
		for (auto &m : models_) m.learn(x, kHalveAt[state_.step]);
	}

	/** Pixels from `x` to `end` of a row, within one wait step. */
	void segment(BitWriter &bits, const uint8_t *above, const uint8_t *row, uint32_t x, const uint32_t end) {
		BitWriter out = bits;
		pixels(out, above, row, x, end);
		bits = out;
	}

	inline void pixels(BitWriter &out, const uint8_t *above, const uint8_t *row, uint32_t x, const uint32_t end) {
		if (x == 0) {
			// The first pixel is predicted from the one above it, or from nothing.
			putPixel(out, 0, P::load(row, 0), above == nullptr ? 0 : P::load(above, 0), 0, true);
			if (state_.wait > 0) {
				state_.wait--;
			} else {
				state_.wait = state_.nextWait();
				learn(0);
			}
			x = 1;
		}
		uint32_t stop = x + state_.wait;
		if (above == nullptr) {
			for (; x < end; x++) {
				putPixel(out, x, P::load(row, x), P::load(row, x - 1), 0, true);
				if (x == stop) {
					learn(x);
					stop = x + 1 + state_.nextWait();
				}
			}
			state_.wait = stop - end;
			return;
		}
		uint32_t ranAt = 0;
		while (x < end) {
			const uint32_t left = P::load(row, x - 1);
			const uint32_t up = P::load(above, x);
			const uint32_t pixel = P::load(row, x);
			// Where both rows stood still a run is written, be it an empty one; a second at the same pixel is not.
			if (x > 2 && x != ranAt && P::load(above, x - 1) == up && left == P::load(row, x - 2)) {
				state_.wait = stop - x;
				const uint32_t start = x;
				while (x < end && P::load(row, x) == left) x++;
				state_.putRun(out, x - start);
				if (x == end) return;
				ranAt = start;
				stop = x + state_.wait;
				if (x != start) continue;
			}
			putPixel(out, x, pixel, left, up, false);
			if (x == stop) {
				learn(x);
				stop = x + 1 + state_.nextWait();
			}
			x++;
		}
		state_.wait = stop - end;
	}

	uint32_t width_;
	ScanState state_;
	std::vector<Model<P::kBits>> models_;
};

template <class... P> void encodeRows(const Image &image, Output &out) {
	std::tuple<Scan<P>...> scans{Scan<P>(image.width)...};
	// A pixel takes at most 26 bits a channel, and 47 for a run that begins at it.
	const size_t worst = (static_cast<size_t>(image.width) + 1) * 32;
	for (uint32_t y = 0; y < image.height; y++) {
		out.reserve(worst);
		const uint8_t *above = y == 0 ? nullptr : image.row(y - 1);
		std::apply([&](auto &...scan) { (scan.row(out.bits, above, image.row(y)), ...); }, scans);
	}
}

} // namespace

void encodeQuic(const Image &image, Bytes &out) {
	// quic.h, QuicImageType
	uint32_t type = 4;
	if (image.layout == Layout::Gray8) type = 1;
	if (image.layout == Layout::Rgb555) type = 2;
	if (image.layout == Layout::Rgb24) type = 3;
	if (image.layout == Layout::Argb32) type = 5;

	Output bits(out);
	bits.reserve(20);
	for (uint32_t word : {kMagic, 0u, type, image.width, image.height}) bits.bits.put(word, 32);
	switch (image.layout) {
	case Layout::Gray8:
		encodeRows<Gray>(image, bits);
		break;
	case Layout::Rgb555:
		encodeRows<Rgb555>(image, bits);
		break;
	case Layout::Rgb24:
		encodeRows<Rgb24>(image, bits);
		break;
	case Layout::Xrgb32:
		encodeRows<Xrgb>(image, bits);
		break;
	case Layout::Argb32:
		encodeRows<Xrgb, Alpha>(image, bits);
		break;
	}
	bits.finish();
}

} // namespace tsvm
