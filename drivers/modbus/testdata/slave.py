"""A Modbus slave by pymodbus: slave.py tcp PORT | slave.py rtu PATH | slave.py ascii PATH.

Unit 1. Holding register a holds (a * 2659 + 17) mod 65536, input register a
(a * 4273 + 29) mod 65536, for a below 200; coil and discrete input a are on
where a * a mod 7 is 1, for a below 64. It prints "ready" when it listens.
"""
import asyncio
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer


async def main(kind, where):
    bits = [a * a % 7 == 1 for a in range(64)]
    unit = ModbusSlaveContext(
        hr=ModbusSequentialDataBlock(0, [(a * 2659 + 17) % 65536 for a in range(200)]),
        ir=ModbusSequentialDataBlock(0, [(a * 4273 + 29) % 65536 for a in range(200)]),
        co=ModbusSequentialDataBlock(0, bits),
        di=ModbusSequentialDataBlock(0, bits),
        zero_mode=True,
    )
    context = ModbusServerContext(slaves={1: unit}, single=False)
    asyncio.get_running_loop().call_later(0.3, lambda: print("ready", flush=True))
    if kind == "tcp":
        await StartAsyncTcpServer(context=context, address=("127.0.0.1", int(where)))
    else:
        framer = ModbusAsciiFramer if kind == "ascii" else ModbusRtuFramer
        await StartAsyncSerialServer(context=context, framer=framer, port=where, baudrate=19200, timeout=0.005)


asyncio.run(main(sys.argv[1], sys.argv[2]))
