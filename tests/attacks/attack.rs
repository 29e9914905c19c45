//! One hostile input: how it is made, what is done with it, and what must come of it.

use crate::common::Scratch;
use plimsoll::{ErrorCode, Request};
use std::path::PathBuf;

/// What is done with the model that an attack makes.
pub(crate) enum Act {
    /// It is loaded, which must fail.
    Load,
    /// It is loaded, which must succeed, and asked, which must fail.
    Ask(Box<Request>),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An error of this code.
    Fails(ErrorCode),
    /// An error of any code of loading, tokenizer or template: several checks see it, and the order is not promised.
    Refused,
    /// No error: the input is odd and harmless.
    Harmless,
}

/// One hostile input.
pub(crate) struct Attack {
    /// The family it belongs to, such as `G7`.
    pub(crate) id: &'static str,
    /// What is wrong.
    pub(crate) what: String,
    /// Writes it into an empty folder and answers with the path to load.
    pub(crate) make: Box<dyn Fn(&Scratch) -> PathBuf>,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
}

impl Attack {
    /// A load that fails with this code.
    pub(crate) fn load(
        id: &'static str,
        what: impl Into<String>,
        code: ErrorCode,
        make: impl Fn(&Scratch) -> PathBuf + 'static,
    ) -> Attack {
        Attack { id, what: what.into(), make: Box::new(make), act: Act::Load, outcome: Outcome::Fails(code) }
    }

    /// The same, with another outcome.
    pub(crate) fn but(mut self, outcome: Outcome) -> Attack {
        self.outcome = outcome;
        self
    }

    /// The model is sound as far as loading goes, and is then asked.
    pub(crate) fn ask(
        id: &'static str,
        what: impl Into<String>,
        code: ErrorCode,
        request: Request,
        make: impl Fn(&Scratch) -> PathBuf + 'static,
    ) -> Attack {
        let outcome = Outcome::Fails(code);
        Attack { id, what: what.into(), make: Box::new(make), act: Act::Ask(Box::new(request)), outcome }
    }
}

/// A folder with a copy of a golden model in it, changed.
pub(crate) fn spoilt(
    model: &'static str,
    change: impl Fn(&Scratch) + 'static,
) -> impl Fn(&Scratch) -> PathBuf {
    move |scratch| {
        scratch.copy(model);
        change(scratch);
        scratch.path().to_path_buf()
    }
}

/// Bytes under a file's name.
pub(crate) fn file(name: &'static str, bytes: Vec<u8>) -> impl Fn(&Scratch) -> PathBuf {
    move |scratch| scratch.write(name, &bytes)
}
