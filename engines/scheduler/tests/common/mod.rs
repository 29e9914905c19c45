//! What the scheduler's tests share: books, and an executor whose tokens depend on what is in the KV blocks.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

pub mod books;
pub mod executor;

use books::Books;
use executor::{BLOCK_BYTES, BLOCK_TOKENS, ROLLING_BYTES, Scripted};
use plimsoll_engine::{
    Cancel, Estimate, Finish, Job, ManualClock, Next, Owner, Region, Request, RequestId, Ring, Sampling,
    SessionKey, Shape, Throttle, TokenEvent,
};
use plimsoll_scheduler::{Config, Limits, Rolling, Scheduler, price};
use std::sync::Arc;
use std::time::Duration;

pub const LIMITS: Limits = Limits {
    block_tokens: BLOCK_TOKENS,
    block_bytes: BLOCK_BYTES,
    rolling: None,
    max_sequences: 3,
    max_step_tokens: 8,
    context_length: 64,
};

/// The same with layers of both kinds.
pub const MIXED: Limits =
    Limits { rolling: Some(Rolling { block_bytes: ROLLING_BYTES, window: 6 }), ..LIMITS };

/// The same where all layers have a window.
pub const ROLLING: Limits = Limits { block_bytes: 0, ..MIXED };

/// A scheduler over a scripted executor, its books and its clock.
pub struct Bench {
    pub scheduler: Scheduler<Scripted>,
    pub books: Arc<Books>,
    pub clock: Arc<ManualClock>,
    pub throttle: Arc<Throttle>,
    next_id: u64,
}

/// The consumer's side of a job.
pub struct Sent {
    pub id: RequestId,
    pub ring: Arc<Ring>,
    pub cancel: Cancel,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(LIMITS, 4)
    }

    pub fn with(limits: Limits, queue: usize) -> Self {
        Self::paced(limits, queue, Config::default().step_target)
    }

    pub fn paced(limits: Limits, queue: usize, step_target: Duration) -> Self {
        let clock = Arc::new(ManualClock::default());
        let throttle = Arc::<Throttle>::default();
        let config = Config { queue, step_target, throttle: throttle.clone(), ..Config::default() };
        let scheduler = Scheduler::new(Scripted::new(limits), &config, clock.clone()).unwrap();
        Bench { scheduler, books: Arc::default(), clock, throttle, next_id: 0 }
    }

    /// A request of session 1 with everything at its default.
    pub fn request(&mut self, tokens: &[u32], max_tokens: u32) -> Request {
        self.next_id += 1;
        Request {
            id: RequestId(self.next_id),
            session: SessionKey(1),
            tokens: tokens.to_vec(),
            shared_prefix: 0,
            max_tokens,
            sampling: Sampling::default(),
            stop_tokens: Arc::new([]),
            deadline: None,
            keep_kv: true,
            beside: None,
        }
    }

    /// Books what the request costs beyond what its session holds, as a guard would.
    pub fn job(&self, request: Request) -> (Job, Sent) {
        job_of(self.scheduler.limits(), &self.books, request)
    }

    /// Submits a request that must be taken.
    pub fn submit(&mut self, request: Request) -> Sent {
        let (job, sent) = self.job(request);
        self.scheduler.submit(job).unwrap();
        sent
    }

    /// Ticks until nothing is left to do.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.scheduler.tick() {
                return;
            }
        }
        panic!("the scheduler does not come to rest");
    }

    /// Blocks alive, by the executor's own count; the scheduler's and the books' must agree.
    pub fn blocks(&self) -> u64 {
        self.kv_bytes() / BLOCK_BYTES
    }

    /// Their bytes.
    pub fn kv_bytes(&self) -> u64 {
        let alive = self.scheduler.executor().alive();
        assert_eq!(self.scheduler.kv_bytes(), alive);
        alive
    }
}

/// The price of a request.
pub fn estimate(request: &Request) -> Estimate {
    estimate_of(&LIMITS, request)
}

/// Its price within other limits.
pub fn estimate_of(limits: &Limits, request: &Request) -> Estimate {
    let shape = Shape {
        prompt_tokens: u32::try_from(request.tokens.len()).unwrap(),
        max_tokens: request.max_tokens,
        top_logprobs: request.sampling.top_logprobs,
        penalties: request.sampling.penalises(),
    };
    price::<Scripted>(limits, Region::Host, 0, &shape).unwrap()
}

pub fn job(books: &Arc<Books>, request: Request) -> (Job, Sent) {
    job_of(&LIMITS, books, request)
}

pub fn job_of(limits: &Limits, books: &Arc<Books>, request: Request) -> (Job, Sent) {
    let price = estimate_of(limits, &request);
    let id = request.id;
    let owner = Owner::Kv(request.session);
    let kv = books.book(Region::Host, owner, price.kv_bytes.saturating_sub(books.held(owner)));
    let host = books.book(Region::Host, Owner::Request(id), price.request_bytes - price.ring_bytes);
    // The ring returns its bytes when its end is read, so it has an owner of its own, which nobody watches.
    let paid = books.book(Region::Host, Owner::Request(RequestId(id.0 | 1 << 63)), price.ring_bytes);
    let ring = Arc::new(Ring::new(request.max_tokens, request.sampling.top_logprobs, paid).unwrap());
    books.watch(id, &ring);
    let cancel = Cancel::new();
    let sent = Sent { id, ring: ring.clone(), cancel: cancel.clone() };
    (Job { request, kv, host, ring, cancel }, sent)
}

impl Sent {
    /// All tokens so far, and the end if it has come.
    pub fn read(&self) -> (Vec<u32>, Option<Finish>) {
        let mut tokens = Vec::new();
        loop {
            match self.ring.next(Some(Duration::ZERO), &mut Vec::new()) {
                Next::Token(TokenEvent { id, .. }) => tokens.push(id),
                Next::Finished(finish) => return (tokens, Some(finish)),
                Next::TimedOut => return (tokens, None),
            }
        }
    }

    /// Tokens and the end of a request that has ended.
    pub fn end(&self) -> (Vec<u32>, Finish) {
        let (tokens, finish) = self.read();
        (tokens, finish.expect("the request has ended"))
    }
}
