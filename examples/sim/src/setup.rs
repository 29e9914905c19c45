//! What a run is made of: the machine's memory, the model's shape, the guard's settings.

use plimsoll::Config;
use plimsoll_scheduler::Limits;
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// The fixed figures of a run. Bytes, tokens, seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// What the machine has.
    pub memory: u64,
    /// Fraction of it that may be leased.
    pub threshold: f64,
    /// MiB of it that are never leased.
    pub reserve_mb: u64,
    /// Most KV of a session, in MiB.
    pub session_limit_mb: u64,
    /// Sessions unused for so long lose their KV.
    pub idle_timeout_s: u64,
    /// The model's weights.
    pub weights: u64,
    /// The engine's workspace.
    pub workspace: u64,
    /// Tokens of a KV block.
    pub block_tokens: usize,
    /// Bytes of a KV block.
    pub block_bytes: u64,
    /// Requests in a batch.
    pub max_sequences: usize,
    /// Tokens in a step.
    pub max_step_tokens: usize,
    /// Tokens of a conversation.
    pub context_length: usize,
    /// Requests that wait for a lane.
    pub queue: usize,
}

impl Default for Setup {
    /// A model of a billion parameters in a container of a gigabyte.
    fn default() -> Self {
        Setup {
            memory: 1024 * MIB,
            threshold: 0.85,
            reserve_mb: 100,
            session_limit_mb: 96,
            idle_timeout_s: 30,
            weights: 320 * MIB,
            workspace: 24 * MIB,
            block_tokens: 16,
            block_bytes: MIB / 2,
            max_sequences: 48,
            max_step_tokens: 512,
            context_length: 4096,
            queue: 128,
        }
    }
}

impl Setup {
    /// Weights and workspace.
    pub fn fixed(&self) -> u64 {
        self.weights + self.workspace
    }

    /// The executor's limits.
    pub fn limits(&self) -> Limits {
        Limits {
            block_tokens: self.block_tokens,
            block_bytes: self.block_bytes,
            rolling: None,
            max_sequences: self.max_sequences,
            max_step_tokens: self.max_step_tokens,
            context_length: self.context_length,
        }
    }

    /// The runtime's settings. There is no budget: readings come from the probe.
    ///
    /// # Errors
    /// A figure is out of its range.
    pub fn config(&self) -> plimsoll::Result<Config> {
        let mut config = Config::new();
        for (key, value) in [
            ("guard.threshold", self.threshold.to_string()),
            ("guard.reserve_mb", self.reserve_mb.to_string()),
            ("guard.session_limit_mb", self.session_limit_mb.to_string()),
            ("guard.idle_timeout_s", self.idle_timeout_s.to_string()),
            // Longer than a rush makes it: who is sent away comes again behind everyone.
            ("guard.queue", "1024".to_owned()),
            // The checks expect grants that only bytes and limits bound.
            ("guard.degrade", "off".to_owned()),
            // And that KV goes only for requests, timeouts and closed sessions.
            ("monitor.cleanup", "off".to_owned()),
        ] {
            config.set(key, &value)?;
        }
        Ok(config)
    }

    /// Most KV bytes of a session.
    pub fn session_limit(&self) -> u64 {
        self.session_limit_mb * MIB
    }
}
