package plimsoll

// #include "shim.h"
import "C"

import (
	"fmt"
	"sort"
	"strconv"
	"time"
)

// Config sets options of the library by their keys, such as "guard.reserve_mb" to "0". The error for an unknown key lists
// them all. What it sets goes before the named fields of the options that it is part of.
type Config map[string]string

// with is the configuration with a further key, unless the value is empty or the key is set already.
func (c Config) with(key, value string) Config {
	if _, ok := c[key]; ok || value == "" {
		return c
	}
	more := Config{key: value}
	for k, v := range c {
		more[k] = v
	}
	return more
}

// build makes the library's configuration, which the caller frees.
func (c Config) build() (*C.plimsoll_config, error) {
	var config *C.plimsoll_config
	var e *C.plimsoll_error
	if err := check(C.plimsoll_config_new(&config, &e), e); err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	sort.Strings(keys) // of several mistakes always the same is reported
	for _, key := range keys {
		name, nameLen := chars(key)
		value, valueLen := chars(c[key])
		if err := check(C.plimsoll_config_set(config, name, nameLen, value, valueLen, &e), e); err != nil {
			C.plimsoll_config_free(config)
			return nil, err
		}
	}
	return config, nil
}

// number is the value of a key for which 0 is the default.
func number[N int | uint64](n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
