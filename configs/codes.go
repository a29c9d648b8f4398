package configs

// The codes of the faults this package finds; strict has E-101 to E-111. They
// never change meaning. CODES.md says the same to people.
const (
	CodeMissingFile = "E-120" // no such file
	CodeNotAFile    = "E-121" // a directory, a device
	CodePermission  = "E-122" // not readable
	CodeLoop        = "E-123" // symbolic links in a circle
	CodeRead        = "E-124" // any other reason

	CodeName     = "E-130" // characters or length of a name or label
	CodeTaken    = "E-131" // a name given twice
	CodeLine     = "E-132" // a meter on a line that does not exist
	CodeProfile  = "E-133" // a profile nobody knows
	CodeChannel  = "E-134" // a channel nobody knows, or twice
	CodeQuantity = "E-135" // a quantity the profile does not have, or twice
	CodeProfiles = "E-136" // a directory of profiles that cannot be used
	CodeMade     = "E-137" // a channel made of one that is not sealed

	CodeRawFrames = "E-138" // raw frames switched on in the wrong place, or without the channel they need

	CodePort     = "E-140" // a line with no port, or with two kinds
	CodePortUsed = "E-141" // two lines on one port
	CodeSettings = "E-142" // serial settings
	CodeHost     = "E-143" // host:port
	CodeProtocol = "E-144" // protocol unknown or wrong for the line
	CodeAddress  = "E-145" // unit number out of range
	CodeOverlap  = "E-146" // two meters with one unit number on one line
	CodeRatio    = "E-147" // CT or PT ratio
	CodeInterval = "E-148" // interval out of range
	CodeWindow   = "E-149" // window out of range, or not fitting an interval or a quarter of an hour

	CodeBroker    = "E-150" // broker URL
	CodeClear     = "E-151" // unencrypted connection over a public network
	CodeSecret    = "E-152" // a secret written into the file
	CodePublicKey = "E-153" // public key
	CodeTLS       = "E-154" // TLS files that do not belong together
	CodeShare     = "E-155" // share names a channel that is not read
	CodeAck       = "E-156" // acknowledgement policy
	CodeClientID  = "E-157" // MQTT client id

	CodeSize    = "E-160" // quota
	CodeTime    = "E-161" // another duration out of range
	CodePath    = "E-162" // a path that cannot be one
	CodeExposed = "E-163" // a secret file others can read, or that cannot be used
	CodeTooMany = "E-164" // more entries than allowed
	CodeSigning = "E-165" // how and where the evidence is signed

	CodeClearPrivate = "W-171" // warning: unencrypted connection within a private network
	CodeIdleLine     = "W-172" // warning: a line without a meter
)
