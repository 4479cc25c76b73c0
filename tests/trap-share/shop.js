// What the programs for Node.js have in common: see shop.py.
const readline = require("node:readline");

const [host, port, database] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const PROSE = [
  "It's a fine day, isn't it? I'd say so.",
  "Plain text without anything special in it, as most of it is.",
  'She said "come back", and they did.',
  "Price: 10 € — e-mail me@example.org; ask for C:\\temp\\x",
  "Line one\nline two\n\nline four",
  '{"theme": "dark", "tags": ["a", "b"], "n": 1}',
  "Ünïcödé, 名前, emoji 🚀",
  "Short.",
  "100% sure; nothing -- to # see /* here */",
  "The owner's note: don't panic.",
];
let seed = 7;
const dice = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
const choose = (list) => list[Math.floor(dice() * list.length)];

async function steady(work) {
  for (let number = 0; number < 10; number++) await work(number);
  console.log("steady");
  await lines.next();
  for (let number = 10; number < 210; number++) await work(number);
  console.log("done");
  await lines.next();
  process.exit(0);
}

module.exports = {
  connection: { host, port, user: "app", password: "secret", database },
  dice,
  prose: () => choose(PROSE),
  word: () => choose(["alpha", "beta", "gamma", "delta", "o'hara", "epsilon", "zeta"]),
  steady,
};
