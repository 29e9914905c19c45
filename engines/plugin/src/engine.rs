//! A plug-in as an engine.

use crate::bring::Back;
use crate::couriers::{Call, Couriers};
use crate::desk::{Desk, HeldBack};
use crate::error::failure;
use crate::plug::Plug;
use crate::watch::Watch;
use crate::{Description, PluginError, price};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use plimsoll_engine::{
    Capabilities, Clock, Engine, EngineError, Estimate, FinishReason, Holdings, Job, Rejected, Request,
    SessionKey, Shape,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How a plug-in is treated.
#[derive(Clone)]
pub struct Settings {
    /// The clock that deadlines are on.
    pub clock: Arc<dyn Clock>,
    /// How long a reader waits for the end of a request that it has cancelled, and the last user of an engine for a plug-in
    /// that is held up in a call.
    pub grace: Duration,
    /// How long the guard waits for the answer to a reclaim: what the plug-in is told.
    pub reclaim_deadline: Duration,
}

/// A loaded plug-in. See the crate's documentation.
pub struct PluginEngine {
    // Fields drop in this order: the thread that watches, the way to the couriers, the plug-in itself unless a courier is
    // still inside of it, and then that courier is waited for.
    _watch: Watch,
    couriers: Couriers,
    plug: Arc<Plug>,
    _departure: Departure,
    desk: Arc<Desk>,
    capabilities: Capabilities,
    fixed: Holdings,
}

/// Waits, when it is dropped, until the plug-in is gone, at most for the grace.
struct Departure {
    gone: Receiver<Infallible>,
    grace: Duration,
    desk: Arc<Desk>,
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Err(RecvTimeoutError::Timeout) = self.gone.recv_timeout(self.grace) {
            log::error!(
                "a plug-in does not return from a call: it is freed, and its bytes return, when it does"
            );
            self.desk.abandon();
        }
    }
}

impl PluginEngine {
    pub(crate) fn start(
        plug: Arc<Plug>,
        description: &Description,
        settings: Settings,
        gone: Receiver<Infallible>,
    ) -> Result<Arc<PluginEngine>, PluginError> {
        let deadline_ms = u32::try_from(settings.reclaim_deadline.as_millis()).unwrap_or(u32::MAX);
        let couriers = Couriers::start(&plug, deadline_ms)?;
        let desk = Arc::clone(&plug.desk);
        let watch = Watch::start(&desk, couriers.clone(), settings.grace)?;
        let fixed =
            Holdings { weights: description.weights_bytes, workspace: description.workspace_bytes, kv: 0 };
        Ok(Arc::new(PluginEngine {
            _watch: watch,
            couriers,
            plug,
            _departure: Departure { gone, grace: settings.grace, desk: Arc::clone(&desk) },
            desk,
            capabilities: description.capabilities.clone(),
            fixed,
        }))
    }

    /// Calls of the plug-in that were ignored so far: for requests that had ended, for sessions that were not there.
    pub fn ignored_calls(&self) -> u64 {
        self.desk.ignored()
    }

    /// What can be known of a request before the plug-in has it, and its price.
    fn check(&self, request: &Request) -> Result<Estimate, EngineError> {
        let invalid = |text: String| Err(EngineError::Invalid(text));
        if request.tokens.is_empty() {
            return invalid("the prompt is empty".to_owned());
        }
        let Capabilities { vocab_size, context_length, .. } = self.capabilities;
        if let Some(id) = request.tokens.iter().find(|&&id| id >= vocab_size) {
            return invalid(format!("token {id} is beyond the vocabulary of {vocab_size} tokens"));
        }
        request.sampling.validate().map_err(|error| EngineError::Invalid(error.to_string()))?;
        let shape = request.shape().ok_or(EngineError::PriceOverflow)?;
        let Shape { prompt_tokens, max_tokens, .. } = shape;
        if u64::from(prompt_tokens) + u64::from(max_tokens) > u64::from(context_length) {
            return invalid(format!(
                "{prompt_tokens} prompt tokens and {max_tokens} to generate exceed the context of {context_length}"
            ));
        }
        self.estimate(&shape)
    }

    /// A job that the plug-in's queue has no room for.
    fn full(&self, job: Job) -> Box<Rejected> {
        // The plug-in does not say how many wait: as many as it has, at the least.
        let queued = self.capabilities.max_sequences as usize;
        let retry_after = self.desk.retry_after();
        Box::new(Rejected { job, error: EngineError::QueueFull { queued, retry_after } })
    }
}

impl Engine for PluginEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        let asked = self.plug.estimate(&price::shape(shape));
        let asked = asked.map_err(|answer| failure(answer, "estimate", ""))?;
        price::checked(&asked, shape, &self.capabilities, self.fixed.workspace)
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        let price = match self.check(&job.request) {
            Ok(price) => price,
            Err(error) => {
                self.desk.turn_away(job, FinishReason::Failed(error));
                return Ok(());
            }
        };
        // One more answer has the place of the first.
        let (placed, submitted) = (job.request.beside.is_some(), self.desk.now());
        let back = match self.desk.holds_back() {
            true => Err(Back::Full(Box::new(job))),
            false => self.plug.bring(job, &price, submitted),
        };
        match back {
            Ok(()) => Ok(()),
            Err(Back::Full(job)) if placed => {
                self.desk.hold_back(HeldBack { job: *job, price, submitted }, false);
                Ok(())
            }
            Err(Back::Full(job)) => Err(self.full(*job)),
            Err(Back::Closed(job)) => Err(Box::new(Rejected { job: *job, error: EngineError::Closed })),
        }
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        if let Some(bytes) = self.desk.reclaim(session, freed) {
            self.couriers.send(Call::Reclaim { session: session.0, bytes });
        }
    }

    fn holdings(&self) -> Holdings {
        match self.plug.holdings() {
            Some(held) => {
                Holdings { weights: held.weights_bytes, workspace: held.workspace_bytes, kv: held.kv_bytes }
            }
            None => Holdings { kv: self.desk.kv_bytes(), ..self.fixed },
        }
    }
}

impl std::fmt::Debug for PluginEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginEngine").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}
