// Package mqtt is the wire to a broker: MQTT 3.1.1 through paho, used so that
// the library's known defects cannot cost a window.
//
// One Session is one connection and never outlives it. There is no automatic
// reconnect, no connect retry, no clean-session resumption and no message
// store; whoever needs another connection dials another Session, with a back-off
// of its own. A publish counts as acknowledged only when the PUBACK with its
// identifier was seen on this very connection: paho completes tokens without
// an error in cases where no broker has acknowledged anything.
//
// A PUBACK says that one broker has the message. It is hop by hop and is not a
// receipt (uplink waits for the lender's).
//
// What differs from the usual advice for paho: OrderMatters stays true, because
// with false every message is handed over in a goroutine of its own and order
// is lost for good. The harm of true, a handler that blocks the reading side
// and with it the ping replies, cannot happen here: the handler given to paho
// only appends to a queue, and a goroutine of the Session empties it.
package mqtt
