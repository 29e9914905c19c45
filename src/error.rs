//! The library's error: a code, its section, text with its causes, and for refusals the numbers.

use plimsoll_engine::EngineError;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

/// The part of the library that an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Section {
    /// Arguments and configuration.
    Request = 1,
    /// Reading a model.
    Loading = 2,
    /// Memory and admission.
    Memory = 3,
    /// Running a model.
    Generation = 4,
    /// Freeing and evicting.
    Cleanup = 5,
    /// Engines' health.
    Health = 6,
    /// Credentials of remote engines.
    Authentication = 7,
    /// plimsoll itself.
    Internal = 9,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $section:ident, $retry:literal, $text:literal;)*) => {
        /// What went wrong. Numbers are part of the ABI: never changed, never reused. 1xx is the caller's mistake,
        /// 2xx resources, 3xx model and engine, 4xx network, 9xx internal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $number,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The section it belongs to.
            pub fn section(self) -> Section {
                match self { $(ErrorCode::$name => Section::$section,)* }
            }

            /// Whether the same call may succeed later without a change.
            pub fn is_retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retry,)* }
            }

            /// A short name for logs.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// An argument is out of its range.
    InvalidArgument = 100, Request, false, "invalid argument";
    /// A required pointer is NULL.
    NullPointer = 101, Request, false, "null pointer";
    /// Text is not UTF-8.
    InvalidUtf8 = 102, Request, false, "invalid UTF-8";
    /// A configuration key is unknown or its value does not parse.
    InvalidConfig = 103, Request, false, "invalid configuration";
    /// The struct_size of a caller's struct is too small to hold any member.
    InvalidStructSize = 104, Request, false, "invalid struct_size";
    /// A blocking call was made on a handle from inside its own callback.
    Reentrant = 105, Request, false, "reentrant call";
    /// The ticket's time is over; its bytes are back.
    TicketExpired = 106, Request, false, "ticket expired";
    /// The ticket was used before.
    TicketConsumed = 107, Request, false, "ticket consumed";
    /// The ticket was granted for another session, request or turn.
    TicketMismatch = 108, Request, false, "ticket mismatch";
    /// A panic happened in this handle before; it can only be freed.
    Poisoned = 109, Request, false, "poisoned handle";
    /// The library has this call but not yet this use of it.
    Unsupported = 110, Request, false, "unsupported";
    /// The request has no message, no text and no tokens.
    EmptyRequest = 111, Request, false, "empty request";
    /// The conversation does not fit in the model's context.
    PromptTooLong = 112, Request, false, "prompt too long";
    /// A token id is not below the vocabulary's size.
    InvalidToken = 113, Request, false, "invalid token";

    /// The guard refused: the bytes are not there. The error carries the numbers.
    MemoryRefused = 200, Memory, true, "memory refused";
    /// The system refused memory that the guard had granted.
    OutOfMemory = 201, Memory, true, "out of memory";
    /// Too many requests wait.
    QueueFull = 202, Request, true, "queue full";
    /// The session has a request or a ticket outstanding.
    Busy = 203, Request, true, "session busy";

    /// No model at this path, or a file of it is missing or unreadable.
    ModelNotFound = 300, Loading, false, "model not found";
    /// A model file is damaged or contradicts itself.
    ModelMalformed = 301, Loading, false, "malformed model";
    /// The model is of a kind that is not supported.
    ModelUnsupported = 302, Loading, false, "unsupported model";
    /// The tokenizer cannot be built or cannot encode a text.
    Tokenizer = 303, Request, false, "tokenizer";
    /// The chat template is missing, or failed, or went over its limits.
    Template = 304, Request, false, "chat template";
    /// The engine failed while it ran a request.
    EngineFailed = 305, Generation, true, "engine failed";
    /// The engine is shutting down.
    EngineClosed = 306, Generation, false, "engine closed";
    /// Loading was stopped by the caller's progress callback.
    LoadCancelled = 307, Loading, true, "load cancelled";

    /// A fault of plimsoll: a caught panic or a broken invariant.
    Internal = 900, Internal, false, "internal error";
}

/// The longest error text, in bytes; longer ones are cut at a character.
const MAX_MESSAGE: usize = 1024;

/// The numbers of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Bytes asked for.
    pub bytes_asked: u64,
    /// Bytes free for them.
    pub bytes_free: u64,
    /// The largest `max_tokens` that would be granted now.
    pub fits_tokens: u32,
    /// When to try again; `None` when it can never fit.
    pub retry_after: Option<Duration>,
}

/// An error of the library.
///
/// ```
/// use plimsoll::{Config, ErrorCode, Runtime, Section};
/// use std::path::Path;
///
/// # fn main() -> plimsoll::Result<()> {
/// let mut config = Config::new();
/// config.set("memory.budget", "4MiB")?;
/// let runtime = Runtime::new(&config)?;
/// let loaded = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true);
///
/// let Err(error) = loaded else { panic!("seven megabytes fit into four") };
/// assert_eq!(error.code(), ErrorCode::MemoryRefused);
/// assert_eq!(error.code().section(), Section::Memory);
/// assert!(error.numbers().bytes_asked > error.numbers().bytes_free);
/// assert!(!error.is_retryable()); // nobody holds what could be given back
/// println!("{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    code: ErrorCode,
    message: Cow<'static, str>,
    numbers: Numbers,
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a text, cut at 1024 bytes, control characters escaped.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        let mut text = Text::default();
        // It is cut where it fails.
        let _ = write!(text, "{message}");
        Error { code, message: text.finish(), numbers: Numbers::default() }
    }

    /// The system refused memory for `what`. Made without any.
    pub(crate) fn no_memory(what: &'static str) -> Self {
        Error { code: ErrorCode::OutOfMemory, message: Cow::Borrowed(what), numbers: Numbers::default() }
    }

    /// An error with the text of `cause` and of all that caused it.
    pub fn caused(code: ErrorCode, cause: &dyn std::error::Error) -> Self {
        let mut message = Text::default();
        let _ = write!(message, "{cause}");
        let mut source = cause.source();
        while let Some(inner) = source {
            let mut text = Text::default();
            let _ = write!(text, "{inner}");
            // Some errors repeat their source's text in their own.
            if !message.out.contains(&text.out) {
                let _ = write!(message, ": {inner}");
            }
            source = inner.source();
        }
        Error { code, message: message.finish(), numbers: Numbers::default() }
    }

    /// The same error with a refusal's numbers.
    pub fn with_numbers(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Its text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A refusal's numbers; zero for other errors.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Whether the same call may succeed later: retryable by kind, and not a refusal that can never fit.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
            && (self.code != ErrorCode::MemoryRefused || self.numbers.retry_after.is_some())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::OutOfMemory { .. } => ErrorCode::OutOfMemory,
            EngineError::QueueFull { .. } => ErrorCode::QueueFull,
            EngineError::Invalid(_) => ErrorCode::InvalidArgument,
            EngineError::PriceOverflow => ErrorCode::InvalidArgument,
            EngineError::Closed => ErrorCode::EngineClosed,
            EngineError::Unpaid { .. } => ErrorCode::Internal,
            _ => ErrorCode::EngineFailed,
        };
        let mut numbers = Numbers::default();
        match error {
            EngineError::OutOfMemory { bytes, .. } => numbers.bytes_asked = bytes,
            EngineError::QueueFull { retry_after, .. } => numbers.retry_after = Some(retry_after),
            _ => {}
        }
        Error::caused(code, &error).with_numbers(numbers)
    }
}

/// A message in the making: control characters escaped, so that a file cannot write to a terminal through it, cut when it is long
/// and where memory ends.
#[derive(Default)]
struct Text {
    out: String,
    cut: bool,
}

impl Text {
    fn add(&mut self, c: char) -> fmt::Result {
        let size = c.len_utf8();
        if self.out.len() + size > MAX_MESSAGE || self.out.try_reserve(size + '…'.len_utf8()).is_err() {
            // The last character of all has its room already, unless there is none for the first.
            self.cut = true;
            if self.out.capacity() > self.out.len() + '…'.len_utf8() {
                self.out.push('…');
            }
            return Err(fmt::Error);
        }
        self.out.push(c);
        Ok(())
    }

    fn finish(self) -> Cow<'static, str> {
        if self.out.is_empty() && self.cut {
            Cow::Borrowed("no memory for the text of this error")
        } else {
            Cow::Owned(self.out)
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        text.chars().try_for_each(|c| match c.is_control() && c != '\n' {
            true => c.escape_default().try_for_each(|c| self.add(c)),
            false => self.add(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_their_range() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(*code as i32), "{code:?} reuses a number");
            assert!(matches!(*code as i32, 100..=499 | 900..=999));
        }
    }

    #[test]
    fn text_is_cut_and_escaped() {
        let error = Error::new(ErrorCode::Internal, format!("\u{1b}[31m{}", "é".repeat(5000)));
        assert!(error.message().len() <= MAX_MESSAGE + '…'.len_utf8());
        assert!(!error.message().contains('\u{1b}'));
    }

    #[test]
    fn a_refusal_that_never_fits_is_not_retryable() {
        let error = Error::new(ErrorCode::MemoryRefused, "no");
        assert!(!error.is_retryable());
        let later = Numbers { retry_after: Some(Duration::from_millis(5)), ..Numbers::default() };
        assert!(error.with_numbers(later).is_retryable());
    }
}
