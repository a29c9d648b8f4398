// Package witness is both ends of the C2SP tlog-witness protocol
// (c2sp.org/tlog-witness): a Witness that cosigns the checkpoints of logs it
// has seen grow consistently, and a Client that asks for it.
//
// A witness keeps, for each log, the newest checkpoint it has cosigned. It
// cosigns another only when that is proved to continue the first, so whoever
// trusts it knows that everybody sees one history of the log. The proof and
// the forms of checkpoints are package checkpoint's.
package witness
