//! The engine: plans, loads and runs a model.

mod error;
mod evaluator;
mod forward;
mod native;
mod options;
mod plan;

pub use error::LoadError;
pub use evaluator::Evaluator;
pub(crate) use forward::Forward;
pub use native::{Environment, NativeEngine, Pricer};
pub use options::{BackendKind, Options};
pub use plan::{LoadKey, LoadPlan};
pub use plimsoll_engine::{LoadState, Progress};

/// Evaluates an expression with a type alias bound to the backend of this kind.
macro_rules! with_backend {
    ($kind:expr, $backend:ident => $body:expr) => {
        match $kind {
            $crate::BackendKind::Cpu => {
                type $backend = $crate::backend::CpuBackend;
                $body
            }
            $crate::BackendKind::Candle => {
                type $backend = $crate::backend::CandleBackend;
                $body
            }
        }
    };
}
use with_backend;
