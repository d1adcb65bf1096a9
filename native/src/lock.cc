// Locks on single bytes of an open file, tied to its open file description: fcntl(2), "Open file description locks".
// QEMU and others of its family say by them what they do with an image. Both calls answer at once.
// lockByte(fd, offset): a read lock. 0, or the errno; ENOSYS where the system has no such locks.
// byteLocked(fd, offset): 1 if another open file description holds any lock there, 0 if none, or minus the errno.

#include <napi.h>

#include <cerrno>
#include <cstdint>

#include <fcntl.h>

namespace tsvm {

namespace {

struct Place {
	int fd;
	int64_t offset;
};

/** Largest exact integer of JavaScript, 2^53 - 1. */
constexpr double kMaxSafe = 9007199254740991.0;

Place arguments(const Napi::CallbackInfo &info) {
	if (!info[0].IsNumber() || !info[1].IsNumber()) throw Napi::TypeError::New(info.Env(), "a number is missing");
	const double fd = info[0].As<Napi::Number>().DoubleValue();
	const double offset = info[1].As<Napi::Number>().DoubleValue();
	// Written so that NaN fails as well.
	if (!(fd >= 0 && fd <= INT32_MAX && offset >= 0 && offset < kMaxSafe))
		throw Napi::RangeError::New(info.Env(), "no such byte of a file");
	return {static_cast<int>(fd), static_cast<int64_t>(offset)};
}

#if defined(F_OFD_SETLK)
struct flock oneByte(short type, int64_t offset) {
	struct flock lock = {};
	lock.l_type = type;
	lock.l_whence = SEEK_SET;
	lock.l_start = offset;
	lock.l_len = 1;
	return lock;
}

int lock(const Place &place) {
	struct flock request = oneByte(F_RDLCK, place.offset);
	return fcntl(place.fd, F_OFD_SETLK, &request) == 0 ? 0 : errno;
}

int locked(const Place &place) {
	// A write lock would conflict with any.
	struct flock request = oneByte(F_WRLCK, place.offset);
	if (fcntl(place.fd, F_OFD_GETLK, &request) != 0) return -errno;
	return request.l_type == F_UNLCK ? 0 : 1;
}
#else
int lock(const Place &) { return ENOSYS; }
int locked(const Place &) { return -ENOSYS; }
#endif

} // namespace

Napi::Value lockByte(const Napi::CallbackInfo &info) {
	return Napi::Number::New(info.Env(), lock(arguments(info)));
}

Napi::Value byteLocked(const Napi::CallbackInfo &info) {
	return Napi::Number::New(info.Env(), locked(arguments(info)));
}

} // namespace tsvm
