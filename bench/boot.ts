/**
 * Process start to the guest's serial marker, tsvm and QEMU TCG in turn: the same kernel, initramfs and devices.
 * Usage: npm run bench:boot [-- RUNS]
 */
import { buildImage } from '../images/index.ts';
import { end, type Guest, quantile, startQemu, startTsvm, untilMarker } from './peer.ts';

const runs = Number(process.argv[2] ?? 5);
const image = await buildImage('debian-mini', { progress: (line) => console.error(line) });
if (image.kernel === undefined || image.initrd === undefined) throw new Error('debian-mini has no kernel');
const guest: Guest = { kernel: image.kernel, initrd: image.initrd, append: image.append, memoryMiB: 256 };

const markers = ['TSVM-BOOT-OK', 'TSVM-SHELL-READY'];
const seconds: Record<'tsvm' | 'qemu', Record<string, number[]>> = { tsvm: {}, qemu: {} };
for (let run = 0; run < runs; run++) {
	for (const who of ['qemu', 'tsvm'] as const) {
		const child = who === 'qemu' ? startQemu(guest, 5931) : startTsvm(guest, 5932);
		const times = await Promise.all(markers.map((marker) => untilMarker(child, marker)));
		await end(child);
		markers.forEach((marker, i) => {
			seconds[who][marker] ??= [];
			seconds[who][marker].push(times[i]);
		});
		console.log(`${who}: ${markers.map((marker, i) => `${marker} ${times[i].toFixed(2)} s`).join(', ')}`);
	}
}
for (const marker of markers) {
	const [tsvm, qemu] = [quantile(seconds.tsvm[marker], 0.5), quantile(seconds.qemu[marker], 0.5)];
	console.log(
		`${marker}: tsvm ${tsvm.toFixed(2)} s, QEMU TCG ${qemu.toFixed(2)} s, ratio ${(tsvm / qemu).toFixed(2)} (medians of ${runs})`,
	);
}
