/**
 * Locks on an image that QEMU, qemu-img and their kin see, and theirs that we see. Each user of a file holds read locks on
 * single bytes: one for each thing that it does, and one for each thing that nobody else may do. Then it looks whether
 * another holds the counterpart of one of its own. QEMU 7.2, block/file-posix.c, raw_handle_perm_lock; the bytes need not
 * be there. The kernel drops the locks when the file is closed, however the process ends.
 */
import { TsvmError } from '../core/index.ts';

/** native/src/lock.cc. */
export interface ByteLocks {
	/** Takes a read lock. Returns 0 or the errno. */
	lockByte(fd: number, offset: number): number;
	/** 1 if another holds a lock there, 0 if none, or minus the errno. */
	byteLocked(fd: number, offset: number): number;
}

/** RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE. */
const DOES = 100;
const FORBIDS = 200;
/** BLK_PERM_*, as bit numbers: include/block/block-common.h. */
const Permission = { consistentRead: 0, write: 1, resize: 3 } as const;
const { consistentRead, write, resize } = Permission;
/** As a device of QEMU's whose image is not shared. */
const READER = [consistentRead];
const WRITER = [consistentRead, write];
const NOT_SHARED = [write, resize];

/**
 * Locks an open image; closing the file lets go of it. Throws TsvmError when another uses it in a way that does not go
 * with ours. Returns false where the file system knows no such locks.
 */
export function lockAgainstQemu(locks: ByteLocks, fd: number, readOnly: boolean, path: string, what: string): boolean {
	const does = readOnly ? READER : WRITER;
	// All locks are there before the first look at others': of two at once at least one sees the other.
	for (const offset of [...does.map((bit) => DOES + bit), ...NOT_SHARED.map((bit) => FORBIDS + bit)])
		if (locks.lockByte(fd, offset) !== 0) return false;
	const others = [...does.map((bit) => FORBIDS + bit), ...NOT_SHARED.map((bit) => DOES + bit)];
	if (others.every((offset) => locks.byteLocked(fd, offset) <= 0)) return true;
	throw new TsvmError(
		'image-in-use',
		`${what} ${path} is in use by another program, such as QEMU`,
		readOnly ? 'end the one that writes to it first' : 'end that one first, or make a copy',
	);
}
