//! The suite that every engine must pass, with a scripted engine and a scripted device.
