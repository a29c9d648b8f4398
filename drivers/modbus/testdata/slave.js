// A Modbus TCP slave by the npm module modbus-serial: slave.js PORT. It holds what
// slave.py holds and prints "ready" when it listens.
const { ServerTCP } = require("modbus-serial");
const bit = (a) => (a * a) % 7 === 1;
const within = (a, n, value) => {
  if (a >= n) throw Object.assign(new Error("no such address"), { modbusErrorCode: 2 });
  return value;
};
const server = new ServerTCP({
  getHoldingRegister: (a) => within(a, 200, (a * 2659 + 17) % 65536),
  getInputRegister: (a) => within(a, 200, (a * 4273 + 29) % 65536),
  getCoil: (a) => within(a, 64, bit(a)),
  getDiscreteInput: (a) => within(a, 64, bit(a)),
}, { host: "127.0.0.1", port: Number(process.argv[2]), unitID: 1 });
server.on("initialized", () => console.log("ready"));
