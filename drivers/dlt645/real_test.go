package dlt645

import "testing"

// Frames that came over real lines, as they stand in public code and documents
// together with what they mean there. None of them was made for this package.
func TestRealFrames(t *testing.T) {
	for _, c := range []struct{ protocol, frame, want string }{
		// an owner's list of replies, Test.java with decoded values
		{"2007", "68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16", "response 000000000161 91 02010100 voltage_l1=100.1V"},
		{"2007", "68 61 01 00 00 00 00 68 91 07 33 34 35 35 CC 7C 33 16 16", "response 000000000161 91 02020100 current_l1=4.999A"},
		{"2007", "68 61 01 00 00 00 00 68 91 07 33 33 36 35 45 58 33 6B 16", "response 000000000161 91 02030000 power=0.2512kW"},
		{"2007", "68 61 01 00 00 00 00 68 91 07 33 33 37 35 64 76 33 A9 16", "response 000000000161 91 02040000 reactive_power=0.4331kvar"},
		{"2007", "68 61 01 00 00 00 00 68 91 07 33 33 38 35 39 83 33 8C 16", "response 000000000161 91 02050000 apparent_power=0.5006kVA"},
		{"2007", "68 61 01 00 00 00 00 68 91 06 33 33 39 35 34 38 09 16", "response 000000000161 91 02060000 power_factor=0.501"},
		// Go protocol_stack, TestParseDLT645Frame
		{"2007", "FE FE FE FE 68 60 07 92 04 00 91 68 91 08 33 33 33 33 97 35 A8 33 6A 16", "response 910004920760 91 00000000 energy=7502.64kWh"},
		{"2007", "FE FE FE FE 68 60 07 92 04 00 91 68 D1 01 37 67 16", "response 910004920760 D1 - error=04"},
		{"2007", "FE FE FE FE 68 00 00 00 00 00 00 68 91 06 33 34 34 35 4C 56 D9 16", "response 000000000000 91 02010100 voltage_l1=231.9V"},
		// what one meter answered a nameplate reader, Qt reader.cpp
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 D1 01 35 AA 16", "response 000006605518 D1 - error=02"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 07 35 34 33 37 65 86 4B 44 16", "response 000006605518 91 04000102 time=18:53:32"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 08 34 34 33 37 39 5C 45 4B 33 16", "response 000006605518 91 04000101 date=2018-12-29 weekday=06"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 0A 35 37 33 37 4B 88 93 39 33 33 19 16", "response 000006605518 91 04000402 meter_number=000006605518"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 0A 37 37 33 37 89 63 61 63 65 65 90 16", "response 000006605518 91 04000404 rated_voltage=220.0V"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 0A 38 37 33 37 33 33 74 63 61 68 1D 16", "response 000006605518 91 04000405 rated_current=5.0A"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 08 3A 37 33 37 33 63 61 65 73 16", "response 000006605518 91 04000407 active_class=2.0"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 07 3C 37 33 37 33 45 33 C3 16", "response 000006605518 91 04000409 active_constant=1200imp/kWh"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 08 33 33 34 33 C6 63 35 33 9A 16", "response 000006605518 91 00010000 energy_import=230.93kWh"},
		{"2007", "FE FE FE FE 68 18 55 60 06 00 00 68 91 08 33 36 34 33 A9 54 35 33 71 16", "response 000006605518 91 00010300 energy_import_t3=221.76kWh"},
		// smart socket, AmmeterUtils.java
		{"2007", "FE FE FE FE 68 11 11 11 11 11 11 68 91 06 3A 33 B3 35 6C 35 C3 16", "response 111111111111 91 02800007 temperature=23.9°C"},
		{"2007", "FE FE FE FE 68 11 11 11 11 11 11 68 91 0A 37 37 33 37 33 33 89 63 65 65 C5 16", "response 111111111111 91 04000404 rated_voltage=220V"},
		{"2007", "FE FE FE FE 68 11 11 11 11 11 11 68 91 08 33 33 34 33 9C 35 33 33 D3 16", "response 111111111111 91 00010000 energy_import=2.69kWh"},
		// a single-phase meter asked for blocks of three, C driver
		{"2007", "FE FE FE FE 68 94 41 03 26 12 18 68 91 0A 33 32 34 35 36 56 33 33 33 33 B9 16", "response 181226034194 91 0201FF00 voltage_l1=230.3V voltage_l2=0.0V voltage_l3=0.0V"},
		{"2007", "FE FE FE FE 68 94 41 03 26 12 18 68 91 0D 33 32 35 35 BB 34 33 33 33 33 33 33 33 B9 16", "response 181226034194 91 0202FF00 current_l1=0.188A current_l2=0.000A current_l3=0.000A"},
		{"2007", "68 32 00 00 00 00 00 68 91 10 33 32 36 35 33 33 33 33 33 33 32 32 32 32 32 32 D1 16", "response 000000000032 91 0203FF00 power=0.0000kW power_l1=0.0000kW power_l2=kW power_l3=kW"},
		{"2007", "68 32 00 00 00 00 00 68 91 07 33 33 63 36 34 33 33 33 16", "response 000000000032 91 03300000 programmed=1"},
		// energy of four tariffs
		{"2007", "68 77 44 10 03 00 00 68 91 18 33 32 34 33 AC 34 33 33 58 33 33 33 95 33 33 33 99 33 33 33 58 33 33 33 9B 16", "response 000003104477 91 0001FF00 energy_import=1.79kWh energy_import_t1=0.25kWh energy_import_t2=0.62kWh energy_import_t3=0.66kWh energy_import_t4=0.25kWh"},
		{"2007", "68 02 00 00 00 10 20 68 91 18 33 32 34 33 67 5C 33 33 99 3A 33 33 48 39 33 33 B3 37 33 33 A4 43 33 33 5D 16", "response 201000000002 91 0001FF00 energy_import=29.34kWh energy_import_t1=7.66kWh energy_import_t2=6.15kWh energy_import_t3=4.80kWh energy_import_t4=10.71kWh"},
		{"2007", "FE FE FE FE 68 24 02 00 00 00 00 68 91 18 33 32 34 33 C7 47 35 33 37 86 33 33 A7 86 33 33 36 87 33 33 44 87 33 33 EB 16", "response 000000000224 91 0001FF00 energy_import=214.94kWh energy_import_t1=53.04kWh energy_import_t2=53.74kWh energy_import_t3=54.03kWh energy_import_t4=54.11kWh"},
		{"2007", "68 00 36 19 00 00 00 68 91 18 33 32 34 33 63 69 33 33 89 35 33 33 4C 33 33 33 6B 33 33 33 4A 66 33 33 E9 16", "response 000000193600 91 0001FF00 energy_import=36.30kWh energy_import_t1=2.56kWh energy_import_t2=0.19kWh energy_import_t3=0.38kWh energy_import_t4=33.17kWh"},
		// signs: generating reactive power, a power factor of -1
		{"2007", "68 08 00 00 00 00 00 68 91 07 33 33 37 35 BA 59 B3 08 16", "response 000000000008 91 02040000 reactive_power=-0.2687kvar"},
		{"2007", "68 59 50 82 12 34 00 68 91 06 33 33 39 35 33 C3 A2 16", "response 003412825059 91 02060000 power_factor=-1.000"},
		// VaccariaSeed/go-dlt645-2007 README
		{"2007", "68 00 51 44 18 11 17 68 91 06 35 33 B3 35 36 83 45 16", "response 171118445100 91 02800002 frequency=50.03Hz"},
		// hootrhino/rhilex TestCodec_DLT645_2007_Frame
		{"2007", "68 45 92 66 23 00 10 68 91 06 33 34 34 35 66 55 62 16", "response 100023669245 91 02010100 voltage_l1=223.3V"},
		// a concentrator's frame around the meter's
		{"2007", "68 AE 00 AE 00 68 A8 00 02 34 12 04 10 E0 00 00 01 00 1F 14 00 68 61 10 01 30 12 15 68 91 08 33 33 34 33 AB 39 33 33 49 16 4F 00 00 06 50 23 21 05 AE 16", "response 151230011061 91 00010000 energy_import=6.78kWh"},
		// a digit that is none is no energy
		{"2007", "68 18 06 36 04 00 91 68 91 08 33 33 34 33 33 33 41 33 F9 16", "response 910004360618 91 00010000 energy_import=kWh"},
		// commands to all meters and to one, from C and Rust code: a time is no identifier
		{"2007", "68 99 99 99 99 99 99 68 08 06 84 55 43 38 39 4A 4B 16", "request 999999999999 08 - write clock=2017-06-05T10:22:51"},
		{"2007", "68 11 11 11 11 11 11 68 08 06 58 73 43 38 39 4A 0D 16", "request 111111111111 08 - write clock=2017-06-05T10:40:25"},
		{"2007", "68 99 99 99 99 99 99 68 08 06 4A 33 34 3A 3C 54 EF 16", "request 999999999999 08 - write clock=2021-09-07T01:00:17"},
		{"1997", "68 99 99 99 99 99 99 68 08 06 7A 64 45 49 38 45 5D 16", "request 999999999999 08 - write clock=2012-05-16T12:31:47"},
		// relay: closing allowed, trip; a password is no identifier
		{"2007", "68 61 10 01 30 12 15 68 1C 10 35 6A 39 35 34 33 33 33 4E 33 33 33 33 63 45 CC 2D 16", "request 151230011061 1C - write"},
		{"2007", "68 11 11 11 11 11 11 68 1C 10 33 33 33 33 33 33 33 33 4D 33 57 74 48 45 38 4B 55 16", "request 111111111111 1C - write"},
		{"2007", "FE FE FE FE 68 09 00 51 05 03 26 68 1C 10 35 33 33 33 33 33 33 33 4D 34 8C 8C 56 64 45 CC 82 16", "request 260305510009 1C - write"},
		{"2007", "FE FE FE FE 68 04 00 28 10 19 20 68 1C 10 35 33 33 33 64 64 64 64 4F 33 34 34 34 34 34 CC 21 16", "request 201910280004 1C - write"},
		// a reporting interval set over a radio
		{"2007", "FE FE FE FE 68 04 00 28 10 19 20 68 14 0E 34 34 93 37 35 33 33 33 64 64 64 64 6F 33 99 16", "request 201910280004 14 04600101 write"},
		// part of an address; a status word; a byte too many; a freeze in a concentrator's log
		{"2007", "FE FE FE FE 68 57 34 96 00 08 AA 68 11 04 33 32 33 33 83 16 0D", "request aa0800963457 11 0000FF00"},
		{"2007", "68 61 10 01 30 12 15 68 91 06 36 38 33 37 83 33 BE 16", "response 151230011061 91 04000503 status_word_3=0050"},
		{"2007", "FE FE FE FE 68 01 00 00 00 00 00 68 91 09 33 33 34 33 6A 59 33 33 34 95 16", "response 000000000001 91 00010000 energy_import=26.37kWh"},
		{"2007", "68 57 01 00 00 00 00 68 91 09 34 33 39 38 33 33 3B 43 45 C3 16", "response 000000000157 91 05060001 frozen_day_at_1=2012-10-08T00:00:00"},
		// as printed, with checksums that are none
		{"2007", "68 31 00 00 12 16 20 68 91 08 33 33 33 33 73 35 34 33 01 16", "invalid checksum 01, computed BD"},
		{"1997", "68 78 04 79 11 00 00 68 81 06 43 F3 37 54 38 48 4C 16", "invalid checksum 4C, computed 9E"},
		// a vendor's own control code
		{"2007", "FE 68 AA AA AA AA AA AA 68 1F 04 46 47 87 B3 B6 16", "request aaaaaaaaaaaa 1F - write"},
		// calibration, sulfurandcu/dlt645-tool
		{"2007", "68 AA AA AA AA AA AA 68 14 2E 33 35 D5 37 33 6C 85 89 33 33 33 33 34 33 55 33 55 33 55 33 33 58 33 33 58 33 33 58 33 33 33 88 33 33 33 88 33 33 33 88 33 43 33 43 33 43 C6 16", "request aaaaaaaaaaaa 14 04A20200 write"},
		// 1997: a three-phase meter behind a radio modem, JavaScript decoder
		{"1997", "FE FE FE FE 68 27 59 63 03 00 01 68 81 04 44 E9 56 35 F4 16", "response 010003635927 81 B611 voltage_l1=223V"},
		{"1997", "FE FE FE FE 68 27 59 63 03 00 01 68 81 04 45 E9 33 33 D0 16", "response 010003635927 81 B612 voltage_l2=0V"},
		{"1997", "FE FE FE FE 68 27 59 63 03 00 01 68 81 06 43 C3 AC 59 47 33 C3 16", "response 010003635927 81 9010 energy_import=1426.79kWh"},
		{"1997", "68 03 00 00 00 00 00 68 81 04 54 E9 CC 37 98 16", "response 000000000003 81 B621 current_l1=4.99A"},
		{"1997", "68 03 00 00 00 00 00 68 81 05 63 E9 94 B9 33 25 16", "response 000000000003 81 B630 power=0.8661kW"},
		{"1997", "68 43 97 35 14 00 00 68 81 06 43 C3 7B 96 57 33 1B 16", "response 000014359743 81 9010 energy_import=2463.48kWh"},
		{"1997", "FE FE FE FE 68 85 14 16 00 18 15 68 81 06 43 C3 7B 95 43 33 BF 16", "response 151800161485 81 9010 energy_import=1062.48kWh"},
		{"1997", "68 20 11 12 21 06 36 68 04 09 56 16 33 33 33 33 44 44 44 81 16", "request 360621121120 04 E323 write"},
		{"1997", "68 00 06 00 13 11 14 68 81 05 D5 C1 3C 43 3C E5 16", "response 141113000600 81 8EA2"},
	} {
		v := V2007
		if c.protocol == "1997" {
			v = V1997
		}
		if got := summary(Describe(v, bytesOf(t, c.frame))); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.frame, got, c.want)
		}
	}
	// Decoded as the wrong edition, the text names the right one.
	if d := Describe(V2007, bytesOf(t, "68 54 07 13 00 80 13 68 01 02 43 C3 DA 16")); d.Text != "meter 138000130754, control code 01 (read data in dlt645-1997): data 10 90" {
		t.Error(d.Text)
	}
	if d := Describe(V1997, bytesOf(t, "68 12 00 00 00 10 20 68 91 08 33 35 C3 33 89 CB 34 33 C4 16")); d.Text != "meter 201000000012 replies: control code 11 (read data in dlt645-2007): data 00 02 90 00 56 98 01 00" {
		t.Error(d.Text)
	}
}
