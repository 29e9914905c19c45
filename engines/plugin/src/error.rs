//! What can be wrong with a plug-in before it runs anything, and what its statuses mean.

use crate::status;
use plimsoll_engine::{EngineError, Region};
use std::time::Duration;

/// A plug-in that cannot be attached.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The table is NULL.
    #[error("the plug-in's table is NULL")]
    NullTable,
    /// The table's struct_size does not reach the last required slot.
    #[error("the plug-in's table has a struct_size of {0}; set it to sizeof(plimsoll_engine_table)")]
    TableSize(usize),
    /// The table is of a version that this library does not know.
    #[error("the plug-in is of version {0} of the interface; this library knows 1 to {current}", current = crate::abi::PLIMSOLL_ENGINE_ABI_VERSION)]
    Version(u32),
    /// A required slot is NULL.
    #[error("the plug-in has no {0}, which is required")]
    Missing(&'static str),
    /// It describes itself in figures that make no sense.
    #[error("the plug-in describes itself with {what} = {value}; it must be {range}")]
    Description {
        /// The member.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// A slot failed.
    #[error("the plug-in's {slot} failed with status {status}")]
    Failed {
        /// Which.
        slot: &'static str,
        /// With what.
        status: i32,
    },
    /// The system starts no thread.
    #[error("no thread for the plug-in: {0}")]
    Thread(String),
}

/// What a slot's or an end's status other than OK means for the request. `message` is the plug-in's own, empty for none.
pub(crate) fn failure(status: i32, what: &str, message: &str) -> EngineError {
    let text = match message {
        "" => format!("the plug-in's {what} failed with status {status}"),
        _ => message.to_owned(),
    };
    match status {
        status::INVALID_ARGUMENT | status::NULL_POINTER | status::INVALID_TOKEN => EngineError::Invalid(text),
        status::OUT_OF_MEMORY => EngineError::OutOfMemory { region: Region::Host, bytes: 0 },
        status::QUEUE_FULL => EngineError::QueueFull { queued: 0, retry_after: Duration::from_millis(100) },
        status::ENGINE_CLOSED => EngineError::Closed,
        _ => EngineError::Execution(text),
    }
}
