// The JavaScript face: encode(codec, layout, width, height, stride, pixels) at once, encodeAsync(...) on libuv's
// threads. `pixels` is the top row's first byte on; it must stay unchanged until an asynchronous call is done.

#include "image.h"

#include <napi.h>

namespace tsvm {

Napi::Value discard(const Napi::CallbackInfo &info);
Napi::Value punchHole(const Napi::CallbackInfo &info);
Napi::Value lockByte(const Napi::CallbackInfo &info);
Napi::Value byteLocked(const Napi::CallbackInfo &info);
void registerOpus(Napi::Env env, Napi::Object exports);

namespace {

enum class Codec : uint32_t { Quic, Lz, Lz4 };
constexpr uint64_t kMaxPixels = uint64_t{1} << 26;

struct Job {
	Codec codec;
	Image image;
};

uint32_t number(const Napi::CallbackInfo &info, size_t index) {
	if (!info[index].IsNumber()) throw Napi::TypeError::New(info.Env(), "a number is missing");
	return info[index].As<Napi::Number>().Uint32Value();
}

/** Reads and checks the arguments; after this the encoders cannot leave the buffer. */
Job arguments(const Napi::CallbackInfo &info) {
	const uint32_t codec = number(info, 0);
	const uint32_t layout = number(info, 1);
	const uint32_t width = number(info, 2);
	const uint32_t height = number(info, 3);
	const uint32_t stride = number(info, 4);
	if (codec > static_cast<uint32_t>(Codec::Lz4)) throw Napi::RangeError::New(info.Env(), "no such codec");
	if (layout < static_cast<uint32_t>(Layout::Rgb555) || layout > static_cast<uint32_t>(Layout::Gray8))
		throw Napi::RangeError::New(info.Env(), "no such layout");
	if (!info[5].IsTypedArray() || info[5].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
		throw Napi::TypeError::New(info.Env(), "pixels are not a Uint8Array");
	const auto pixels = info[5].As<Napi::Uint8Array>();

	Job job{static_cast<Codec>(codec), Image{static_cast<Layout>(layout), width, height, stride, pixels.Data()}};
	const uint64_t row = uint64_t{width} * bytesPerPixel(job.image.layout);
	if (width == 0 || height == 0 || uint64_t{width} * height > kMaxPixels || stride < row ||
	    uint64_t{stride} * (height - 1) + row > pixels.ByteLength())
		throw Napi::RangeError::New(info.Env(), "the pixels do not fill the image");
	return job;
}

bool encode(const Job &job, Bytes &out) {
	switch (job.codec) {
	case Codec::Quic:
		encodeQuic(job.image, out);
		return true;
	case Codec::Lz:
		encodeLz(job.image, out);
		return true;
	default:
		return encodeLz4(job.image, out);
	}
}

Napi::Value handOver(Napi::Env env, Bytes &out) {
	const size_t size = out.size;
	return Napi::Buffer<uint8_t>::NewOrCopy(env, out.release(), size,
	                                        [](Napi::Env, uint8_t *data) { std::free(data); });
}

class Worker : public Napi::AsyncWorker {
public:
	Worker(const Napi::CallbackInfo &info)
	    : Napi::AsyncWorker(info.Env(), "tsvm.encode"), job_(arguments(info)),
	      done_(Napi::Promise::Deferred::New(info.Env())), pixels_(Napi::Persistent(info[5].As<Napi::Object>())) {}

	Napi::Promise promise() const { return done_.Promise(); }

	void Execute() override {
		if (!encode(job_, out_)) SetError("this codec cannot hold such an image");
	}
	void OnOK() override { done_.Resolve(handOver(Env(), out_)); }
	void OnError(const Napi::Error &error) override { done_.Reject(error.Value()); }

private:
	Job job_;
	Bytes out_;
	Napi::Promise::Deferred done_;
	/** Keeps the pixels alive. */
	Napi::ObjectReference pixels_;
};

Napi::Value encodeNow(const Napi::CallbackInfo &info) {
	const Job job = arguments(info);
	Bytes out;
	try {
		if (!encode(job, out)) throw Napi::Error::New(info.Env(), "this codec cannot hold such an image");
	} catch (const std::bad_alloc &) {
		throw Napi::Error::New(info.Env(), "out of memory");
	}
	return handOver(info.Env(), out);
}

Napi::Value encodeLater(const Napi::CallbackInfo &info) {
	Worker *worker = new Worker(info);
	Napi::Promise promise = worker->promise();
	worker->Queue();
	return promise;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
	exports.Set("encode", Napi::Function::New(env, encodeNow, "encode"));
	exports.Set("encodeAsync", Napi::Function::New(env, encodeLater, "encodeAsync"));
	exports.Set("discard", Napi::Function::New(env, discard, "discard"));
	exports.Set("punchHole", Napi::Function::New(env, punchHole, "punchHole"));
	exports.Set("lockByte", Napi::Function::New(env, lockByte, "lockByte"));
	exports.Set("byteLocked", Napi::Function::New(env, byteLocked, "byteLocked"));
	registerOpus(env, exports);
	exports.Set("lz4", Napi::Boolean::New(env, haveLz4()));
	return exports;
}

NODE_API_MODULE(tsvm, init)

} // namespace
} // namespace tsvm
