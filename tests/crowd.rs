//! Real requests in a crowd: random lengths, sessions, cancels, deadlines, tickets and waits on many threads, in a budget that
//! many of them exceed. Whatever was admitted runs to its end, nothing is left over, and the books agree throughout.
//!
//! `PLIMSOLL_CROWD` is the number of requests [400], `PLIMSOLL_CROWD_SEED` the seed; `make crowd` runs 10,000.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{Books, config, eventually};
use plimsoll::{
    Cancel, Config, Decision, Ending, ErrorCode, Flow, Input, Model, Outcome, Polled, Request, Runtime,
    Session,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 16;
/// Between these the crowd stands still, and the engine's allocators are compared with the ledger.
const ROUNDS: u64 = 8;
/// Who waits so long waits for ever: by then all that runs has ended many times.
const FOR_EVER: Duration = Duration::from_secs(600);
/// The longest prompt and the longest answer of a turn.
const PROMPT: u64 = 160;
const ANSWER: u64 = 96;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Small numbers are as likely as large ones.
    fn doubling(&mut self, most: u64) -> u64 {
        let top = self.between(0, u64::from(most.ilog2()));
        self.between(1, (2 << top).min(most))
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    fn request(&mut self, model: &Model) -> Request {
        let mut request = Request::default();
        let tokens = self.doubling(PROMPT);
        let vocab = u64::from(model.vocab_size());
        request.set_input(Input::Tokens((0..tokens).map(|_| self.between(0, vocab - 1) as u32).collect()));
        request.max_tokens = self.doubling(ANSWER) as u32;
        request.min_tokens = if self.chance(60) { request.max_tokens } else { 1 };
        request.ignore_eos = self.chance(80);
        request.answers = if self.chance(20) { self.between(2, 4) as u32 } else { 1 };
        request.priority = self.between(0, 2) as i8 - 1;
        request.wait = match self.between(0, 9) {
            0..=3 => Duration::ZERO,
            4 => Duration::from_millis(self.between(1, 20)),
            _ => FOR_EVER,
        };
        request.deadline = self.chance(10).then(|| Duration::from_millis(self.between(1, 200)));
        if self.chance(2) {
            // More than there ever is.
            (request.max_tokens, request.min_tokens) = (1 << 20, 1 << 20);
        }
        request
    }
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    cut_short: AtomicU64,
    refused: AtomicU64,
    unused: AtomicU64,
    /// Those for which there were no bytes when they came.
    exceeded: AtomicU64,
}

struct Crowd<'a> {
    runtime: &'a Runtime,
    model: &'a Model,
    tally: Tally,
    /// Whom to cancel when.
    cancels: Mutex<Sender<(Instant, Cancel)>>,
}

impl Crowd<'_> {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, SeqCst);
    }

    /// After admission nothing but an ending is allowed.
    fn ended(&self, granted: u32, outcome: plimsoll::Result<Outcome>) {
        let outcome = outcome.unwrap_or_else(|error| panic!("an admitted request failed: {error}"));
        assert_eq!(outcome.answers().count(), outcome.verdict.answers as usize);
        let mut cut_short = false;
        for answer in outcome.answers() {
            assert!(answer.generated_tokens <= granted);
            match answer.ending {
                Ending::Length => assert_eq!(answer.generated_tokens, granted, "{answer:?}"),
                Ending::EndOfText => {}
                _ => cut_short = true,
            }
        }
        Self::add(if cut_short { &self.tally.cut_short } else { &self.tally.answered });
    }

    fn refused(&self, error: &plimsoll::Error) {
        let allowed = [ErrorCode::MemoryRefused, ErrorCode::QueueFull, ErrorCode::PromptTooLong];
        assert!(allowed.contains(&error.code()), "{error}");
        Self::add(&self.tally.refused);
    }

    fn cancel(&self, random: &mut Random) -> Cancel {
        let cancel = Cancel::new();
        if random.chance(15) {
            let when = Instant::now() + Duration::from_millis(random.between(0, 60));
            self.cancels.lock().unwrap().send((when, cancel.clone())).unwrap();
        }
        cancel
    }

    fn one(&self, random: &mut Random, session: &Session) {
        let request = random.request(self.model);
        let cancel = self.cancel(random);
        if let Ok(verdict) = session.what_if(&request)
            && verdict.decision == Decision::Reject
            && verdict.retry_after.is_some()
        {
            Self::add(&self.tally.exceeded);
        }
        match random.between(0, 9) {
            0..=4 => match session.stream(&request, None, &cancel) {
                Ok(mut stream) => {
                    let granted = stream.verdict().granted_tokens;
                    let ended = loop {
                        match stream.next(None) {
                            Ok(Polled::Finished(outcome)) => break Ok(outcome),
                            Ok(_) => {}
                            Err(error) => break Err(error),
                        }
                    };
                    self.ended(granted, ended);
                }
                Err(error) => self.refused(&error),
            },
            // A reader that goes away.
            5 => match session.stream(&request, None, &cancel) {
                Ok(mut stream) => {
                    stream.next(Some(Duration::from_millis(5))).unwrap_or_else(|error| panic!("{error}"));
                    Self::add(&self.tally.cut_short);
                }
                Err(error) => self.refused(&error),
            },
            _ => match session.admit_cancellable(&request, &cancel) {
                Ok((verdict, Some(ticket))) => {
                    if random.chance(25) {
                        thread::sleep(Duration::from_millis(random.between(0, 10)));
                        return Self::add(&self.tally.unused);
                    }
                    let ended = session.generate(&request, Some(&ticket), &cancel, |_| Flow::Continue);
                    self.ended(verdict.granted_tokens, ended);
                }
                Ok((verdict, None)) => {
                    assert_eq!(verdict.decision, Decision::Reject);
                    Self::add(&self.tally.refused);
                }
                Err(error) => self.refused(&error),
            },
        }
    }

    fn member(&self, seed: u64, requests: u64, barrier: &Barrier) {
        let mut random = Random(seed);
        let open = || Session::open(self.model, &Config::new()).unwrap();
        let mut sessions = [open(), open()];
        for round in 0..ROUNDS {
            for _ in (0..requests).filter(|at| at % ROUNDS == round) {
                let at = random.between(0, 1) as usize;
                match random.between(0, 9) {
                    0 | 1 => sessions[at] = open(),
                    2 => sessions[at].reset().unwrap(),
                    3 => drop(sessions[at].evict().unwrap()),
                    _ => {}
                }
                let began = Instant::now();
                self.one(&mut random, &sessions[at]);
                assert!(began.elapsed() < FOR_EVER, "nobody told it of what it waited for");
            }
            barrier.wait();
            barrier.wait();
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The demo model in a budget with so much room beside it.
fn load(room: u64) -> (Runtime, Model) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let load = |budget: u64| {
        let budget = budget.to_string();
        let settings = [
            ("memory.budget", budget.as_str()),
            ("guard.threshold", "1"),
            ("guard.reserve_mb", "0"),
            ("guard.degrade", "off"),
            ("guard.ticket_ttl_s", "60"),
        ];
        let runtime = Runtime::new(&config(&settings)).unwrap();
        let model =
            runtime.load_model("demo", &folder, &config(&[("native.threads", "2")]), &|_| true).unwrap();
        (runtime, model)
    };
    let (plenty, model) = load(1 << 30);
    let fixed = plenty.memory().host().used;
    drop((model, plenty));
    load(fixed + room)
}

#[test]
fn whatever_is_admitted_in_a_crowd_ends_and_leaves_nothing() {
    let (requests, seed) = (number("PLIMSOLL_CROWD", 400), number("PLIMSOLL_CROWD_SEED", 1));
    // Others would wait for a thread that panicked.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        eprintln!("again: PLIMSOLL_CROWD={requests} PLIMSOLL_CROWD_SEED={seed}");
        std::process::exit(101);
    }));
    let started = Instant::now();
    // Room for a few of the largest requests, so that sixteen threads have too little.
    let (runtime, model) = load(0);
    let mut largest = Request::default();
    largest.set_input(Input::Tokens(vec![1; PROMPT as usize]));
    largest.max_tokens = ANSWER as u32;
    let price = Session::open(&model, &Config::new()).unwrap().what_if(&largest).unwrap().bytes_asked;
    drop((model, runtime));
    // About a quarter then find too little; a short crowd spends more of its time in getting together.
    let (runtime, model) = load(price * if requests < 2_000 { 5 } else { 7 });
    let before = Books::of(&runtime);
    let (sender, cancels) = channel::<(Instant, Cancel)>();
    let crowd =
        Crowd { runtime: &runtime, model: &model, tally: Tally::default(), cancels: Mutex::new(sender) };
    let (barrier, over) = (Barrier::new(THREADS as usize + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0_u64;
            while !over.load(SeqCst) {
                runtime.guard().check_integrity().unwrap_or_else(|error| panic!("{error}"));
                looks += 1;
                thread::sleep(Duration::from_millis(2));
            }
            looks
        });
        let cancelling = scope.spawn(move || {
            for (when, cancel) in cancels {
                thread::sleep(when.saturating_duration_since(Instant::now()));
                cancel.cancel();
            }
        });
        let members: Vec<_> = (0..THREADS)
            .map(|member| {
                let (crowd, barrier) = (&crowd, &barrier);
                let share = requests / THREADS + u64::from(member < requests % THREADS);
                scope.spawn(move || crowd.member(seed * THREADS + member, share, barrier))
            })
            .collect();
        for _ in 0..ROUNDS {
            barrier.wait();
            // A stream that was dropped has ended, and so has all else.
            eventually("the books agree with the allocators", || model.check_integrity().is_ok());
            assert_eq!(runtime.memory().waiting, 0);
            barrier.wait();
        }
        members.into_iter().for_each(|member| member.join().unwrap());
        over.store(true, SeqCst);
        assert!(looks.join().unwrap() > 0);
        drop(std::mem::replace(&mut *crowd.cancels.lock().unwrap(), channel().0));
        cancelling.join().unwrap();
    });
    eventually("sessions have given their memory back", || Books::of(crowd.runtime) == before);
    let stats = runtime.memory();
    let count = |counter: &AtomicU64| counter.load(SeqCst);
    let Tally { answered, cut_short, refused, unused, exceeded } = &crowd.tally;
    let [answered, cut_short, refused, unused, exceeded] =
        [answered, cut_short, refused, unused, exceeded].map(count);
    println!(
        "{requests} requests in {:.1} s: {answered} answered, {cut_short} cut short, {refused} refused, {unused} tickets \
         unused; {exceeded} found no memory when they came, {} waited for it, {:.2} s at most; {} evictions",
        started.elapsed().as_secs_f64(),
        stats.waited_count,
        stats.longest_wait.as_secs_f64(),
        stats.evictions,
    );
    assert_eq!(answered + cut_short + refused + unused, requests);
    // It is worth something only where memory is short, and not so short that nothing runs.
    let parts = [("answered", answered, 25), ("exceeded", exceeded, 5), ("cut short", cut_short, 2)];
    for (what, part, percent) in parts.into_iter().chain([("waited", stats.waited_count, 2)]) {
        assert!(part * 100 >= requests * percent, "{what}: {part} of {requests}");
    }
    drop(model);
    eventually("the model is unloaded", || runtime.memory().host().used == 0);
    assert!(runtime.memory().ledger.is_empty());
    runtime.guard().check_integrity().unwrap();
}
