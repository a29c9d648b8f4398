// Package report turns verified evidence into what a lender's people read: a
// table of samples (CSV), a listing of leaves (Lister), and a page of two
// sheets of paper (Builder, Report.HTML). It renders and nothing more: verdicts
// and grades are those of package verify, which calls Add with each result of a
// bundle in order.
//
// Only values of accepted leaves are ever written. Memory is bounded by the
// limits of this package, whatever the length of the bundle; what a limit cut
// off is counted and said.
//
// Texts for people are in Chinese and English, and use the words of the
// product: they describe the evidence, never the firm.
package report
