// What a program does with Node's own WebSocket and a token: four messages there and back; says `opened` or `refused`.
const opened = new WebSocket(process.argv[2], {headers: {authorization: 'Bearer ' + process.env.VALETKEY_FEED_TOKEN}});
opened.binaryType = 'arraybuffer';
const say = ['hello', Uint8Array.from({length: 256}, (_, i) => i), '', '\u00fc'.repeat(500000)];
let heard = 0;
opened.onopen = () => say.forEach((one) => opened.send(one));
opened.onerror = (event) => { console.log('refused', event.message); process.exitCode = 1; };
opened.onmessage = ({data}) => {
  const told = typeof data === 'string' ? data : Buffer.from(data).toString('hex');
  const said = typeof say[heard] === 'string' ? say[heard] : Buffer.from(say[heard]).toString('hex');
  if (told !== said) { console.log('other', heard); process.exit(3); }
  if (++heard === say.length) { console.log('opened'); opened.close(1000); }
};
