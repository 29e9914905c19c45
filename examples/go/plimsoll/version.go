package plimsoll

// #include "shim.h"
import "C"

import "fmt"

// Version is the version of the library that is linked, such as "0.1.0".
func Version() string {
	return C.GoString(C.plimsoll_version())
}

// ABIVersion is the number of the ABI of the library that is linked.
func ABIVersion() int {
	return int(C.plimsoll_abi_version())
}

// HeaderVersion is the version of the header that this package was compiled with.
func HeaderVersion() string {
	return fmt.Sprintf("%d.%d.%d", C.PLIMSOLL_VERSION_MAJOR, C.PLIMSOLL_VERSION_MINOR, C.PLIMSOLL_VERSION_PATCH)
}

// A library may be newer than the header, but not older: it would lack calls.
func compatible(linked, header int) error {
	if linked >= header {
		return nil
	}
	return &Error{
		Code:       ErrUnsupported,
		Section:    SectionInternal,
		Message:    fmt.Sprintf("the library has ABI %d, this program was compiled for %d", linked, header),
		RetryAfter: -1,
	}
}
