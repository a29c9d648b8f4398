package plant

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The columns of a load curve, as in the UCI data set "Steel Industry Energy
// Consumption". Others are ignored.
const (
	columnDate    = "date"
	columnActive  = "Usage_kWh"
	columnLagging = "Lagging_Current_Reactive_Power_kVarh"
	columnLeading = "Leading_Current_Reactive_Power_kVarh"
	columnLagPF   = "Lagging_Current_Power_Factor"
	columnLeadPF  = "Leading_Current_Power_Factor"

	curveStep    = 15 * time.Minute
	maxCurveRows = 1_000_000
	maxCurveSize = 256 << 20 // bytes
)

// ReadCurve reads a load curve: one row every 15 minutes, with the energy of
// the interval that ends at its date (DD/MM/YYYY HH:MM, read as UTC). The row
// marked 00:00 closes the day it is dated, as in the data set. Energies are
// exact decimals with up to 6 places.
//
// Active and reactive energy define the load; the power factor follows from
// them, so the two power-factor columns (percent) are checked for sense and not
// used. Errors name file and line.
func ReadCurve(file string, r io.Reader) (*Load, error) {
	c := curveReader{file: file, csv: csv.NewReader(io.LimitReader(r, maxCurveSize))}
	c.csv.ReuseRecord = true
	if err := c.header(); err != nil {
		return nil, err
	}
	var steps []Interval
	var first, last time.Time
	for {
		end, step, err := c.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case len(steps) == 0:
			first = end
		case !end.Equal(last.Add(curveStep)):
			return nil, c.errorf(columnDate, "the interval ends at %s, expected %s, 15 minutes after the row before", day(end), day(last.Add(curveStep)))
		case len(steps) == maxCurveRows:
			return nil, c.errorf("", "more than %d rows", maxCurveRows)
		}
		last = end
		steps = append(steps, step)
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s: no rows after the header", file)
	}
	return NewLoad(first.Add(-curveStep), curveStep, false, steps), nil
}

type curveReader struct {
	file   string
	csv    *csv.Reader
	column map[string]int // position of each known column in the header
	record []string       // the row being read
}

// errorf names the file, the line and, when there is one, the column.
func (c *curveReader) errorf(column, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	if column == "" {
		line, _ := c.csv.FieldPos(0)
		return fmt.Errorf("%s:%d: %s", c.file, line, msg)
	}
	line, col := c.csv.FieldPos(c.column[column])
	return fmt.Errorf("%s:%d:%d: %s: %s", c.file, line, col, column, msg)
}

func (c *curveReader) next() error {
	record, err := c.csv.Read()
	if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
		return fmt.Errorf("%s:%d:%d: %w", c.file, parse.Line, parse.Column, parse.Err)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	c.record = record
	return err
}

func (c *curveReader) header() error {
	err := c.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: the file is empty", c.file)
	}
	if err != nil {
		return err
	}
	c.column = make(map[string]int)
	for i, name := range c.record {
		c.column[strings.TrimPrefix(name, "\ufeff")] = i
	}
	for _, name := range []string{columnDate, columnActive, columnLagging, columnLeading} {
		if _, ok := c.column[name]; !ok {
			return fmt.Errorf("%s:1: no column %q: a load curve needs %s, %s, %s and %s",
				c.file, name, columnDate, columnActive, columnLagging, columnLeading)
		}
	}
	return nil
}

func (c *curveReader) row() (end time.Time, s Interval, err error) {
	if err = c.next(); err != nil {
		return
	}
	date := c.record[c.column[columnDate]]
	end, err = time.Parse("02/01/2006 15:04", date)
	if err != nil {
		return end, s, c.errorf(columnDate, "%q is not a date like 31/12/2018 23:45", clip(date))
	}
	if end.Hour() == 0 && end.Minute() == 0 {
		end = end.AddDate(0, 0, 1)
	}
	for _, f := range []struct {
		column string
		to     *int64
	}{{columnActive, &s.Active}, {columnLagging, &s.Lagging}, {columnLeading, &s.Leading}} {
		text := c.record[c.column[f.column]]
		v, ok := parseMicro(text)
		if !ok || v > maxEnergy {
			return end, s, c.errorf(f.column, "%q is not an energy from 0 to 1000000 with at most 6 decimals", clip(text))
		}
		*f.to = v
	}
	for _, column := range []string{columnLagPF, columnLeadPF} {
		i, ok := c.column[column]
		if !ok {
			continue
		}
		if v, ok := parseMicro(c.record[i]); !ok || v > 100e6 {
			return end, s, c.errorf(column, "%q is not a power factor from 0 to 100 percent", clip(c.record[i]))
		}
	}
	return end, s, nil
}

// clip keeps an error on one line of the screen.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// parseMicro reads a plain non-negative decimal ("84.49") as millionths,
// exactly, or says no.
func parseMicro(s string) (int64, bool) {
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || len(whole) > 12 || len(frac) > -Exp || point && frac == "" {
		return 0, false
	}
	digits := whole + frac + "000000"[len(frac):]
	for _, d := range []byte(digits) {
		if d < '0' || d > '9' {
			return 0, false
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	return v, err == nil
}
