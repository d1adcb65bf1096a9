/** Shell commands for debian-desktop that end its SPICE agent and start it again. */

/** The agent of the system, and that of the desktop's user. */
export const START_AGENT = [
	'spice-vdagentd -X; sleep 0.3',
	'setpriv --reuid 1000 --regid 1000 --clear-groups env -i HOME=/home/demo PATH=/usr/bin:/bin DISPLAY=:0 ' +
		'XAUTHORITY=/home/demo/.Xauthority XDG_RUNTIME_DIR=/run/user/1000 spice-vdagent',
].join('; ');
/** Returns when both are gone: the second ends with the first. */
export const STOP_AGENT = 'pkill -x spice-vdagentd; while pgrep -x "spice-vdagent(d)?" >/dev/null; do sleep 0.1; done';
