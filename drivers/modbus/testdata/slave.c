/* A Modbus slave by libmodbus: slave tcp PORT | slave rtu PATH.
 *
 * Unit 1, with the contents that slave.py describes. Prints "ready" when it
 * listens. One client at a time. */
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: slave tcp PORT | slave rtu PATH\n");
		return 2;
	}
	int tcp = strcmp(argv[1], "tcp") == 0, listener = -1;
	modbus_t *m = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 19200, 'N', 8, 1);
	modbus_mapping_t *map = modbus_mapping_new(64, 64, 200, 200);
	if (!m || !map)
		return 3;
	modbus_set_slave(m, 1);
	for (int a = 0; a < 200; a++) {
		map->tab_registers[a] = (a * 2659 + 17) % 65536;
		map->tab_input_registers[a] = (a * 4273 + 29) % 65536;
	}
	for (int a = 0; a < 64; a++)
		map->tab_bits[a] = map->tab_input_bits[a] = a * a % 7 == 1;
	if (tcp ? (listener = modbus_tcp_listen(m, 1)) < 0 : modbus_connect(m) < 0) {
		perror(argv[2]);
		return 3;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
		if (tcp && modbus_tcp_accept(m, &listener) < 0)
			return 3;
		for (;;) {
			int n = modbus_receive(m, query);
			if (n > 0)
				modbus_reply(m, query, n, map);
			else if (n < 0 && tcp)
				break; /* the client has gone */
			else if (n < 0)
				modbus_flush(m);
		}
		modbus_close(m);
	}
}
