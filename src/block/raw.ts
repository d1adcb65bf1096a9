/**
 * Raw disk and CD images: a file or a host block device, byte for byte what the guest sees. Reads and writes go
 * through the host's page cache and finish at once; a flush is fdatasync and takes its time, and so does a discard.
 */
import * as fs from 'node:fs';
import { open } from 'node:fs/promises';
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { type BlockImage, TsvmError } from '../core/index.ts';
import { readAt, writeAt } from './file-io.ts';
import { type ImageLock, lockImage } from './lock.ts';
import { foreignFormat } from './probe.ts';
import { type ByteLocks, lockAgainstQemu } from './qemu-lock.ts';
import { RangeQueue } from './ranges.ts';

const SECTOR = 512;
/** Discards that wait: the specifications let a disk ignore those beyond, and a guest cannot pile them up. */
const MOST_WAITING = 256;
/** A file system that knows no holes. QEMU 7.2, block/file-posix.c, translate_err, has the same list. */
const { EOPNOTSUPP, ENOSYS, ENODEV, ENOTTY } = constants.errno;
const NO_HOLES = [EOPNOTSUPP, ENOSYS, ENODEV, ENOTTY];

/** Gives back the room that a range of an open file takes; resolves to 0 or to the errno. native/src/hole.cc. */
export type PunchHole = (fd: number, offset: number, length: number) => Promise<number>;

export interface RawOptions {
	/** Neither the guest nor tsvm writes to the file. */
	readonly readOnly?: boolean;
	/** What it is for, as error messages call it; `disk` if left out. */
	readonly what?: string;
	/** Take the file as raw even if it begins like another format. */
	readonly force?: boolean;
	/** What a guest discards in a file goes back to the host by this; without it discards are ignored. */
	readonly punchHole?: PunchHole;
	/** Keeps QEMU off the image and us off QEMU's; without it only other tsvm see that it is in use. */
	readonly byteLocks?: ByteLocks;
	/** Gets one line when the file system cannot do one of the two. */
	readonly warn?: (line: string) => void;
}

/**
 * Opens an image and locks it: one writer, or any number of readers. Rejects with TsvmError and one line that helps
 * when the file is missing, empty, a directory, not permitted, in another format or in use.
 */
export async function openRaw(path: string, options: RawOptions = {}): Promise<BlockImage> {
	const { readOnly = false, what = 'disk', force = false, punchHole, byteLocks, warn } = options;
	// Without O_NONBLOCK a named pipe would keep us waiting for its other end.
	const flags = (readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR) | fs.constants.O_NONBLOCK;
	const handle = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
		throw cannotOpen(path, what, readOnly, error);
	});
	let lock: ImageLock | undefined;
	try {
		const stat = await handle.stat();
		if (stat.isDirectory())
			throw new TsvmError('image-directory', `${what} ${path} is a directory`, 'give a disk image file');
		if (!stat.isFile() && !stat.isBlockDevice())
			throw new TsvmError(
				'image-kind',
				`${what} ${path} is neither a file nor a block device`,
				'give a disk image file',
			);
		const size = stat.isBlockDevice() ? deviceSize(stat.rdev) : stat.size;
		if (size === 0) throw new TsvmError('image-empty', `${what} ${path} is empty`, emptyHint(path, readOnly));
		const head = new Uint8Array(SECTOR);
		fs.readSync(handle.fd, head, 0, SECTOR, 0);
		const format = force ? undefined : foreignFormat(head);
		if (format)
			throw new TsvmError(
				'image-format',
				`${what} ${path} is a ${format} image`,
				`convert it: qemu-img convert -O raw ${path} disk.img`,
			);
		const identity = stat.isBlockDevice() ? `b${stat.rdev}` : `${stat.dev}-${stat.ino}`;
		lock = await lockImage(identity, readOnly, path, what);
		if (byteLocks && !lockAgainstQemu(byteLocks, handle.fd, readOnly, path, what))
			warn?.(`${what} ${path}: its file system knows no locks, QEMU does not see that it is in use`);
		return new RawImage({
			fd: handle.fd,
			size,
			readOnly,
			punchHole: stat.isFile() && !readOnly ? punchHole : undefined,
			noHoles: () => warn?.(`${what} ${path}: its file system keeps what is discarded, discard=unmap does nothing`),
			close: async () => {
				await handle.close();
				await lock?.release();
			},
		});
	} catch (error) {
		await lock?.release();
		await handle.close();
		throw error;
	}
}

interface OpenFile {
	readonly fd: number;
	/** Bytes. */
	readonly size: number;
	readonly readOnly: boolean;
	readonly punchHole: PunchHole | undefined;
	/** The file system has turned out to know no holes. */
	readonly noHoles: () => void;
	readonly close: () => Promise<void>;
}

class RawImage implements BlockImage {
	/** The guest sees whole sectors; what is missing of the last one reads as zeros. */
	readonly size: number;
	readonly readOnly: boolean;
	readonly discard: BlockImage['discard'];
	readonly #fd: number;
	readonly #noHoles: () => void;
	readonly #close: () => Promise<void>;
	#closed: Promise<void> | undefined;
	/** Flushes under way: the file is not closed under them. */
	readonly #flushes = new Set<Promise<void>>();
	/**
	 * After a flush that failed the kernel may take pages for written that are not, and say so no more: what was written
	 * since the flush before cannot be known to be there. QEMU 7.2, block/file-posix.c, handle_aiocb_flush.
	 */
	#flushFailed = false;
	/**
	 * Discards under way. A hole is punched on another thread, for a large one takes long; a write into its range that
	 * the guest asks for meanwhile waits, so that it is not the one that goes.
	 */
	readonly #discards = new RangeQueue();
	/** The last of them: they run one by one, since the host locks the file for each, and threads are few. */
	#punched: Promise<void> = Promise.resolve();
	#holes = true;

	constructor({ fd, size, readOnly, punchHole, noHoles, close }: OpenFile) {
		this.#fd = fd;
		this.size = Math.ceil(size / SECTOR) * SECTOR;
		this.readOnly = readOnly;
		this.discard = punchHole && ((offset, length) => this.#discard(punchHole, offset, length));
		this.#noHoles = noHoles;
		this.#close = close;
	}

	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		return readAt(this.#fd, offset, into);
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		if (!this.#discards.busy(offset, from.length)) return writeAt(this.#fd, offset, from);
		return this.#discards.run(offset, from.length, () => writeAt(this.#fd, offset, from));
	}

	flush(): Promise<void> | undefined {
		if (this.readOnly) return undefined;
		if (this.#closed) return Promise.reject(closedError());
		if (this.#flushFailed) return Promise.reject(flushError());
		const flush = new Promise<void>((resolve, reject) => {
			fs.fdatasync(this.#fd, (error) => {
				if (!error) resolve();
				else {
					this.#flushFailed = true;
					reject(error);
				}
			});
		});
		const settled = flush
			.catch(() => {})
			.then(() => {
				this.#flushes.delete(settled);
			});
		this.#flushes.add(settled);
		return flush;
	}

	close(): Promise<void> {
		this.#closed ??= Promise.all([...this.#flushes, this.#discards.drained()]).then(() => this.#close());
		return this.#closed;
	}

	#discard(punchHole: PunchHole, offset: number, length: number): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		// Written so that NaN fails as well.
		if (!(offset >= 0 && length >= 0 && offset + length <= this.size))
			return Promise.reject(Object.assign(new RangeError('discard outside the image'), { code: 'EINVAL' }));
		if (length === 0 || !this.#holes || this.#discards.size >= MOST_WAITING) return undefined;
		const before = this.#punched;
		const work = this.#discards.run(offset, length, async () => {
			await before;
			if (this.#holes) this.#judge(await punchHole(this.#fd, offset, length));
		});
		this.#punched = work.catch(() => {});
		return work;
	}

	/** `errno` as punching a hole gave it. */
	#judge(errno: number): void {
		if (errno === 0) return;
		if (!NO_HOLES.includes(errno)) {
			const [code, words] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown error'];
			throw Object.assign(new Error(`${code}: ${words}, discard`), { code });
		}
		this.#holes = false;
		this.#noHoles();
	}
}

/** The number of a closed file may already be another file's. */
export function closedError(): Error {
	return Object.assign(new Error('image is closed'), { code: 'EBADF' });
}

function flushError(): Error {
	return Object.assign(new Error('an earlier flush failed, what it was to write may be lost'), { code: 'EIO' });
}

/** Bytes of a host block device. Linux: include/linux/kdev_t.h for the number, /sys/dev/block/MAJ:MIN/size in sectors. */
function deviceSize(rdev: number): number {
	const low = rdev % 2 ** 32;
	const major = (low >>> 8) & 0xfff;
	const minor = (low & 0xff) | ((low >>> 12) & 0xfff00);
	const sectors = Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8'));
	return sectors * SECTOR;
}

function cannotOpen(path: string, what: string, readOnly: boolean, error: NodeJS.ErrnoException): TsvmError {
	switch (error.code) {
		case 'ENOENT':
			return new TsvmError('image-missing', `${what} ${path} does not exist`, 'check the path');
		case 'EISDIR':
			return new TsvmError('image-directory', `${what} ${path} is a directory`, 'give a disk image file');
		case 'EACCES':
		case 'EPERM':
		case 'EROFS':
			return new TsvmError(
				'image-permission',
				`${what} ${path} cannot be opened for ${readOnly ? 'reading' : 'writing'}: permission denied`,
				readOnly ? 'check its permissions' : 'check its permissions, or use --snapshot to leave it untouched',
			);
		default:
			return new TsvmError('image-open', `${what} ${path} cannot be opened: ${error.message}`);
	}
}

function emptyHint(path: string, readOnly: boolean): string {
	return readOnly ? 'give a file with content' : `give it a size first: truncate -s 4G ${path}`;
}
