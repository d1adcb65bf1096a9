/** The block device: reads, writes, flushes, discards, zeroes. Virtio 1.2, 5.2. */
import { type BlockImage, RegisterFile, registers, type StateValue, tracePoints } from '../../src/core/index.ts';
import { BlockGuard } from '../block/index.ts';
import { type Geometry, geometryOf, SECTOR } from '../ide/geometry.ts';
import { type Chain, RingError } from './chain.ts';
import { DeviceType, features, type VirtioBus, type VirtioModel } from './virtio.ts';

/** 5.2.3 Feature bits. */
const Feature = {
	segMax: 2,
	geometry: 4,
	readOnly: 5,
	blkSize: 6,
	scsi: 7,
	flush: 9,
	topology: 10,
	configWce: 11,
	discard: 13,
	writeZeroes: 14,
} as const;

/** 5.2.4 Device configuration layout. */
const layout = registers({
	capacity_lo: { at: 0, size: 4, doc: 'sectors of 512 bytes' },
	capacity_hi: { at: 4, size: 4, doc: 'sectors, upper half' },
	size_max: { at: 8, size: 4, doc: 'largest segment; not offered' },
	seg_max: { at: 12, size: 4, doc: 'most segments of a request' },
	cylinders: { at: 16, size: 2, doc: 'geometry for those who need one' },
	heads: { at: 18, size: 1, doc: 'heads' },
	sectors: { at: 19, size: 1, doc: 'sectors a track' },
	blk_size: { at: 20, size: 4, doc: 'logical block, bytes' },
	physical_block_exp: { at: 24, size: 1, doc: 'logical blocks a physical block, log2' },
	alignment_offset: { at: 25, size: 1, doc: 'first aligned logical block' },
	min_io_size: { at: 26, size: 2, doc: 'suggested least transfer, blocks' },
	opt_io_size: { at: 28, size: 4, doc: 'suggested transfer, blocks' },
	writeback: { at: 32, size: 1, w: 0x01, doc: '0: a write is done when it is on stable storage' },
	num_queues: { at: 34, size: 2, reset: 1, doc: 'one' },
	max_discard_sectors: { at: 36, size: 4, doc: 'most sectors of a discard' },
	max_discard_seg: { at: 40, size: 4, doc: 'most ranges of a discard' },
	discard_sector_alignment: { at: 44, size: 4, doc: 'suggested alignment of discards, sectors' },
	max_write_zeroes_sectors: { at: 48, size: 4, doc: 'most sectors of a write-zeroes' },
	max_write_zeroes_seg: { at: 52, size: 4, doc: 'most ranges of a write-zeroes' },
	write_zeroes_may_unmap: { at: 56, size: 1, doc: 'zeroes may be holes' },
});

/** 5.2.6 Device operation: request types and status. */
const Type = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const OK = 0;
const IO_ERROR = 1;
const UNSUPPORTED = 2;

const HEADER = 16;
const RANGE = 16;
const ID_LENGTH = 20;
const QUEUE_SIZE = 256;
/** As QEMU: as many sectors as a length of 31 bits has. */
const MOST_SECTORS = 0x3fffff;
/** Bytes moved at once, requests under way at a time, and bytes moved before the guest runs again. */
const PIECE = 1 << 20;
const MOST_REQUESTS = 32;
const TURN = 4 << 20;
/** WRITE_ZEROES: the range may become a hole. */
const FLAG_UNMAP = 1;

const trace = tracePoints('virtio-blk', {
	request: ['type', 'sector', 'length'],
	done: ['type', 'status'],
	host_error: ['type', 'message'],
});

export interface BlkOptions {
	readonly image: BlockImage;
	/** At most 20 characters. */
	readonly serial?: string;
	readonly readOnly?: boolean;
	/** Bytes; powers of two from 512 on. */
	readonly logicalBlockSize?: number;
	readonly physicalBlockSize?: number;
	readonly minIoSize?: number;
	readonly optIoSize?: number;
}

interface Request {
	readonly chain: Chain;
	readonly type: number;
	/** Byte of the image where it begins, and how many bytes it is about. */
	readonly start: number;
	readonly length: number;
	done: number;
}

/** Whole blocks a track, where cylinders are no whole number of blocks: as QEMU's virtio_blk_update_config. */
function sectorsOfTrack({ size }: BlockImage, { heads, sectors }: Geometry, blockSize: number): number {
	const uneven = Math.floor(size / heads / sectors) % blockSize !== 0;
	return uneven ? sectors - (sectors % (blockSize / SECTOR)) : sectors;
}

export class VirtioBlk implements VirtioModel {
	readonly name = 'virtio-blk';
	readonly type = DeviceType.block;
	readonly classCode = 0x010000;
	readonly features: bigint;
	readonly queueSizes = [QUEUE_SIZE];
	readonly configLength = 57;
	readonly config: RegisterFile<typeof layout>;
	readonly #host: BlockGuard;
	readonly #readOnly: boolean;
	readonly #serial: Uint8Array;
	readonly #blockSize: number;
	readonly #reset: () => void;
	#bus: VirtioBus | undefined;
	/** Requests of a saved state that have not begun anew. */
	#restored: Chain[] = [];
	readonly #active = new Set<Request>();
	/** Those of them in the middle that wait for the next turn. */
	readonly #parked = new Set<Request>();
	#left = TURN;
	#queued = false;
	/** For one piece at a time; others that the host takes its time with get their own. */
	#spare = new Uint8Array(PIECE);
	#lent = false;

	constructor(options: BlkOptions) {
		const { image, logicalBlockSize = SECTOR, physicalBlockSize = logicalBlockSize } = options;
		this.#host = new BlockGuard(image);
		this.#readOnly = options.readOnly === true || image.readOnly;
		this.#serial = new TextEncoder().encode(options.serial ?? '').subarray(0, ID_LENGTH);
		this.#blockSize = logicalBlockSize;
		const { segMax, geometry, readOnly, blkSize, flush, topology, configWce, discard, writeZeroes } = Feature;
		const bits: number[] = [segMax, geometry, blkSize, flush, topology, configWce, discard, writeZeroes];
		if (this.#readOnly) bits.push(readOnly);
		this.features = features(...bits);
		const config = new RegisterFile(layout);
		const shape = geometryOf(image);
		this.config = config;
		this.#reset = () => {
			const sectors = Math.floor(image.size / SECTOR);
			config.capacity_lo = sectors % 2 ** 32;
			config.capacity_hi = Math.floor(sectors / 2 ** 32);
			config.seg_max = QUEUE_SIZE - 2;
			config.cylinders = shape.cylinders;
			config.heads = shape.heads;
			config.sectors = sectorsOfTrack(image, shape, logicalBlockSize);
			config.blk_size = logicalBlockSize;
			config.physical_block_exp = Math.log2(physicalBlockSize / logicalBlockSize);
			config.min_io_size = (options.minIoSize ?? 0) / logicalBlockSize;
			config.opt_io_size = (options.optIoSize ?? 0) / logicalBlockSize;
			config.writeback = 1;
			config.max_discard_sectors = MOST_SECTORS;
			config.max_discard_seg = 1;
			config.discard_sector_alignment = logicalBlockSize / SECTOR;
			config.max_write_zeroes_sectors = MOST_SECTORS;
			config.max_write_zeroes_seg = 1;
			config.write_zeroes_may_unmap = 1;
		};
		this.#reset();
	}

	connect(bus: VirtioBus): void {
		this.#bus = bus;
	}

	kicked(): void {
		this.#pump();
	}

	/** Takes requests as long as there is room for them and time. */
	#pump(): void {
		const queue = this.#bus?.queue(0);
		while (this.#active.size < MOST_REQUESTS) {
			if (this.#left <= 0) {
				this.#nextTurn();
				return;
			}
			const chain = queue?.pop();
			if (!chain) return;
			this.#begin(chain);
		}
	}

	/** Goes on once the guest has run for a while. */
	#nextTurn(): void {
		if (this.#queued) return;
		this.#queued = true;
		this.#bus?.later(() => {
			this.#queued = false;
			this.#left = TURN;
			for (const request of [...this.#active]) if (this.#parked.delete(request)) this.#advance(request);
			this.#pump();
		});
	}

	#begin(chain: Chain): void {
		if (chain.out.length < HEADER) throw new RingError('a request has no header');
		if (chain.in.length < 1) throw new RingError('a request has no room for its status');
		const header = new DataView(chain.out.slice(0, HEADER).buffer);
		const type = header.getUint32(0, true);
		const sector = header.getUint32(8, true) + header.getUint32(12, true) * 2 ** 32;
		trace.request(type, sector, chain.out.length - HEADER + chain.in.length - 1);
		const start = sector * SECTOR;
		switch (type) {
			case Type.in:
				this.#transfer({ chain, type, start, length: chain.in.length - 1, done: 0 });
				break;
			case Type.out:
				if (this.#readOnly) this.#finish(chain, type, IO_ERROR);
				else this.#transfer({ chain, type, start, length: chain.out.length - HEADER, done: 0 });
				break;
			case Type.flush:
				this.#start({ chain, type, start: 0, length: 0, done: 0 });
				break;
			case Type.getId: {
				const id = new Uint8Array(Math.min(ID_LENGTH, chain.in.length - 1));
				id.set(this.#serial.subarray(0, id.length));
				this.#finish(chain, type, OK, chain.in.write(0, id));
				break;
			}
			case Type.discard:
			case Type.writeZeroes:
				this.#range(chain, type);
				break;
			default:
				this.#finish(chain, type, UNSUPPORTED);
		}
	}

	#transfer(request: Request): void {
		const { start, length } = request;
		if (length % this.#blockSize !== 0 || start % this.#blockSize !== 0 || start + length > this.#host.size)
			this.#finish(request.chain, request.type, IO_ERROR);
		else this.#start(request);
	}

	/** 5.2.6: one range of sectors, with flags that each type allows. */
	#range(chain: Chain, type: number): void {
		const range = new DataView(chain.out.slice(HEADER, RANGE).buffer);
		if (range.byteLength < RANGE || chain.out.length !== HEADER + RANGE) {
			this.#finish(chain, type, UNSUPPORTED);
			return;
		}
		const sector = range.getUint32(0, true) + range.getUint32(4, true) * 2 ** 32;
		const count = range.getUint32(8, true);
		const flags = range.getUint32(12, true);
		if (flags & ~(type === Type.writeZeroes ? FLAG_UNMAP : 0)) this.#finish(chain, type, UNSUPPORTED);
		else if (this.#readOnly || count > MOST_SECTORS) this.#finish(chain, type, IO_ERROR);
		else this.#transfer({ chain, type, start: sector * SECTOR, length: count * SECTOR, done: 0 });
	}

	#start(request: Request): void {
		this.#active.add(request);
		this.#advance(request);
	}

	/** Moves a request on until it is done, has to wait for the image, or has had its share of this turn. */
	#advance(request: Request): void {
		while (request.done < request.length) {
			if (this.#left <= 0) {
				this.#parked.add(request);
				this.#nextTurn();
				return;
			}
			const size = request.type === Type.discard ? request.length : Math.min(PIECE, request.length - request.done);
			if (!this.#piece(request, size)) return;
		}
		const write = request.type === Type.out || request.type === Type.writeZeroes;
		if (request.type === Type.flush || (write && !this.#writeback)) {
			this.#await(request, this.#host.flush(), () => this.#complete(request, OK));
		} else {
			this.#complete(request, OK);
		}
	}

	/** Moves `size` bytes; false when that goes on and the request with it. */
	#piece(request: Request, size: number): boolean {
		const { chain, type } = request;
		const at = request.start + request.done;
		this.#left -= type === Type.discard ? 0 : size;
		const step = () => {
			request.done += size;
		};
		if (type === Type.discard) return this.#await(request, this.#host.discard(at, size), step);
		const borrowed = !this.#lent;
		this.#lent = true;
		const bytes = borrowed ? this.#spare.subarray(0, size) : new Uint8Array(size);
		const back = () => {
			if (borrowed) this.#lent = false;
		};
		if (type === Type.in) {
			return this.#await(
				request,
				this.#host.read(at, bytes),
				() => {
					chain.in.write(request.done, bytes);
					step();
				},
				back,
			);
		}
		if (type === Type.out) chain.out.read(HEADER + request.done, bytes);
		else bytes.fill(0);
		return this.#await(request, this.#host.write(at, bytes), step, back);
	}

	/** Does `then` once the image is ready; true if that was at once. `back` follows, also when the image fails. */
	#await(request: Request, work: Promise<void> | undefined, then: () => void, back: () => void = () => {}): boolean {
		if (!work) {
			then();
			back();
			return true;
		}
		work.then(
			() =>
				this.#resume(request, () => {
					then();
					back();
					if (this.#active.has(request)) this.#advance(request);
				}),
			(error: unknown) => {
				trace.host_error(request.type, error instanceof Error ? error.message : String(error));
				this.#resume(request, () => {
					back();
					this.#complete(request, IO_ERROR);
				});
			},
		);
		return false;
	}

	/** The image has answered: at a place where guest memory may be touched, and if the guest still waits for it. */
	#resume(request: Request, then: () => void): void {
		this.#bus?.host.defer(() => {
			if (this.#active.has(request)) this.#bus?.run(then);
		});
	}

	#complete(request: Request, status: number): void {
		this.#active.delete(request);
		const written = request.type === Type.in && status === OK ? request.length : 0;
		this.#finish(request.chain, request.type, status, written);
		// Room for another one, unless pump() is what called us.
		if (this.#active.size === MOST_REQUESTS - 1) this.#nextTurn();
	}

	/** The status is the last byte that the device writes, `written` bytes come before. */
	#finish(chain: Chain, type: number, status: number, written = 0): void {
		trace.done(type, status);
		chain.in.write(chain.in.length - 1, Uint8Array.of(status));
		this.#bus?.queue(0).push(chain, written + 1);
	}

	/** 5.2.5: a driver that does not know of flushes must not need them. */
	get #writeback(): boolean {
		const bus = this.#bus;
		return bus?.has(Feature.configWce) ? this.config.writeback !== 0 : bus?.has(Feature.flush) === true;
	}

	started(): void {}

	queueReset(): void {
		this.#forget();
	}

	reset(): void {
		this.#forget();
		this.config.reset();
		this.#reset();
	}

	#forget(): void {
		// The host may still be at work on what it was lent.
		if (this.#host.abandon()) this.#spare = new Uint8Array(PIECE);
		this.#lent = false;
		this.#active.clear();
		this.#restored = [];
		this.#parked.clear();
		this.#queued = false;
		this.#left = TURN;
	}

	save() {
		return {
			writeback: this.config.writeback,
			requests: [...this.#restored, ...[...this.#active].map(({ chain }) => chain)].map((chain) =>
				chain.save(),
			) as StateValue[],
		};
	}

	/** Requests that were under way begin anew: doing a part of one twice changes nothing. */
	restore(state: { readonly [key: string]: StateValue | undefined }): void {
		const saved = state as ReturnType<VirtioBlk['save']>;
		this.config.writeback = saved.writeback;
		const bus = this.#bus;
		if (!bus) return;
		this.#restored = saved.requests.map((request) => bus.queue(0).adopt(request));
		bus.later(() => {
			for (const chain of this.#restored.splice(0)) this.#begin(chain);
		});
	}
}
