//! The guard against a plain model, over random steps: the model is told what was decided nowhere; it works everything
//! out by trying every number of tokens.

use super::engine::{CONTEXT, price};
use super::*;
use plimsoll_engine::Lease;
use proptest::prelude::*;

const HOST: u64 = 1_500;
const DEVICE: u64 = 900;
const KV_LIMIT: u64 = 1_100;
const SESSION_LIMIT: u64 = 800;

#[derive(Clone, Debug)]
enum Step {
    Open,
    Close(usize),
    Admit { session: usize, prompt: u32, max: u32, min: u32 },
    Finish { session: usize, kept: u64 },
    Abandon(usize),
    Evict(usize),
    Load(u64),
    Unload(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..8;
    prop_oneof![
        2 => Just(Step::Open),
        1 => any.clone().prop_map(Step::Close),
        8 => (any.clone(), 1..CONTEXT + 3, 0..CONTEXT + 3, 0..9_u32)
            .prop_map(|(session, prompt, max, min)| Step::Admit { session, prompt, max, min }),
        5 => (any.clone(), 0..9_u64).prop_map(|(session, kept)| Step::Finish { session, kept: kept * 100 }),
        2 => any.clone().prop_map(Step::Abandon),
        1 => any.clone().prop_map(Step::Evict),
        1 => (1..700_u64).prop_map(Step::Load),
        1 => any.prop_map(Step::Unload),
    ]
}

/// A session as the model sees it: `order` grows with every end of a request.
struct Known {
    seat: Seat,
    kept: u64,
    grant: Option<Grant>,
    order: u64,
}

impl Known {
    fn kv(&self) -> u64 {
        self.kept + self.grant.as_ref().map_or(0, |grant| grant.kv.bytes())
    }

    fn request(&self) -> u64 {
        self.grant.as_ref().map_or(0, |grant| grant.host.bytes())
    }
}

struct Model {
    world: World,
    on_device: bool,
    sessions: Vec<Known>,
    loads: Vec<Lease>,
    time: u64,
}

/// What the model expects of an ask.
#[derive(Debug, PartialEq)]
struct Expected {
    decision: Decision,
    granted: u32,
    fits: u32,
    evicted: Vec<usize>,
    ever: bool,
}

impl Model {
    fn new(on_device: bool) -> Self {
        let config = GuardConfig {
            kv_limit: KV_LIMIT,
            session_limit: SESSION_LIMIT,
            ..exact(HOST, on_device.then_some(DEVICE))
        };
        let region = if on_device { Region::Device(0) } else { Region::Host };
        let world = World::new(config, region);
        Model { world, on_device, sessions: Vec::new(), loads: Vec::new(), time: 0 }
    }

    /// Whether a price fits if the named sessions held nothing.
    fn fits(&self, asking: usize, (kv, request): (u64, u64), gone: &[usize]) -> bool {
        let all_kv: u64 =
            self.sessions.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, s)| s.kv()).sum();
        let held = if gone.contains(&asking) { 0 } else { self.sessions[asking].kept };
        let new = kv.saturating_sub(held);
        let host: u64 = self.loads.iter().map(Lease::bytes).sum::<u64>()
            + self.sessions.iter().map(Known::request).sum::<u64>();
        let in_regions = if self.on_device {
            (new == 0 || all_kv + new <= DEVICE) && host + request <= HOST
        } else {
            host + all_kv + new + request <= HOST
        };
        kv <= SESSION_LIMIT && (new == 0 || all_kv + new <= KV_LIMIT) && in_regions
    }

    /// Whether a price fits when nothing but weights is left.
    fn ever(&self, (kv, request): (u64, u64)) -> bool {
        let loads: u64 = self.loads.iter().map(Lease::bytes).sum();
        let in_regions = if self.on_device {
            kv <= DEVICE && loads + request <= HOST
        } else {
            loads + kv + request <= HOST
        };
        kv <= SESSION_LIMIT.min(KV_LIMIT) && in_regions
    }

    fn expect(&self, asking: usize, prompt: u32, max: u32, min: u32) -> Expected {
        let refused =
            |fits, ever| Expected { decision: Decision::Reject, granted: 0, fits, evicted: Vec::new(), ever };
        if prompt >= CONTEXT {
            return refused(0, false);
        }
        if self.sessions[asking].grant.is_some() {
            return refused(0, true);
        }
        let most = max.min(CONTEXT - prompt);
        let smallest = min.max(1).min(max);
        let mut idle: Vec<usize> = (0..self.sessions.len())
            .filter(|&i| i != asking && self.sessions[i].grant.is_none() && self.sessions[i].kept > 0)
            .collect();
        idle.sort_by_key(|&i| self.sessions[i].order);
        let best = (0..=most)
            .filter(|&tokens| tokens > 0 || most == 0)
            .filter(|&tokens| self.fits(asking, price(prompt, tokens), &idle))
            .max();
        let Some(granted) = best.filter(|&tokens| tokens >= smallest) else {
            let ever = smallest <= most && self.ever(price(prompt, smallest));
            return refused(best.unwrap_or(0), ever);
        };
        // All sessions of a model are in one region, so each of them helps until it fits.
        let needed =
            (0..=idle.len()).find(|&n| self.fits(asking, price(prompt, granted), &idle[..n])).unwrap();
        let decision = if granted == max { Decision::Accept } else { Decision::Shrink };
        Expected { decision, granted, fits: granted, evicted: idle[..needed].to_vec(), ever: false }
    }

    fn admit(&mut self, at: usize, prompt: u32, max: u32, min: u32) {
        let request = ask(prompt, max, min);
        let expected = self.expect(at, prompt, max, min);
        let foreseen = self.world.guard.what_if(&self.sessions[at].seat, &request).unwrap();
        let (verdict, grant) = self.world.guard.admit(&self.sessions[at].seat, &request).unwrap();
        assert_eq!(verdict, foreseen, "what-if and admit agree");
        let evict_bytes: u64 = expected.evicted.iter().map(|&i| self.sessions[i].kept).sum();
        assert_eq!(
            (verdict.decision, verdict.granted_tokens, verdict.fits_tokens, verdict.retry_after.is_some()),
            (expected.decision, expected.granted, expected.fits, expected.ever),
            "{verdict:?}"
        );
        assert_eq!(
            (verdict.evict_sessions as usize, verdict.evict_bytes),
            (expected.evicted.len(), evict_bytes),
            "{verdict:?}"
        );
        for &i in &expected.evicted {
            self.sessions[i].kept = 0;
        }
        if let Some(grant) = &grant {
            let (kv, host) = price(prompt, grant.granted_tokens);
            assert_eq!(grant.kv.bytes(), kv.saturating_sub(self.sessions[at].kept));
            assert_eq!(grant.host.bytes(), host);
        }
        if grant.is_some() {
            self.sessions[at].grant = grant;
        }
    }

    fn end(&mut self, at: usize, kept: Option<u64>) {
        let session = &mut self.sessions[at];
        let held = session.kv();
        let Some(grant) = session.grant.take() else { return };
        self.time += 1;
        session.order = self.time;
        match kept {
            Some(kept) => {
                session.kept = kept.min(held);
                self.world.engine.finish(grant, kept);
            }
            None => drop(grant),
        }
    }

    fn take(&mut self, step: Step) {
        let pick = |at: usize, len: usize| (len > 0).then(|| at % len);
        let session = |at| pick(at, self.sessions.len());
        match step {
            Step::Open => {
                self.sessions.push(Known { seat: self.world.seat(), kept: 0, grant: None, order: 0 })
            }
            Step::Close(at) => {
                if let Some(at) = session(at) {
                    drop(self.sessions.remove(at));
                }
            }
            Step::Admit { session: at, prompt, max, min } => {
                if let Some(at) = session(at) {
                    self.admit(at, prompt, max, min);
                }
            }
            Step::Finish { session: at, kept } => {
                if let Some(at) = session(at) {
                    self.end(at, Some(kept));
                }
            }
            Step::Abandon(at) => {
                if let Some(at) = session(at) {
                    self.end(at, None);
                }
            }
            Step::Evict(at) => {
                if let Some(at) = session(at) {
                    let known = &mut self.sessions[at];
                    let freed = if known.grant.is_some() { 0 } else { std::mem::take(&mut known.kept) };
                    assert_eq!(self.world.guard.evict_session(&known.seat), freed);
                }
            }
            Step::Load(bytes) => self.load(bytes),
            Step::Unload(at) => {
                if let Some(at) = pick(at, self.loads.len()) {
                    drop(self.loads.remove(at));
                }
            }
        }
        self.compare();
    }

    fn load(&mut self, bytes: u64) {
        let mut idle: Vec<usize> = (0..self.sessions.len())
            .filter(|&i| self.sessions[i].grant.is_none() && self.sessions[i].kept > 0 && !self.on_device)
            .collect();
        idle.sort_by_key(|&i| self.sessions[i].order);
        let (host, _) = self.used();
        let freed = |n: usize| idle[..n].iter().map(|&i| self.sessions[i].kept).sum::<u64>();
        let needed = (0..=idle.len()).find(|&n| host - freed(n) + bytes <= HOST);
        let lease = self.world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), bytes);
        assert_eq!(lease.is_ok(), needed.is_some(), "{lease:?}");
        if let (Ok(lease), Some(needed)) = (lease, needed) {
            idle[..needed].iter().for_each(|&i| self.sessions[i].kept = 0);
            self.loads.push(lease);
        }
    }

    /// Bytes used in the host region and on the device.
    fn used(&self) -> (u64, u64) {
        let kv: u64 = self.sessions.iter().map(Known::kv).sum();
        let host: u64 = self.loads.iter().map(Lease::bytes).sum::<u64>()
            + self.sessions.iter().map(Known::request).sum::<u64>();
        if self.on_device { (host, kv) } else { (host + kv, 0) }
    }

    fn compare(&self) {
        self.world.check();
        let stats = self.world.guard.stats();
        let (host, device) = self.used();
        assert_eq!(stats.host().used, host);
        assert!(host <= HOST && device <= DEVICE);
        if self.on_device {
            assert_eq!(stats.region(Region::Device(0)).unwrap().used, device);
        }
        assert_eq!(stats.active_sessions as usize, self.sessions.len());
        for known in &self.sessions {
            assert_eq!(known.seat.kv_bytes(), known.kv());
        }
    }

    fn finish(mut self) {
        for at in 0..self.sessions.len() {
            self.end(at, Some(100));
        }
        self.sessions.clear();
        self.loads.clear();
        self.compare();
        assert_eq!(self.used(), (0, 0));
        assert!(self.world.guard.stats().ledger.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_does_what_the_model_does(on_device: bool, steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new(on_device);
        for step in steps {
            model.take(step);
        }
        model.finish();
    }
}
