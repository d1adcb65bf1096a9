/** The agent as a pointer, from the client's inputs channel to the agent's messages, and the mouse mode that follows. */
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { decode, type Head, type Infer, MouseButton } from '../../src/core/index.ts';
import { type AbsolutePointer, Inputs } from '../../src/machine/inputs.ts';
import { AgentButton, AgentCap, AgentMessage, MouseState } from '../../src/spice/agent/messages.ts';
import { AgentPointer } from '../../src/spice/agent/pointer.ts';
import { SpiceVmc } from '../../src/spice/agent/spicevmc.ts';
import type { Screen } from '../../src/spice/mouse.ts';
import { ChannelType, MouseMode } from '../../src/spice/protocol/constants.ts';
import { inputs as spec } from '../../src/spice/protocol/inputs.ts';
import { main } from '../../src/spice/protocol/main.ts';
import { announcement, FakeGuest } from '../helpers/agent-ends.ts';
import { SpiceClient } from '../helpers/spice-client.ts';
import { serve, until } from './support.ts';

const head = (id: number, x: number, y: number, width: number, height: number): Head => ({
	...{ id, x, y, width, height },
	surfaceId: 0,
	flags: 0,
});
/** The second monitor stands left of the first and is smaller. */
const TWO_HEADS: Screen = {
	width: 2224,
	height: 900,
	heads: [head(0, 1024, 0, 1200, 900), head(1, 0, 0, 1024, 768)],
};

function pointer(screen?: Screen) {
	const states: Infer<typeof MouseState>[] = [];
	return {
		states,
		pointer: new AgentPointer(
			(state) => states.push(state),
			() => screen,
		),
	};
}

test('buttons are told by the names that the agent has for them', (t) => {
	const { states, pointer: agent } = pointer({ width: 800, height: 600, heads: [] });
	const names = ['left', 'middle', 'right', 'side', 'extra'] as const;
	for (const name of names) agent.position(1, 2, 800, 600, 0, MouseButton[name]);
	t.deepEqual(
		states,
		names.map((name) => ({ x: 1, y: 2, buttons: AgentButton[name], displayId: 0 })),
	);
	states.length = 0;
	agent.position(1, 2, 800, 600, 0, MouseButton.left | MouseButton.extra);
	t.is(states[0].buttons, AgentButton.left | AgentButton.extra);
});

test('a click of the wheel is a button pressed and let go, with the others held; a flood of clicks has an end', (t) => {
	const { states, pointer: agent } = pointer({ width: 800, height: 600, heads: [] });
	const { left, up, down } = AgentButton;
	agent.position(5, 5, 800, 600, -1, 0);
	agent.position(5, 5, 800, 600, 2, MouseButton.left);
	t.deepEqual(
		states.map(({ buttons }) => buttons),
		[up, 0, left | down, left, left | down, left],
	);
	states.length = 0;
	agent.position(5, 5, 800, 600, 1e9, 0);
	t.true(states.length > 0 && states.length <= 64);
});

test('places are those of the head that shows them, or of the nearest one', (t) => {
	const { states, pointer: agent } = pointer(TWO_HEADS);
	const at = (x: number, y: number) => {
		agent.position(x, y, TWO_HEADS.width, TWO_HEADS.height, 0, 0);
		const state = states.pop();
		return [state?.displayId, state?.x, state?.y];
	};
	t.deepEqual(at(0, 0), [1, 0, 0]);
	t.deepEqual(at(1023, 767), [1, 1023, 767]);
	t.deepEqual(at(1024, 0), [0, 0, 0]);
	t.deepEqual(at(2223, 899), [0, 1199, 899]);
	t.deepEqual(at(500, 800), [1, 500, 767], 'below the smaller one');
});

test('places in pictures of another size are scaled', (t) => {
	const { states, pointer: agent } = pointer({ width: 1024, height: 768, heads: [] });
	agent.position(16384, 8192, 32768, 32768, 0, 0);
	t.deepEqual(states, [{ x: 512, y: 192, buttons: 0, displayId: 0 }]);
	const free = pointer();
	free.pointer.position(7, 8, 100, 100, 0, 0);
	t.deepEqual(free.states, [{ x: 7, y: 8, buttons: 0, displayId: 0 }], 'without a screen they go as they are');
});

test("any heads that a guest may set: every state fits the agent's message", (t) => {
	const u32 = fc.oneof(fc.nat({ max: 3000 }), fc.nat({ max: 0xffffffff }));
	const anyHead = fc.tuple(u32, u32, u32, u32, u32).map((words) => head(...words));
	fc.assert(
		fc.property(fc.array(anyHead, { maxLength: 6 }), fc.nat({ max: 4000 }), fc.nat({ max: 4000 }), (heads, x, y) => {
			const { states, pointer: agent } = pointer({ width: 4001, height: 4001, heads });
			agent.position(x, y, 4001, 4001, 0, 0);
			const [state] = states;
			t.true([state.x, state.y].every((value) => Number.isInteger(value) && value >= 0 && value <= 0xffffffff));
			t.true(state.displayId <= 255);
		}),
	);
});

async function desktop(t: ExecutionContext) {
	const vmc = new SpiceVmc({ screen: () => TWO_HEADS });
	const guest = new FakeGuest(vmc);
	const inputs = new Inputs();
	const motions: string[] = [];
	inputs.setMouse({ motion: (...args) => motions.push(args.join(' ')) });
	inputs.addPointer(vmc.pointer);
	const { port } = await serve(t, {}, { inputs, agent: vmc, screen: () => TWO_HEADS });
	const client = await SpiceClient.connect({ port });
	t.teardown(() => client.close());
	const channel = await client.open(ChannelType.inputs);
	const mode = () => client.main.read(main.server.mouseMode);
	const states = () =>
		guest.messages.filter(({ type }) => type === AgentMessage.mouseState).map(({ body }) => decode(MouseState, body));
	const appear = () => {
		guest.open();
		guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.mouseState));
	};
	return { guest, inputs, motions, client, send: channel.sender(spec.client), mode, states, appear };
}

test('client mode is there while an agent that moves pointers is', async (t) => {
	const { guest, client, send, mode, states, appear, motions } = await desktop(t);
	t.is(client.init.supportedMouseModes, MouseMode.server);
	guest.open();
	guest.say(AgentMessage.announceCapabilities, announcement(0, AgentCap.clipboard));
	send.mouseMotion({ dx: 3, dy: 4, buttonsState: 0 });
	await until(() => motions.length === 1, 'the motion');
	guest.close();

	appear();
	t.deepEqual(await mode(), { supportedModes: 3, currentMode: MouseMode.server });
	client.main.sender(main.client).mouseModeRequest({ mode: MouseMode.client });
	t.deepEqual(await mode(), { supportedModes: 3, currentMode: MouseMode.client });
	// A monitor of the client's by its number, as spice-gtk names it.
	send.mousePosition({ x: 11, y: 12, buttonsState: 0, displayId: 1 });
	send.mousePosition({ x: 13, y: 14, buttonsState: 0, displayId: 0 });
	send.mousePress({ button: 3, buttonsState: MouseButton.right });
	await until(() => states().length >= 3, 'three states');
	t.deepEqual(states(), [
		{ x: 11, y: 12, buttons: 0, displayId: 1 },
		{ x: 13, y: 14, buttons: 0, displayId: 0 },
		{ x: 13, y: 14, buttons: AgentButton.right, displayId: 0 },
	]);

	guest.close();
	t.deepEqual(await mode(), { supportedModes: 1, currentMode: MouseMode.server });
	send.mouseMotion({ dx: 5, dy: 6, buttonsState: 0 });
	await until(() => motions.length === 2, 'the motion');
	appear();
	t.deepEqual(await mode(), { supportedModes: 3, currentMode: MouseMode.server });
});

test('a pointer that needs no agent takes over while the agent is away', async (t) => {
	const { guest, inputs, client, mode, send, states, appear } = await desktop(t);
	const places: string[] = [];
	const tablet: AbsolutePointer = {
		active: true,
		onActive: undefined,
		position: (...args) => places.push(args.join(' ')),
	};
	inputs.addPointer(tablet);
	t.deepEqual(await mode(), { supportedModes: 3, currentMode: MouseMode.server });
	client.main.sender(main.client).mouseModeRequest({ mode: MouseMode.client });
	await mode();
	// It knows nothing of heads and gets the place on the whole surface.
	send.mousePosition({ x: 11, y: 12, buttonsState: 0, displayId: 0 });
	await until(() => places.length === 1, 'the place');
	t.deepEqual(places, ['1035 12 2224 900 0 0']);
	appear();
	send.mousePosition({ x: 15, y: 16, buttonsState: 0, displayId: 0 });
	await until(() => states().length === 1, 'the state');
	guest.close();
	send.mousePosition({ x: 17, y: 18, buttonsState: 0, displayId: 1 });
	await until(() => places.length === 2, 'the place');
	t.is(places[1], '17 18 2224 900 0 0');
	t.deepEqual(
		client.main.waiting.filter(({ type }) => type === main.server.mouseMode[0]),
		[],
		'the mode stayed as it was',
	);
});
