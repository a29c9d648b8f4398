// Package tallystick is the tour of the house; it holds no code.
//
// Tallystick runs on a factory's gateway box. It reads meters, keeps every
// reading in a durable local log and ships signed evidence to the lenders the
// factory chose. Data flow one way; only receipts come back:
//
//	 RS-485 / TCP    drivers/line   drivers/modbus       agent            buffer         uplink           lender
//	──────────────► bytes ───────► frame ──────► Reading ─────► window ─────► log record ─────► MQTT ─────► verified window
//	                                                  signed by uplink/evidence/seal   ◄── receipt ◄── signed receipt ◄──
//
// One reading on its way, and the room for each step:
//
//	drivers/line      asks on the bus and finds the reply among noise, echo and late answers
//	drivers/modbus    plans the fewest requests, decodes registers exactly
//	drivers/dlt645    the same for meters that name their data; beside it
//	                  drivers/cjt188 and drivers/iec62056
//	drivers/profile   says what a device has and where: data, not code
//	drivers/replay    reads a meter once more from its recorded frames, in a dispute
//	drivers/sim       a factory in place of copper, for tests and the demo: in it plant is
//	                  what is drawn, meter what is answered, sim itself the lines
//	agent             polls on schedule, fills the open window, seals it into the history
//	agent/judge       marks what cannot be, and says what happened
//	agent/window      keeps polls until they are sealed, in memory and on disk
//	agent/history     the leaves on disk: their one writer, and who reads them
//	agent/desk        what lenders say and people decide, until it is a leaf too
//	agent/clock       what the box knows of its own clock
//	uplink/evidence   the signed format: its SPEC.md is the contract with lenders;
//	                  in it seal is the box's end, canon how bytes are written, record
//	                  what consents, declarations and answers say, bundle a log in a file
//	buffer            the append-only log the box may lose nothing from
//	uplink            ships from the log until the lender's receipt says it has it
//	uplink/mqtt       the connection
//	uplink/lender     the far end: receives, archives, answers with receipts
//	uplink/verify     says verified, gap, altered, forked, replayed or wrong-key
//	uplink/report     what a lender's people read: table, listing, two sheets of paper
//	uplink/keyfile    the private key each end keeps
//	uplink/custody    the box's keys: in files, a TPM or a PKCS #11 token; its
//	                  suite and counter are what verifiers need of them
//	configs           the site file and the lender file
//	cmd               where the parts meet: tallystick, tally-lender, tally-sim, tally-demo
//	cmd/internal      what these are made of: assembly joins the parts, technician is
//	                  work at the meters, diagnose says what is wrong there, service
//	                  stands under the system's service manager
//
// layers_test.go holds the arrows between these rooms and fails, by name, when
// one points the wrong way.
package tallystick
