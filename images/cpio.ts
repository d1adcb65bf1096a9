/** Writes an initramfs archive, "newc" format. Linux Documentation/driver-api/early-userspace/buffer-format.rst. */

interface Entry {
	readonly path: string;
	readonly mode: number;
	readonly content: Uint8Array;
}

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/** Same entries, same bytes: sorted by path, owned by root, times zero. */
export class Cpio {
	readonly #entries = new Map<string, Entry>();

	/** Parents are made as needed. Paths are relative, with `/` between parts. */
	folder(path: string, mode = 0o755): this {
		this.#add(path, S_IFDIR | mode, new Uint8Array(0));
		return this;
	}
	file(path: string, content: Uint8Array | string, mode = 0o644): this {
		this.#add(path, S_IFREG | mode, typeof content === 'string' ? new TextEncoder().encode(content) : content);
		return this;
	}
	link(path: string, target: string): this {
		this.#add(path, S_IFLNK | 0o777, new TextEncoder().encode(target));
		return this;
	}

	bytes(): Uint8Array {
		const entries = [...this.#entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
		const parts: Uint8Array[] = [];
		entries.forEach((entry, i) => {
			parts.push(...record(entry, i + 1));
		});
		parts.push(...record({ path: 'TRAILER!!!', mode: 0, content: new Uint8Array(0) }, 0));
		const size = parts.reduce((n, p) => n + p.length, 0);
		parts.push(new Uint8Array((512 - (size % 512)) % 512));
		return Buffer.concat(parts);
	}

	#add(path: string, mode: number, content: Uint8Array): void {
		const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
		if (parent && !this.#entries.has(parent)) this.folder(parent);
		this.#entries.set(path, { path, mode, content });
	}
}

function record({ path, mode, content }: Entry, inode: number): Uint8Array[] {
	const name = new TextEncoder().encode(`${path}\0`);
	// inode, mode, uid, gid, links, mtime, size, device major and minor, rdev major and minor, name size, checksum
	const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
	const head = `070701${fields.map((v) => v.toString(16).padStart(8, '0')).join('')}`;
	const pad = (n: number) => new Uint8Array((4 - (n % 4)) % 4);
	return [new TextEncoder().encode(head), name, pad(head.length + name.length), content, pad(content.length)];
}
