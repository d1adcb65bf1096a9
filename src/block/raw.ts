/**
 * Raw disk and CD images: a file or a host block device, byte for byte what the guest sees. Reads and writes go
 * through the host's page cache and finish at once; a flush is fdatasync and takes its time.
 */
import * as fs from 'node:fs';
import { open } from 'node:fs/promises';
import { type BlockImage, TsvmError } from '../core/index.ts';
import { readAt, writeAt } from './file-io.ts';
import { type ImageLock, lockImage } from './lock.ts';
import { foreignFormat } from './probe.ts';

const SECTOR = 512;

export interface RawOptions {
	/** Neither the guest nor tsvm writes to the file. */
	readonly readOnly?: boolean;
	/** What it is for, as error messages call it; `disk` if left out. */
	readonly what?: string;
	/** Take the file as raw even if it begins like another format. */
	readonly force?: boolean;
}

/**
 * Opens an image and locks it: one writer, or any number of readers. Rejects with TsvmError and one line that helps
 * when the file is missing, empty, a directory, not permitted, in another format or in use.
 */
export async function openRaw(path: string, options: RawOptions = {}): Promise<BlockImage> {
	const { readOnly = false, what = 'disk', force = false } = options;
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
		return new RawImage(handle.fd, size, readOnly, async () => {
			await handle.close();
			await lock?.release();
		});
	} catch (error) {
		await lock?.release();
		await handle.close();
		throw error;
	}
}

class RawImage implements BlockImage {
	/** The guest sees whole sectors; what is missing of the last one reads as zeros. */
	readonly size: number;
	readonly readOnly: boolean;
	readonly #fd: number;
	readonly #close: () => Promise<void>;
	#closed: Promise<void> | undefined;
	/** Flushes under way: the file is not closed under them. */
	readonly #flushes = new Set<Promise<void>>();

	constructor(fd: number, size: number, readOnly: boolean, close: () => Promise<void>) {
		this.#fd = fd;
		this.size = Math.ceil(size / SECTOR) * SECTOR;
		this.readOnly = readOnly;
		this.#close = close;
	}

	read(offset: number, into: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		return readAt(this.#fd, offset, into);
	}

	write(offset: number, from: Uint8Array): Promise<void> | undefined {
		if (this.#closed) return Promise.reject(closedError());
		return writeAt(this.#fd, offset, from);
	}

	flush(): Promise<void> | undefined {
		if (this.readOnly) return undefined;
		if (this.#closed) return Promise.reject(closedError());
		const flush = new Promise<void>((resolve, reject) => {
			fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve()));
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
		this.#closed ??= Promise.all(this.#flushes).then(() => this.#close());
		return this.#closed;
	}
}

/** The number of a closed file may already be another file's. */
export function closedError(): Error {
	return Object.assign(new Error('image is closed'), { code: 'EBADF' });
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
