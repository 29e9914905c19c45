//! An engine that computes nothing: it prices, keeps leases, and gives them back on its own thread.

use plimsoll::guard::Grant;
use plimsoll_engine::sync::{Condvar, Mutex, Sender};
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Holdings, Job, Lease, Owner, Region, Rejected, SessionKey,
    Shape,
};
use std::collections::HashMap;

pub struct Keeper {
    capabilities: Capabilities,
    state: Mutex<State>,
    posted: Condvar,
}

#[derive(Default)]
struct State {
    kept: HashMap<SessionKey, Lease>,
    posts: Vec<(SessionKey, Sender<u64>)>,
    served: bool,
    closed: bool,
}

impl Keeper {
    pub fn new() -> Keeper {
        let capabilities = Capabilities {
            name: "keeper".to_owned(),
            context_length: 1_000,
            vocab_size: 10,
            block_tokens: 1,
            kv_region: Region::Host,
            max_sequences: 4,
        };
        Keeper { capabilities, state: Mutex::new(State::default()), posted: Condvar::new() }
    }

    /// Ends a request: of the session's KV, `kept` bytes stay.
    pub fn finish(&self, grant: Grant, kept: u64) {
        let (kv, host, busy) = grant.into_parts();
        let Owner::Kv(session) = kv.owner() else { panic!("{kv:?}") };
        let held = self.state.lock().unwrap().kept.remove(&session);
        let mut all = match held {
            Some(mut held) => held.absorb(kv).map(|()| held).unwrap(),
            None => kv,
        };
        all.shrink_to(kept);
        self.state.lock().unwrap().kept.insert(session, all);
        drop((host, busy));
    }

    /// From now on reclaims wait for [`Keeper::serve`]; before, they are answered at once.
    pub fn hire(&self) {
        self.state.lock().unwrap().served = true;
    }

    /// Answers reclaims until [`Keeper::close`], those posted before it included.
    pub fn serve(&self) {
        let mut state = self.state.lock().unwrap();
        loop {
            match state.posts.pop() {
                Some((session, freed)) => {
                    drop(state);
                    self.free(session, &freed);
                    state = self.state.lock().unwrap();
                }
                None if state.closed => return,
                None => state = self.posted.wait(state).unwrap(),
            }
        }
    }

    /// Lets [`Keeper::serve`] end, and answers what comes later at once.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap();
        (state.closed, state.served) = (true, false);
        drop(state);
        self.posted.notify_all();
    }

    fn free(&self, session: SessionKey, freed: &Sender<u64>) {
        let lease = self.state.lock().unwrap().kept.remove(&session);
        let bytes = lease.as_ref().map_or(0, Lease::bytes);
        drop(lease);
        // Nobody may be waiting any more.
        let _ = freed.send(bytes);
    }
}

impl Engine for Keeper {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        Ok(Estimate {
            kv_region: Region::Host,
            kv_bytes: u64::from(shape.prompt_tokens + shape.max_tokens) * crate::TOKEN,
            kv_block_bytes: crate::TOKEN,
            request_bytes: crate::REQUEST,
            ring_bytes: 0,
            workspace_bytes: 0,
        })
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        Err(Box::new(Rejected { job, error: EngineError::Closed }))
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        let mut state = self.state.lock().unwrap();
        if state.served {
            state.posts.push((session, freed));
            drop(state);
            self.posted.notify_all();
        } else {
            drop(state);
            self.free(session, &freed);
        }
    }

    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
}
