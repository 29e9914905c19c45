//! Runs the checks.

use crate::Subject;
use crate::checks::{self, Check};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

/// Runs every check, each on a subject of its own.
///
/// # Errors
/// All violations, in the order of the checks.
pub fn suite(make: &dyn Fn() -> Subject) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    for &(check, body) in checks::ALL {
        if let Err(detail) = run(make, body) {
            violations.push(Violation { check, detail });
        }
    }
    if let Err(detail) = caught(|| checks::unload_while_running(make())) {
        violations.push(Violation { check: "unload_while_running", detail });
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn run(make: &dyn Fn() -> Subject, body: Check) -> Result<(), String> {
    caught(|| {
        let subject = make();
        body(&subject)?;
        subject.close()
    })
}

/// A panic in the caller's thread is a violation like any other.
fn caught(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|_| Err("it panicked on its caller's thread".to_owned()))
}
