package cjt188

import "testing"

// Frames that came over real lines, as they stand in public code and documents.
// None of them was made for this package.
func TestRealFrames(t *testing.T) {
	for _, g := range []golden{
		{"heat meter in a socket load test, C#", "68 20 38 04 21 08 00 59 42 81 2E 90 1F 00 05 19 28 53 00 05 19 28 53 00 17 00 00 00 00 35 00 00 00 00 2C 42 33 18 00 03 19 00 10 19 00 61 27 00 26 57 23 31 03 15 20 03 01 F7 16", "response 42590008210438 81 901F heat_energy_settlement=5328.19kWh heat_energy=5328.19kWh heat_power=0.00kW flow=0.0000m3/h volume=1833.42m3 temperature_supply=19.03°C temperature_return=19.10°C working_hours=2761h clock=2015-03-31T23:57:26 status=03 01"},
		{"heat meter, MeterResponse.cs", "68 20 51 21 31 17 00 11 11 81 2E 1F 90 12 00 00 00 00 05 00 00 00 00 05 00 00 00 00 14 00 00 00 00 35 19 00 00 00 2C 76 30 00 68 30 00 73 02 00 32 41 11 12 09 07 20 04 00 E9 16", "response 11110017312151 81 901F heat_energy_settlement=0.00kWh heat_energy=0.00kWh heat_power=0.00W flow=0.0000m3/h volume=0.19m3 temperature_supply=30.76°C temperature_return=30.68°C working_hours=273h clock=2007-09-12T11:41:32 status=04 00"},
		{"heat meter, ioBroker adapter", "FE FE 68 20 13 47 06 12 00 74 00 81 2E 1F 90 00 00 00 00 00 05 00 00 00 00 05 00 00 00 00 17 00 00 00 00 35 00 00 00 00 2C 02 23 00 11 23 00 34 58 00 09 49 12 05 09 23 20 00 08 F0 16", "response 00740012064713 81 901F heat_energy_settlement=0.00kWh heat_energy=0.00kWh heat_power=0.00kW flow=0.0000m3/h volume=0.00m3 temperature_supply=23.02°C temperature_return=23.11°C working_hours=5834h clock=2023-09-05T12:49:09 status=00 08"},
		{"type 25 behind thirteen FE, node script", "FE FE FE FE FE FE FE FE FE FE FE FE FE 68 25 91 09 20 59 00 11 11 81 2E 1F 90 12 00 00 00 00 05 00 03 00 00 05 00 00 00 00 17 00 00 00 00 35 27 00 00 00 2C 60 14 00 74 14 00 46 54 00 51 49 09 22 04 10 20 00 00 6D 16", "response 11110059200991 81 901F heat_energy_settlement=0.00kWh heat_energy=3.00kWh heat_power=0.00kW flow=0.0000m3/h volume=0.27m3 temperature_supply=14.60°C temperature_return=14.74°C working_hours=5446h clock=2010-04-22T09:49:51 status=00 00"},
		{"type 25, gateway test", "68 25 12 19 24 18 27 31 00 81 2E 1F 90 03 11 74 02 00 05 88 27 44 05 05 00 00 00 00 17 00 00 00 00 35 08 56 71 00 2C 79 26 00 64 26 00 66 47 07 11 52 17 03 09 25 20 00 05 2A 16", "response 00312718241912 81 901F heat_energy_settlement=274.11kWh heat_energy=54427.88kWh heat_power=0.00kW flow=0.0000m3/h volume=7156.08m3 temperature_supply=26.79°C temperature_return=26.64°C working_hours=74766h clock=2025-09-03T17:52:11 status=00 05"},
		{"type 27 behind a modem's \"CTRL:R20181...\"", "43 54 52 4C 3A 52 32 30 31 38 31 30 30 30 30 30 30 31 36 39 36 FE FE 68 27 66 90 43 18 00 11 11 81 2E 1F 90 00 00 00 00 00 08 27 01 00 00 08 00 00 00 00 17 00 00 00 00 35 07 19 00 00 2C 60 36 00 98 22 00 66 01 00 49 35 14 01 11 18 20 08 00 CB 16", "response 11110018439066 81 901F heat_energy_settlement=0.00MWh heat_energy=1.27MWh heat_power=0.00kW flow=0.0000m3/h volume=19.07m3 temperature_supply=36.60°C temperature_return=22.98°C working_hours=166h clock=2018-11-01T14:35:49 status=08 00"},
		{"heat in MWh, biecuoliao.com/pa/MD6jEe3.html", "FE FE FE FE 68 20 32 41 31 40 00 00 00 01 03 90 1F 01 20 16", "request 00000040314132 01 901F"},
		{"heat, the example copied in many places", "FE FE FE FE 68 20 44 33 22 11 00 33 78 81 2E 1F 90 01 78 56 34 12 05 78 56 34 12 05 78 56 34 12 17 78 56 34 12 35 78 56 34 12 2C 56 34 12 56 34 12 56 34 12 20 14 03 18 12 56 59 00 00 91 16", "checksum 91, computed 06"},
		{"the same with the right checksum; the clock's bytes the other way round", "68 20 44 33 22 11 00 33 78 81 2E 1F 90 01 78 56 34 12 05 78 56 34 12 05 78 56 34 12 17 78 56 34 12 35 78 56 34 12 2C 56 34 12 56 34 12 56 34 12 20 14 03 18 12 56 59 00 00 06 16", "response 78330011223344 81 901F heat_energy_settlement=123456.78kWh heat_energy=123456.78kWh heat_power=123456.78kW flow=1234.5678m3/h volume=123456.78m3 temperature_supply=1234.56°C temperature_return=1234.56°C working_hours=123456h clock=2014-03-18T12:56:59 status=00 00"},
		{"water behind a modem's \"CTRL:&20170...\"", "43 54 52 4C 3A 26 32 30 31 37 30 37 30 30 30 30 30 39 32 31 FE FE FE 68 10 21 09 00 00 17 00 02 81 16 90 1F 00 00 02 00 00 2C 00 00 00 00 2C 00 00 00 00 00 00 00 00 00 5B 16", "response 02001700000921 81 901F volume=2.00m3 volume_settlement=0.00m3 status=00 00"},
		{"water, LuatOS script", "68 10 67 05 17 24 00 00 00 81 16 90 1F 01 00 03 00 00 2C 00 03 00 00 2C 00 00 00 00 00 00 00 00 FF C3 16", "response 00000024170567 81 901F volume=3.00m3 volume_settlement=3.00m3 status=00 FF"},
		{"water in litres, the clock's bytes the other way round", "FE FE FE FE 68 10 43 76 32 51 00 00 00 81 16 90 1F 00 47 70 01 00 29 51 48 01 00 29 20 20 05 28 20 58 24 00 00 A7 16", "response 00000051327643 81 901F volume=170.47l volume_settlement=148.51l clock=2020-05-28T20:58:24 status=00 00"},
		{"water, Qt UDP server", "FE FE 68 10 26 13 06 07 00 33 78 81 16 1F 90 04 00 68 00 00 2C 00 00 00 00 2C 00 00 00 00 00 00 00 00 00 73 16", "response 78330007061326 81 901F volume=68.00m3 volume_settlement=0.00m3 status=00 00"},
		{"water behind LoRa, Java resolver", "68 10 69 00 01 07 17 20 00 81 16 1F 90 02 00 00 00 00 2C 00 00 00 00 2C 59 54 16 19 08 17 20 13 01 EF 16", "response 00201707010069 81 901F volume=0.00m3 volume_settlement=0.00m3 clock=2017-08-19T16:54:59 status=13 01"},
		{"water, no settlement value, Go gateway", "FE FE 68 10 45 41 10 05 15 33 78 81 16 90 1F AA 00 59 59 00 2C FF FF FF FF 2C FF FF FF FF FF FF FF 00 00 C2 16", "response 78331505104145 81 901F volume=5959.00m3 status=00 00"},
		{"gas inside a radio's frame: no unit, the year's bytes swapped", "AA 30 42 00 00 AA 01 02 68 30 02 01 00 06 16 05 23 81 16 1F 90 01 17 72 00 00 00 00 00 00 00 00 00 00 12 01 01 20 16 35 00 2E 16 81 D6 55", "response 23051606000102 81 901F volume=72.17 volume_settlement=0.00 clock=2016-01-01T12:00:00 status=35 00"},
		{"the same meter gets an address", "AA 1B 42 00 00 AA 01 02 68 30 02 01 00 06 16 05 23 95 03 18 A0 04 33 16 95 ED 55", "response 23051606000102 95 A018 WRITE"},
	} {
		if got := line(Describe(unhex(t, g.hex))); got != g.want {
			t.Errorf("%s:\n got %s\nwant %s", g.source, got, g.want)
		}
	}
	// Types between those the standard names are of the same kind.
	for text, want := range map[byte]string{0x25: "heat meter of type 25", 0x19: "water meter of type 19", 0x3A: "gas meter of type 3A", 0x50: "meter of type 50"} {
		if got := meterType(text); got != want {
			t.Errorf("type %02X: %s, want %s", text, got, want)
		}
	}
	// Nobody knows what a vendor's own code does.
	if d := Describe(finish(t, "68 10 44 33 22 11 00 33 78 22 03 55 FF 00")); !d.Write {
		t.Errorf("control code 22: %+v", d)
	}
}
