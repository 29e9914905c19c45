//! The suite that every engine must pass, with a scripted engine and a scripted device.
//!
//! [`suite`] takes a maker of [`Subject`]s, an engine under a memory guard each, and runs every check on a fresh one. A
//! check uses nothing but the public contract: it asks the guard for grants, submits jobs, reads rings, and compares what
//! the engine holds with what is booked. After each check all sessions are closed and the engine is unloaded; then not a
//! byte may be booked or held.
//!
//! [`scripted`] is an engine made of the real scheduler over an executor whose tokens, times and failures are given. It
//! runs where no model is, and it can be made with a planted fault, which the suite must find.

mod checks;
pub mod scripted;
mod subject;
mod suite;
mod turn;

pub use subject::Subject;
pub use suite::{Violation, suite};
