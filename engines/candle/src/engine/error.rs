//! Why a model could not be loaded.

use plimsoll_engine::EngineError;
use plimsoll_formats::FormatError;

/// A load's failure. Its text is bounded and free of control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An option is out of its range.
    #[error("{name} is {value}; it must be {range}")]
    Option {
        /// The option.
        name: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// The files are missing, malformed, changed or not supported.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The weights are sound as files and compute nothing.
    #[error("the weights give logits that are not numbers")]
    NotNumbers,
    /// The engine could not be built from sound files: memory was refused, a lease is too small, a size overflowed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The progress callback stopped the load.
    #[error("the load was stopped")]
    Cancelled,
}
