package plimsoll

// #cgo pkg-config: plimsoll
// #include "shim.h"
import "C"
