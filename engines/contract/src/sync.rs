//! What threads share: the standard library's locks and atomics and crossbeam's channels, or loom's stand-ins where every
//! interleaving of a model is run (`make loom`). Only what those models go through uses this module.

mod alarm;
#[cfg(loom)]
mod channel;
mod spin;

pub use alarm::Alarm;
pub use spin::lock_soon;

#[cfg(loom)]
pub use channel::{Receiver, Sender, unbounded};
#[cfg(not(loom))]
pub use crossbeam_channel::{Receiver, Sender, unbounded};
pub use crossbeam_channel::{RecvTimeoutError, TryRecvError};
#[cfg(loom)]
pub use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
