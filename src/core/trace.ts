/**
 * Named trace points. Off, a point costs one property test and a call with no allocation at the call site;
 * `trace.start(bdbar, lvi)` takes its arguments as they are and names them only when somebody listens.
 */

export type TraceValue = number | bigint | string | boolean;
export interface TraceEvent {
	readonly device: string;
	readonly event: string;
	readonly fields: Readonly<Record<string, TraceValue>>;
}
export type TraceListener = (event: TraceEvent) => void;
type Values<F extends readonly string[]> = F extends readonly [string, ...infer R extends readonly string[]]
	? [TraceValue, ...Values<R>]
	: [];
export type TracePoints<T extends Record<string, readonly string[]>> = {
	readonly [K in keyof T]: (...values: Values<T[K]>) => void;
};

interface Point {
	readonly device: string;
	readonly event: string;
	readonly fields: readonly string[];
	listeners: readonly TraceListener[];
}
interface Subscription {
	readonly matches: (name: string) => boolean;
	readonly listener: TraceListener;
}

const points: Point[] = [];
const subscriptions = new Set<Subscription>();

/** Declares the trace points of one device; each is named `device.event` for --trace. */
export function tracePoints<const T extends Record<string, readonly string[]>>(
	device: string,
	events: T,
): TracePoints<T> {
	const out: Record<string, (...values: TraceValue[]) => void> = {};
	for (const [event, fields] of Object.entries(events)) {
		const point: Point = { device, event, fields, listeners: listenersFor(`${device}.${event}`) };
		points.push(point);
		out[event] = (...values) => {
			if (point.listeners.length > 0) emit(point, values);
		};
	}
	return out as TracePoints<T>;
}

/** Listens to every point, present or declared later, whose `device.event` name matches. Returns the way to stop. */
export function listenTrace(matches: (name: string) => boolean, listener: TraceListener): () => void {
	const subscription: Subscription = { matches, listener };
	subscriptions.add(subscription);
	refresh();
	return () => {
		subscriptions.delete(subscription);
		refresh();
	};
}

/** Names of all points declared so far, as `device.event`. */
export function traceNames(): string[] {
	return [...new Set(points.map((p) => `${p.device}.${p.event}`))].sort();
}

function listenersFor(name: string): TraceListener[] {
	return [...subscriptions].filter((s) => s.matches(name)).map((s) => s.listener);
}

function refresh(): void {
	for (const point of points) point.listeners = listenersFor(`${point.device}.${point.event}`);
}

function emit(point: Point, values: readonly TraceValue[]): void {
	const fields: Record<string, TraceValue> = {};
	for (let i = 0; i < point.fields.length; i++) fields[point.fields[i]] = values[i];
	const event: TraceEvent = { device: point.device, event: point.event, fields };
	for (const listener of point.listeners) listener(event);
}

/** A guest's mistake, worth one clear line in the log: `guestError('qxl', 'memslot 9 does not exist')`. */
const guestErrors = tracePoints('guest', { error: ['device', 'message'] });
export function guestError(device: string, message: string): void {
	guestErrors.error(device, message);
}
