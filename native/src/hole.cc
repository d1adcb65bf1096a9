// punchHole(fd, offset, length): gives the host back the room that a range of a file takes; it reads as zeros afterwards
// and the file keeps its size. A promise of 0, or of the errno; ENOSYS where the system has no such call.

#include <napi.h>

#include <cerrno>
#include <cstdint>

#if defined(__linux__)
#include <algorithm>
#include <fcntl.h>
#endif

namespace tsvm {

namespace {

/** Largest exact integer of JavaScript, 2^53 - 1. */
constexpr double kMaxSafe = 9007199254740991.0;

#if defined(__linux__)
/** The file is locked against writers meanwhile, on whose thread the guest runs, so not for long at a time. */
constexpr int64_t kPiece = int64_t{16} << 20;

int punch(int fd, int64_t offset, int64_t length) {
	const int64_t end = offset + length;
	while (offset < end) {
		// Pieces end at multiples of their size: only the ends of the whole range can lie within a block.
		const int64_t next = std::min(end, (offset / kPiece + 1) * kPiece);
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, next - offset) == 0)
			offset = next;
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}
#else
int punch(int, int64_t, int64_t) { return ENOSYS; }
#endif

class Punch : public Napi::AsyncWorker {
public:
	Punch(Napi::Env env, int fd, int64_t offset, int64_t length)
	    : Napi::AsyncWorker(env, "tsvm.punchHole"), fd_(fd), offset_(offset), length_(length),
	      done_(Napi::Promise::Deferred::New(env)) {}

	Napi::Promise promise() const { return done_.Promise(); }

	void Execute() override { error_ = punch(fd_, offset_, length_); }
	void OnOK() override { done_.Resolve(Napi::Number::New(Env(), error_)); }

private:
	int fd_;
	int64_t offset_;
	int64_t length_;
	int error_ = 0;
	Napi::Promise::Deferred done_;
};

} // namespace

Napi::Value punchHole(const Napi::CallbackInfo &info) {
	const Napi::Env env = info.Env();
	if (!info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsNumber())
		throw Napi::TypeError::New(env, "punchHole takes three numbers");
	const double fd = info[0].As<Napi::Number>().DoubleValue();
	const double offset = info[1].As<Napi::Number>().DoubleValue();
	const double length = info[2].As<Napi::Number>().DoubleValue();
	// Written so that NaN fails as well.
	if (!(fd >= 0 && fd <= INT32_MAX && offset >= 0 && length > 0 && offset + length <= kMaxSafe))
		throw Napi::RangeError::New(env, "no such range of a file");
	Punch *worker = new Punch(env, static_cast<int>(fd), static_cast<int64_t>(offset), static_cast<int64_t>(length));
	Napi::Promise promise = worker->promise();
	worker->Queue();
	return promise;
}

} // namespace tsvm
