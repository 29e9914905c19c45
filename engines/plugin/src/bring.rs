//! Bringing a job to the plug-in.

use crate::abi::plimsoll_engine_request;
use crate::desk::{Entered, HeldBack, Taken};
use crate::error::failure;
use crate::plug::Plug;
use crate::status;
use plimsoll_engine::{EngineError, Estimate, FinishReason, Job};
use std::time::Duration;

/// A job that comes back, as it was.
pub(crate) enum Back {
    /// The plug-in's queue has no room for it.
    Full(Box<Job>),
    /// The engine is going.
    Closed(Box<Job>),
}

impl Plug {
    /// Gives the plug-in a job that was priced, and came when `submitted` says. What cannot run has ended.
    pub(crate) fn bring(&self, job: Job, price: &Estimate, submitted: Duration) -> Result<(), Back> {
        match self.desk.enter(job, price, submitted) {
            Entered::Taken(taken) => self.hand_over(*taken),
            Entered::Ended => Ok(()),
            Entered::Closed(job) => Err(Back::Closed(job)),
        }
    }

    /// Brings those that were held back, in order, as far as there is room.
    pub(crate) fn resume(&self) {
        while let Some(HeldBack { job, price, submitted }) = self.desk.next_held_back() {
            match self.bring(job, &price, submitted) {
                Ok(()) => {}
                Err(Back::Full(job)) => {
                    self.desk.hold_back(HeldBack { job: *job, price, submitted }, true);
                    break;
                }
                Err(Back::Closed(job)) => {
                    self.desk.turn_away(*job, FinishReason::Failed(EngineError::Closed));
                }
            }
        }
        self.desk.resumed();
    }

    /// Gives the plug-in a request that the desk has taken.
    fn hand_over(&self, taken: Taken) -> Result<(), Back> {
        let Taken { request, shared_prefix, kv_bytes, request_bytes } = taken;
        let sampling = &request.sampling;
        let raw = plimsoll_engine_request {
            struct_size: size_of::<plimsoll_engine_request>(),
            request: request.id.0,
            session: request.session.0,
            tokens: request.tokens.as_ptr(),
            token_count: request.tokens.len(),
            stop_tokens: request.stop_tokens.as_ptr(),
            stop_count: request.stop_tokens.len(),
            shared_prefix,
            max_tokens: request.max_tokens,
            top_logprobs: sampling.top_logprobs,
            kv_bytes,
            request_bytes,
            seed: sampling.seed.unwrap_or(0),
            has_seed: sampling.seed.is_some().into(),
            keep_kv: request.keep_kv.into(),
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            reserved: 0,
        };
        match self.start(&raw) {
            status::OK => Ok(()),
            status::QUEUE_FULL => match self.desk.withdraw(request) {
                Some(job) => Err(Back::Full(Box::new(job))),
                None => Ok(()),
            },
            answer => {
                self.desk.fail(request.id, failure(answer, "start", ""), true);
                Ok(())
            }
        }
    }
}
