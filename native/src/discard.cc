// discard(buffer, offset, length): gives the host back the whole pages inside the range; they read as zeros afterwards.
// Returns how many bytes that were. Only for private anonymous memory, such as WebAssembly's; 0 where the system cannot.

#include <napi.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace tsvm {

Napi::Value discard(const Napi::CallbackInfo &info) {
	const Napi::Env env = info.Env();
	if (!info[0].IsArrayBuffer() || !info[1].IsNumber() || !info[2].IsNumber())
		throw Napi::TypeError::New(env, "discard takes an ArrayBuffer and two numbers");
	Napi::ArrayBuffer buffer = info[0].As<Napi::ArrayBuffer>();
	const double offset = info[1].As<Napi::Number>().DoubleValue();
	const double length = info[2].As<Napi::Number>().DoubleValue();
	// Written so that NaN fails as well.
	if (!(offset >= 0 && length >= 0 && offset + length <= static_cast<double>(buffer.ByteLength())))
		throw Napi::RangeError::New(env, "the range leaves the buffer");
#if defined(__linux__)
	const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
	const uintptr_t base = reinterpret_cast<uintptr_t>(buffer.Data());
	const uintptr_t first = (base + static_cast<uintptr_t>(offset) + page - 1) / page * page;
	const uintptr_t end = (base + static_cast<uintptr_t>(offset) + static_cast<uintptr_t>(length)) / page * page;
	if (first < end && madvise(reinterpret_cast<void *>(first), end - first, MADV_DONTNEED) == 0)
		return Napi::Number::New(env, static_cast<double>(end - first));
#endif
	return Napi::Number::New(env, 0);
}

} // namespace tsvm
