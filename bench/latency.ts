/**
 * How long sockets and timers wait while a guest does each device what that can bear worst, ms.
 * Usage: npm run bench:latency [-- SECONDS [WORD]]
 */
import { HARMS } from '../test/helpers/harm/harms.ts';
import { HarmLab } from '../test/helpers/harm/lab.ts';

const seconds = Number(process.argv[2] ?? 3);
const word = process.argv[3] ?? '';
const lab = await HarmLab.start();
console.log('    p50     p99     max');
for (const [letter, name] of Object.entries(HARMS)) {
	if (!name.includes(word)) continue;
	const { p50, p99, max } = await lab.measure(letter, seconds * 1000);
	console.log(`${[p50, p99, max].map((ms) => ms.toFixed(1).padStart(7)).join(' ')}  ${name}`);
}
await lab.stop();
process.exit();
