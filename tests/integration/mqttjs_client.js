// Scenarios of MQTT.js, started by test_mqttjs.py: node mqttjs_client.js PORT SCENARIO PREFIX.
// Exits 0 when the scenario held; says what did not on standard error.
'use strict';
const assert = require('assert');
const mqtt = require('mqtt');

const [port, scenario, prefix] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const topic = suffix => `${prefix}/t/${suffix}`;

// A client with promises for what the scenarios wait for; messages queue up in the order received.
async function connect(name, options = {}) {
    const client = mqtt.connect({ host: '127.0.0.1', port, clientId: `${prefix}-${name}`,
        protocolVersion: 4, reconnectPeriod: 0, ...options });
    client.queue = [];
    client.waiting = [];
    client.on('message', (name_, payload, packet) => {
        const message = { topic: name_, payload: payload.toString(), qos: packet.qos,
            retain: packet.retain };
        const waiter = client.waiting.shift();
        if (waiter) waiter(message); else client.queue.push(message);
    });
    client.next = () => new Promise(resolve => {
        if (client.queue.length) resolve(client.queue.shift()); else client.waiting.push(resolve);
    });
    client.connack = await new Promise((resolve, reject) => {
        client.once('connect', resolve);
        client.once('error', reject);
    });
    return client;
}

const scenarios = {
    async every_qos() {
        for (const level of [3, 4]) {
            const options = { protocolVersion: level, protocolId: level === 3 ? 'MQIsdp' : 'MQTT' };
            const subscriber = await connect(`s${level}`, options);
            const publisher = await connect(`p${level}`, options);
            const granted = await subscriber.subscribeAsync(topic(level), { qos: 2 });
            assert.strictEqual(granted[0].qos, 2);
            for (const qos of [0, 1, 2]) {
                await publisher.publishAsync(topic(level), `at ${qos}`, { qos });
                assert.deepStrictEqual(await subscriber.next(),
                    { topic: topic(level), payload: `at ${qos}`, qos, retain: false });
            }
            await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
        }
    },

    async retained() {
        const publisher = await connect('p');
        await publisher.publishAsync(topic('a'), 'kept', { qos: 1, retain: true });
        const reader = await connect('r');
        await reader.subscribeAsync(topic('+'), { qos: 1 });
        assert.deepStrictEqual(await reader.next(),
            { topic: topic('a'), payload: 'kept', qos: 1, retain: true });
        await publisher.publishAsync(topic('a'), '', { qos: 1, retain: true });
        assert.deepStrictEqual(await reader.next(),
            { topic: topic('a'), payload: '', qos: 1, retain: false });
        const late = await connect('l');
        await late.subscribeAsync(topic('+'), { qos: 1 });
        await publisher.publishAsync(topic('b'), 'live', { qos: 1 });
        assert.strictEqual((await late.next()).payload, 'live');
        await Promise.all([publisher, reader, late].map(client => client.endAsync()));
    },

    async session() {
        const first = await connect('s', { clean: false });
        assert.strictEqual(first.connack.sessionPresent, false);
        await first.subscribeAsync(topic('#'), { qos: 2 });
        await first.endAsync();
        const publisher = await connect('p');
        for (let number = 0; number < 200; number++)
            await publisher.publishAsync(topic('x'), `${number}`, { qos: 1 + number % 2 });
        const second = await connect('s', { clean: false });
        assert.strictEqual(second.connack.sessionPresent, true);
        const got = { 1: [], 2: [] }; // a QoS 2 message is given out when it is released
        for (let number = 0; number < 200; number++) {
            const message = await second.next();
            got[message.qos].push(Number(message.payload));
        }
        for (const qos of [1, 2])
            assert.deepStrictEqual(got[qos], [...Array(100).keys()].map(i => 2 * i + qos - 1));
        await Promise.all([publisher.endAsync(), second.endAsync()]);
    },

    async will() {
        const watcher = await connect('w');
        await watcher.subscribeAsync(topic('gone'), { qos: 2 });
        for (const qos of [0, 1, 2]) {
            const client = await connect('c', { will: { topic: topic('gone'), payload: 'gone', qos } });
            client.stream.destroy();
            assert.deepStrictEqual(await watcher.next(),
                { topic: topic('gone'), payload: 'gone', qos, retain: false });
        }
        await watcher.endAsync();
    },

    async many_clients() {
        const count = 20;
        const clients = await Promise.all([...Array(count).keys()].map(i => connect(`c${i}`)));
        await Promise.all(clients.map(client => client.subscribeAsync(topic('+'), { qos: 1 })));
        await Promise.all(clients.map((client, i) => client.publishAsync(topic(i), `${i}`, { qos: 1 })));
        for (const client of clients) {
            const topics = new Set();
            for (let i = 0; i < count; i++) topics.add((await client.next()).topic);
            assert.strictEqual(topics.size, count);
        }
        await Promise.all(clients.map(client => client.endAsync()));
    },

    async full_speed() {
        const subscriber = await connect('s');
        await subscriber.subscribeAsync(topic('x'), { qos: 2 });
        const publisher = await connect('p');
        for (const qos of [1, 2]) {
            const sent = [];
            for (let number = 0; number < 1000; number++)
                sent.push(publisher.publishAsync(topic('x'), `${number}`, { qos }));
            for (let number = 0; number < 1000; number++)
                assert.strictEqual((await subscriber.next()).payload, `${number}`);
            await Promise.all(sent);
        }
        await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
    },

    async large_payload() {
        const client = await connect('c');
        await client.subscribeAsync(topic('x'), { qos: 1 });
        const payload = 'x'.repeat(1000000);
        await client.publishAsync(topic('x'), payload, { qos: 1 });
        assert.strictEqual((await client.next()).payload, payload);
        await client.endAsync();
    },

    async level_5() {
        await assert.rejects(connect('new', { protocolVersion: 5 }), error => error.code === 0x84);
    },

    async reconnect() {
        const client = await connect('c', { clean: false, reconnectPeriod: 1 });
        await client.subscribeAsync(topic('x'), { qos: 1 });
        const publisher = await connect('p');
        for (let turn = 0; turn < 5; turn++) {
            const connected = new Promise(resolve => client.once('connect', resolve));
            client.stream.destroy();
            await publisher.publishAsync(topic('x'), `${turn}`, { qos: 1 });
            await connected;
            assert.strictEqual((await client.next()).payload, `${turn}`);
            // Its answer says that the acknowledgement before it has arrived.
            await client.publishAsync(topic('own'), '', { qos: 1 });
        }
        await Promise.all([client.endAsync(), publisher.endAsync()]);
    },
};

scenarios[scenario]().then(() => process.exit(0), error => {
    console.error(error);
    process.exit(1);
});
