// Compiled, not run: what the types allow, and what they refuse.
import { decode, encode, grpc, StreamApi, type MarkerPacket, type Packet, type PacketInput } from 'ma-streaming';

async function uses(): Promise<void> {
  const api = new StreamApi('localhost:13579', grpc.credentials.createSsl());
  const created = await api.call('CreateSession', { data_source: 'Car', identifier: 'FP1', details: { driver: 'A' } }, { deadline: Date.now() + 10_000 });
  const key: string = created.session_key;
  const first: string | undefined = created.new_session?.topic_partition_offsets['Car:0'];

  const content: Buffer = encode('MarkerPacket', { label: 'Lap 1', timestamp: 1742137200000000000n, end_time: '5', value: -1 });
  const message: PacketInput = { type: 'Marker', session_key: key, content };
  await api.call('WriteDataPacket', { detail: { data_source: 'Car', message } });

  const stream = api.write('WriteDataPackets');
  await stream.write({ details: [{ data_source: 'Car', message }] });
  await stream.end();

  const { connection } = await api.call('NewConnection', { details: { data_source: 'Car', main_offset: -1 } });
  const read = api.read('ReadPackets', { connection });
  read.on('metadata', (metadata: grpc.Metadata) => metadata.get('a'));
  for await (const response of read) {
    for (const { packet, offset } of response.response) {
      const again: Packet | null = packet;
      const marker: MarkerPacket = decode('MarkerPacket', packet!.content);
      const place: string | undefined = offset;
      encode('MarkerPacket', marker);
      void [again, place, marker.label.length];
      // @ts-expect-error A 64-bit number is text.
      marker.timestamp.toFixed();
      // @ts-expect-error The message has no such field.
      void marker.lable;
    }
  }
  read.cancel();
  const periodic = decode('PeriodicDataPacket', content);
  const status: string | number | undefined = periodic.columns[0]?.double_samples?.samples[0]?.status;
  encode('SystemStatusMessage', { type: 'SYSTEM_STATUS_TYPE_HEARTBEAT' });
  void [first, status];

  // @ts-expect-error A field that does not exist.
  await api.call('CreateSession', { data_sorce: 'Car' });
  // @ts-expect-error A number for a text.
  await api.call('CreateSession', { data_source: 5 });
  // @ts-expect-error A Date for nanoseconds.
  encode('MarkerPacket', { timestamp: new Date() });
  // @ts-expect-error A name that the enum does not have.
  encode('SystemStatusMessage', { type: 'HEARTBEAT' });
  // @ts-expect-error Text for bytes.
  const wrong: PacketInput = { content: '{}' };
  // @ts-expect-error An rpc of another form.
  api.call('ReadPackets', { connection });
  // @ts-expect-error An rpc that does not exist.
  api.read('ReadEverything', {});
  // @ts-expect-error A message that does not exist.
  encode('Marker', {});
  // @ts-expect-error A response is not just anything.
  const number: number = created.session_key;
  void [wrong, number];
}

void uses;
