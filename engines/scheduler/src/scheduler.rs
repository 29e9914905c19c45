//! The core: a queue, the lanes that run, and one step at a time.

use crate::inherit::{gives, hand_on};
use crate::kept::KeptTable;
use crate::pace::{Pace, Taken};
use crate::price::{blocks_of, host_bytes, total_tokens};
use crate::queue::{Shared, Waiting};
use crate::running::Running;
use crate::step::{attempt, compose, run};
use crate::table::Need;
use crate::{BlockTable, KvBlock, Lane, Layers, Limits, StepExecutor};
use plimsoll_engine::{
    Clock, EngineError, Finish, FinishReason, Job, Lease, Region, Rejected, SessionKey, Throttle, TokenEvent,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Places of the queue whose memory is set aside at the start.
const QUEUE_RESERVED: usize = 1024;

/// What a scheduler is told besides its executor's limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the thread and the log lines.
    pub model: String,
    /// Most requests that wait.
    pub queue: usize,
    /// Where the executor's blocks live; KV leases of another region are refused.
    pub kv_region: Region,
    /// What the time between the tokens of running requests should be at most while a prompt comes in: the shorter it is,
    /// the shorter are the chunks that prompts are fed in. Where several prompts wait it may be up to four times as long.
    /// Zero fills every step. A step that only decodes takes what it takes.
    pub step_target: Duration,
    /// The share of the batch that may run, as the guard sets it.
    pub throttle: Arc<Throttle>,
}

impl Default for Config {
    fn default() -> Self {
        let step_target = Duration::from_millis(50);
        let throttle = Arc::default();
        Config { model: "model".into(), queue: 128, kv_region: Region::Host, step_target, throttle }
    }
}

/// Runs requests on an executor, one step per [`Scheduler::tick`].
///
/// It is deterministic: the same calls at the same times on its clock give the same steps. Dropping it ends every
/// request with [`EngineError::Closed`] and frees all KV.
pub struct Scheduler<E: StepExecutor> {
    executor: E,
    limits: Limits,
    kv_region: Region,
    clock: Arc<dyn Clock>,
    throttle: Arc<Throttle>,
    shared: Arc<Shared>,
    queue: VecDeque<Waiting>,
    // Side by side, in order of arrival.
    lanes: Vec<Lane<E>>,
    running: Vec<Running>,
    kept: KeptTable<E::Block>,
    pace: Pace,
    /// The next prompt's turn.
    turn: u64,
}

impl<E: StepExecutor> Scheduler<E> {
    /// A scheduler with nothing to do.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where a limit is zero or a step has no room for a token of every sequence.
    pub fn new(executor: E, config: &Config, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        let limits = executor.limits();
        let Limits { block_tokens, max_sequences, max_step_tokens, context_length, .. } = limits;
        let no_blocks = match limits.rolling {
            None => limits.block_bytes == 0,
            Some(rolling) => rolling.block_bytes == 0 || rolling.window == 0,
        };
        if block_tokens == 0 || no_blocks || max_sequences == 0 || context_length == 0 {
            return Err(EngineError::Invalid(format!("an executor's limit is zero: {limits:?}")));
        }
        if max_step_tokens < max_sequences {
            return Err(EngineError::Invalid(format!(
                "a step of {max_step_tokens} tokens has no room for {max_sequences} sequences"
            )));
        }
        Ok(Scheduler {
            executor,
            limits,
            kv_region: config.kv_region,
            clock,
            throttle: Arc::clone(&config.throttle),
            shared: Arc::new(Shared::new(config.queue, max_sequences)),
            queue: VecDeque::with_capacity(config.queue.min(QUEUE_RESERVED)),
            lanes: Vec::with_capacity(max_sequences),
            running: Vec::with_capacity(max_sequences),
            kept: KeptTable::new(limits),
            pace: Pace::new(config.step_target, max_step_tokens),
            turn: 0,
        })
    }

    /// Queues a job. A job that can never run ends at once, through its ring; so does one whose session has another
    /// under way, and it counts as never made.
    ///
    /// # Errors
    /// The job comes back with [`EngineError::QueueFull`].
    pub fn submit(&mut self, job: Job) -> Result<(), Box<Rejected>> {
        let waiting = self.shared.enter(job, self.clock.now())?;
        self.accept(waiting);
        Ok(())
    }

    /// Frees the KV of an idle session and answers its bytes; a session that waits, runs or is not known frees 0.
    pub fn reclaim(&mut self, session: SessionKey) -> u64 {
        if self.is_busy(session) {
            return 0;
        }
        let bytes = self.kept.bytes(session);
        self.kept.take(session, 0).clear();
        bytes
    }

    /// Ends what is cancelled or late, starts what has a lane, runs one step. Answers whether there is more to do.
    pub fn tick(&mut self) -> bool {
        let now = self.clock.now();
        self.interrupt(now);
        self.promote(now);
        self.hand_on();
        let taken = compose(&mut self.lanes, &mut self.running, &self.pace, now);
        if taken.decoding + taken.prompt > 0 {
            let started = self.clock.now();
            run(&mut self.executor, &mut self.lanes, &mut self.running);
            self.settle(taken, started);
        }
        !(self.queue.is_empty() && self.lanes.is_empty())
    }

    /// Ends every request with this error and frees all KV.
    pub fn shut_down(&mut self, error: &EngineError) {
        let now = self.clock.now();
        self.kept.clear();
        while let Some(running) = self.running.pop() {
            // Memory goes before the leases that pay for it.
            drop(self.lanes.pop());
            running.finish(FinishReason::Failed(error.clone()), 0, now);
        }
        self.lanes.clear();
        while let Some(waiting) = self.queue.pop_front() {
            self.end_waiting(waiting, FinishReason::Failed(error.clone()), now);
        }
    }

    /// Bytes of KV blocks alive, of running requests and of idle sessions.
    pub fn kv_bytes(&self) -> u64 {
        self.shared.blocks.get()
    }

    /// Requests that wait for a lane.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Requests that have a lane.
    pub fn running(&self) -> usize {
        self.lanes.len()
    }

    /// The executor's limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The executor.
    pub fn executor(&self) -> &E {
        &self.executor
    }

    /// The executor, to script it between ticks.
    pub fn executor_mut(&mut self) -> &mut E {
        &mut self.executor
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Queues a job that has its place, or ends it when it can never run.
    pub(crate) fn accept(&mut self, waiting: Waiting) {
        // More answers than places may wait.
        match self.check(&waiting).and_then(|()| self.make_room()) {
            Ok(()) => self.queue.push_back(waiting),
            Err(error) => self.end_waiting(waiting, FinishReason::Failed(error), self.clock.now()),
        }
    }

    fn make_room(&mut self) -> Result<(), EngineError> {
        let bytes = size_of::<Waiting>() as u64;
        self.queue.try_reserve(1).map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes })
    }

    fn is_busy(&self, session: SessionKey) -> bool {
        let mut busy = self.queue.iter().chain(self.running.iter().map(|running| &running.job));
        busy.any(|job| job.request.session == session)
    }

    /// What can be known of a job before it runs.
    fn check(&self, waiting: &Waiting) -> Result<(), EngineError> {
        let request = &waiting.request;
        let invalid = |text: String| Err(EngineError::Invalid(text));
        if self.is_busy(request.session) {
            return invalid(format!("session {} already has a request under way", request.session.0));
        }
        if request.tokens.is_empty() {
            return invalid("the prompt is empty".into());
        }
        let shape = request.shape().ok_or(EngineError::PriceOverflow)?;
        if total_tokens(&shape) > self.limits.context_length as u64 {
            return invalid(format!(
                "{} prompt tokens and {} to generate exceed the context of {}",
                shape.prompt_tokens, shape.max_tokens, self.limits.context_length
            ));
        }
        request.sampling.validate().map_err(|error| EngineError::Invalid(error.to_string()))?;
        let host = host_bytes::<E>(&self.limits, &shape).ok_or(EngineError::PriceOverflow)?;
        waiting.host_paid().pays(Region::Host, "host memory", host)?;
        let kv = blocks_of(&self.limits, &shape).and_then(|need| need.bytes(&self.limits));
        let kv = kv.ok_or(EngineError::PriceOverflow)?;
        waiting.kv.pays(self.kv_region, "KV", kv.saturating_sub(self.kept.bytes(request.session)))
    }

    /// Ends requests that are cancelled or late, running or not.
    fn interrupt(&mut self, now: Duration) {
        let mut i = 0;
        while i < self.running.len() {
            match self.running[i].job.interrupted(now) {
                Some(reason) => self.end_running(i, reason, now),
                None => i += 1,
            }
        }
        let mut i = 0;
        while i < self.queue.len() {
            let reason = self.queue[i].interrupted(now);
            match reason.and_then(|reason| Some((self.queue.remove(i)?, reason))) {
                Some((waiting, reason)) => self.end_waiting(waiting, reason, now),
                None => i += 1,
            }
        }
    }

    /// Moves requests from the queue to free lanes, in order of arrival, as far as memory allows.
    fn promote(&mut self, now: Duration) {
        while self.lanes.len() < self.throttle.of(self.limits.max_sequences) {
            let Some(mut waiting) = self.queue.pop_front() else { break };
            match self.open(&mut waiting) {
                Ok(lane) => {
                    waiting.leave_queue();
                    self.running.push(Running::new(waiting, lane.tokens.len(), lane.position, self.turn));
                    self.turn += 1;
                    self.lanes.push(lane);
                }
                Err(error) => self.end_waiting(waiting, FinishReason::Failed(error), now),
            }
        }
    }

    /// Copies prompts to those who wait for them, and has those go on for whose prompt nobody waits any longer.
    fn hand_on(&mut self) {
        hand_on(&mut self.executor, &self.limits, &mut self.lanes, &mut self.running, &self.kept);
        for i in 0..self.running.len() {
            let gave = self.running[i].gives;
            self.running[i].gives = gives(&self.limits, &self.running, i);
            if gave && !self.running[i].gives {
                self.release(i);
            }
        }
    }

    /// Allocates all that a request will ever need. On an error the session keeps what of its KV this request shares.
    fn open(&mut self, waiting: &mut Waiting) -> Result<Lane<E>, EngineError> {
        let request = &mut waiting.request;
        let session = request.session;
        let sequence = attempt(|| self.executor.open(request))?;
        let mut tokens = std::mem::take(&mut request.tokens);
        let prompt_tokens = tokens.len();
        let total = prompt_tokens + request.max_tokens as usize;
        reserve(&mut tokens, total)?;
        let mut tops = Vec::new();
        reserve(&mut tops, request.sampling.top_logprobs as usize)?;
        // The last prompt token always runs: its logits choose the first token.
        let position = self.kept.reusable(session, request.shared_prefix.min(prompt_tokens - 1));
        let need = self.limits.need(total, position, prompt_tokens - position);
        let need = need.ok_or(EngineError::PriceOverflow)?;
        // What the session holds too much of pays for what it lacks.
        while let Some(lease) = self.kept.shed(session, need) {
            // A lease of other books would go back to these.
            drop(waiting.kv.absorb(lease));
        }
        let mut blocks = self.allocate(need, need.beyond(self.kept.held(session)), &mut waiting.kv)?;
        blocks.prepend(self.kept.take(session, position));
        // What was granted beyond the blocks is nobody's.
        waiting.kv.shrink_to(0);
        let sampled = TokenEvent { id: 0, logprob: 0.0 };
        Ok(Lane { tokens, position, feed: 0, sample: false, blocks, sequence, sampled, tops })
    }

    /// New blocks, paid for out of the lease, in a table with room for `need`.
    fn allocate(
        &mut self,
        need: Need,
        new: Need,
        paid: &mut Lease,
    ) -> Result<BlockTable<E::Block>, EngineError> {
        let mut table = BlockTable::default();
        reserve(&mut table.whole, need.whole)?;
        reserve(&mut table.rolling, need.rolling)?;
        let rolling = self.limits.rolling.map_or(0, |rolling| rolling.block_bytes);
        for (blocks, count, layers, bytes) in [
            (&mut table.whole, new.whole, Layers::Whole, self.limits.block_bytes),
            (&mut table.rolling, new.rolling, Layers::Rolling, rolling),
        ] {
            for _ in 0..count {
                let data = attempt(|| self.executor.allocate(layers))?;
                // Checked when the job came, and the session's blocks cannot have gone since: it was busy.
                let lease = paid.split(bytes).map_err(|short| EngineError::Unpaid {
                    what: "KV",
                    paid: short.held,
                    needed: short.asked,
                })?;
                blocks.push(KvBlock::counted(data, &self.shared.blocks, lease));
            }
        }
        Ok(table)
    }

    /// Takes in the step's results and how long they took.
    fn settle(&mut self, taken: Taken, started: Duration) {
        let now = self.clock.now();
        self.pace.observe(taken, now.saturating_sub(started));
        let mut i = 0;
        while i < self.lanes.len() {
            self.running[i].pass(self.limits.max_step_tokens, &mut self.turn);
            let ended = self.running[i].settle(&mut self.lanes[i], now);
            match ended {
                Some(reason) => self.end_running(i, reason, now),
                None => {
                    self.running[i].gives = gives(&self.limits, &self.running, i);
                    if !self.running[i].gives {
                        self.release(i);
                    }
                    i += 1;
                }
            }
        }
    }

    /// Frees the blocks of a lane that no step to come needs: they lie behind the window, and there are others for the
    /// positions ahead.
    fn release(&mut self, index: usize) {
        let Lane { tokens, position, blocks, .. } = &mut self.lanes[index];
        if self.limits.rolling.is_none() {
            return;
        }
        blocks.roll(&self.limits, *position);
        let total = self.running[index].total_tokens();
        if let Some(need) = self.limits.need(total, *position, tokens.len() - *position) {
            blocks.truncate(need);
        }
    }

    /// Ends a request that has a lane. Its KV stays for the session if the request says so and did not fail.
    fn end_running(&mut self, index: usize, reason: FinishReason, now: Duration) {
        let running = self.running.remove(index);
        let Lane { blocks, position, tokens, sequence, tops, .. } = self.lanes.remove(index);
        drop((tokens, sequence, tops));
        let request = &running.job.request;
        let keep = request.keep_kv && !matches!(reason, FinishReason::Failed(_));
        let kv_tokens = if keep { position } else { 0 };
        self.kept.put(request.session, blocks, kv_tokens);
        if let Some(took) = running.service(now) {
            self.shared.record_service(took);
        }
        running.finish(reason, kv_tokens, now);
    }

    /// Ends a request that has no lane. Of its session's KV stays what is valid for this request too, so that the next
    /// one may count its shared prefix from either.
    fn end_waiting(&mut self, waiting: Waiting, reason: FinishReason, now: Duration) {
        let request = &waiting.request;
        let valid = if request.keep_kv { request.shared_prefix } else { 0 };
        // A request that was refused beside another of its session leaves that one's KV alone.
        let alone = !self.is_busy(request.session);
        let kv_tokens = if alone { self.kept.trim(request.session, valid) } else { 0 };
        let queued = now.saturating_sub(waiting.submitted);
        let (prefill, decode) = (Duration::ZERO, Duration::ZERO);
        waiting.finish(Finish { reason, cached_tokens: 0, kv_tokens, queued, prefill, decode });
    }
}

impl<E: StepExecutor> Drop for Scheduler<E> {
    fn drop(&mut self) {
        self.shut_down(&EngineError::Closed);
    }
}

/// Brings a vector's capacity to `capacity` elements, no more where it has to grow.
fn reserve<T>(vec: &mut Vec<T>, capacity: usize) -> Result<(), EngineError> {
    vec.shrink_to(capacity);
    vec.try_reserve_exact(capacity.saturating_sub(vec.len())).map_err(|_| EngineError::OutOfMemory {
        region: Region::Host,
        bytes: capacity.saturating_mul(size_of::<T>()) as u64,
    })
}
