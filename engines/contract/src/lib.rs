//! What every engine of plimsoll promises: price, run, reclaim.
