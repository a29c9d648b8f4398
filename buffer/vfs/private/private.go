// Package private keeps files to their owner and the system's administrators: by
// modes 0600 and 0700 where there are modes, on Windows by access control lists.
package private
