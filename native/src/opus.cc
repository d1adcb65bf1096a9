// Opus for the sound channels: OpusEncoder(rate, channels, bitrate).encode(samples) and
// OpusDecoder(rate, channels).decode(packet, into). Without TSVM_OPUS neither class exists.

#include <napi.h>

#ifdef TSVM_OPUS
#include <opus.h>

#include <memory>
#endif

namespace tsvm {

#ifdef TSVM_OPUS
namespace {

/** RFC 6716, 3.2.1: one frame takes at most 1275 bytes; what we encode is one frame. */
constexpr opus_int32 kMaxPacket = 1275;
/** 0 to 10. 5 costs half of what 10 does and differs by what nobody hears at our rates. */
constexpr int kComplexity = 5;

int number(const Napi::CallbackInfo &info, size_t index) {
	if (!info[index].IsNumber()) throw Napi::TypeError::New(info.Env(), "a number is missing");
	return info[index].As<Napi::Number>().Int32Value();
}

Napi::TypedArray array(const Napi::CallbackInfo &info, size_t index, napi_typedarray_type type) {
	if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type)
		throw Napi::TypeError::New(info.Env(), "not the right kind of array");
	return info[index].As<Napi::TypedArray>();
}

void check(Napi::Env env, int error) {
	if (error != OPUS_OK) throw Napi::RangeError::New(env, opus_strerror(error));
}

class Encoder : public Napi::ObjectWrap<Encoder> {
public:
	static Napi::Function define(Napi::Env env) {
		return DefineClass(env, "OpusEncoder", {InstanceMethod<&Encoder::encode>("encode")});
	}

	explicit Encoder(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Encoder>(info), channels_(number(info, 1)) {
		int error = OPUS_OK;
		state_.reset(opus_encoder_create(number(info, 0), channels_, OPUS_APPLICATION_AUDIO, &error));
		check(info.Env(), error);
		check(info.Env(), opus_encoder_ctl(state_.get(), OPUS_SET_BITRATE(number(info, 2))));
		check(info.Env(), opus_encoder_ctl(state_.get(), OPUS_SET_COMPLEXITY(kComplexity)));
	}

private:
	Napi::Value encode(const Napi::CallbackInfo &info) {
		const auto samples = array(info, 0, napi_int16_array).As<Napi::Int16Array>();
		unsigned char packet[kMaxPacket];
		const int frames = static_cast<int>(samples.ElementLength() / channels_);
		const opus_int32 size = opus_encode(state_.get(), samples.Data(), frames, packet, kMaxPacket);
		if (size < 0) check(info.Env(), size);
		return Napi::Buffer<unsigned char>::Copy(info.Env(), packet, size);
	}

	struct Free {
		void operator()(OpusEncoder *state) const { opus_encoder_destroy(state); }
	};
	int channels_;
	std::unique_ptr<OpusEncoder, Free> state_;
};

class Decoder : public Napi::ObjectWrap<Decoder> {
public:
	static Napi::Function define(Napi::Env env) {
		return DefineClass(env, "OpusDecoder", {InstanceMethod<&Decoder::decode>("decode")});
	}

	explicit Decoder(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Decoder>(info), channels_(number(info, 1)) {
		int error = OPUS_OK;
		state_.reset(opus_decoder_create(number(info, 0), channels_, &error));
		check(info.Env(), error);
	}

private:
	/** Undefined for what is no packet: a client sent it, so it is no reason to throw. */
	Napi::Value decode(const Napi::CallbackInfo &info) {
		const auto packet = array(info, 0, napi_uint8_array).As<Napi::Uint8Array>();
		auto into = array(info, 1, napi_int16_array).As<Napi::Int16Array>();
		// No bytes at all would ask the decoder to conceal a lost packet.
		if (packet.ElementLength() == 0 || packet.ElementLength() > 65536) return info.Env().Undefined();
		const int room = static_cast<int>(into.ElementLength() / channels_);
		const int frames = opus_decode(state_.get(), packet.Data(), static_cast<opus_int32>(packet.ElementLength()),
		                               into.Data(), room, 0);
		return frames < 0 ? info.Env().Undefined() : Napi::Number::New(info.Env(), frames);
	}

	struct Free {
		void operator()(OpusDecoder *state) const { opus_decoder_destroy(state); }
	};
	int channels_;
	std::unique_ptr<OpusDecoder, Free> state_;
};

} // namespace

void registerOpus(Napi::Env env, Napi::Object exports) {
	exports.Set("OpusEncoder", Encoder::define(env));
	exports.Set("OpusDecoder", Decoder::define(env));
}
#else
void registerOpus(Napi::Env, Napi::Object) {}
#endif

} // namespace tsvm
