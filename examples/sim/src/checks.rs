//! What is looked at with every request, or with a sample of them: what-if and admission agree, a grant is as large as it can
//! be, and what is refused for good are those that could never fit, at once.

use crate::executor::SimExecutor;
use crate::journal::Ask;
use crate::setup::Setup;
use crate::world::{Asked, World};
use crate::{Broken, Shape};
use plimsoll::guard::RegionStats;
use plimsoll::{Decision, Reason, Session, Verdict};
use plimsoll_engine::Engine;

/// One request in so many is asked about beforehand.
const SAMPLE: u64 = 32;
/// One refusal in so many is reckoned again.
const REFUSALS: u64 = 16;

/// The checks of a run, and how often they were made.
#[derive(Debug)]
pub struct Checks {
    setup: Setup,
    asked: u64,
    refusals: u64,
    grants: u64,
    foreseen: Option<Verdict>,
    /// Grants that were shown to be maximal.
    pub maximal: u64,
}

impl Checks {
    /// Checks in a setup.
    pub fn new(setup: &Setup) -> Checks {
        Checks { setup: setup.clone(), asked: 0, refusals: 0, grants: 0, foreseen: None, maximal: 0 }
    }

    /// Before a request: what would be decided about it, and whether one more token than would be granted is refused.
    ///
    /// # Errors
    /// It is not.
    pub fn foresee(
        &mut self,
        world: &World<SimExecutor>,
        session: &Session,
        history: u32,
        ask: &Ask,
    ) -> Result<(), Broken> {
        self.asked += 1;
        self.foreseen = None;
        if !self.asked.is_multiple_of(SAMPLE)
            || history + ask.new >= world.engine().capabilities().context_length
        {
            return Ok(());
        }
        let what_if = |max, min| session.what_if(&World::<SimExecutor>::request(&Ask { max, min, ..*ask }));
        let verdict = what_if(ask.max, ask.min)?;
        if verdict.fits_tokens < ask.max {
            let more = verdict.fits_tokens + 1;
            let beyond = what_if(more, more)?;
            if beyond.decision != Decision::Reject {
                return Err(Broken(format!("{verdict}, though {more} tokens fit: {beyond}")));
            }
            self.maximal += 1;
        }
        self.foreseen = Some(verdict);
        Ok(())
    }

    /// After a request.
    ///
    /// # Errors
    /// What was decided is not what was foreseen, or is wrong.
    pub fn look(
        &mut self,
        world: &World<SimExecutor>,
        history: u32,
        ask: &Ask,
        asked: &Asked,
    ) -> Result<(), Broken> {
        let prompt = history + ask.new;
        let verdict = match asked {
            Asked::Runs(_, verdict) | Asked::Refused(verdict) | Asked::Waits(_, verdict) => verdict,
            Asked::QueueFull(_) => return Ok(()),
            Asked::TooLong if prompt >= world.engine().capabilities().context_length => return Ok(()),
            Asked::TooLong => return Err(Broken(format!("a prompt of {prompt} tokens is called too long"))),
        };
        if let Some(foreseen) = self.foreseen.take() {
            // A what-if does not wait, so it is not in the way of a line that is full.
            let full = verdict.reason == Reason::QueueFull;
            let reason = if full { Reason::QueueFull } else { foreseen.reason };
            if (Verdict { reason, ..foreseen }) != *verdict {
                return Err(Broken(format!("a what-if said {foreseen}, admission {verdict}")));
            }
        }
        if let Asked::Runs(..) = asked {
            return self.grant(world, prompt, ask, verdict);
        }
        if matches!(verdict.reason, Reason::Busy | Reason::Reclaim) {
            return Err(Broken(format!("refused without a reason: {verdict}")));
        }
        self.refusals += 1;
        if verdict.retry_after.is_none() || self.refusals.is_multiple_of(REFUSALS) {
            let limit = world.stats().host().limit;
            let fits = self.fits_in(world, prompt, ask.min, limit)?;
            if fits != verdict.retry_after.is_some() {
                return Err(Broken(format!("alone it fits: {fits} (limit {limit}); {verdict}")));
            }
        }
        Ok(())
    }

    fn grant(
        &mut self,
        world: &World<SimExecutor>,
        prompt: u32,
        ask: &Ask,
        verdict: &Verdict,
    ) -> Result<(), Broken> {
        let granted = verdict.granted_tokens;
        let as_asked = verdict.decision == Decision::Accept && granted == ask.max;
        let fewer = verdict.decision == Decision::Shrink && (ask.min..ask.max).contains(&granted);
        if !as_asked && !fewer {
            return Err(Broken(format!("{ask:?} was answered by {verdict}")));
        }
        self.grants += 1;
        // Who waited was in nobody's way to ask what it would get; so what is left now must not be enough for one token more.
        if as_asked || verdict.waited.is_zero() || !self.grants.is_multiple_of(SAMPLE) {
            return Ok(());
        }
        if self.one_more_fits(world, prompt, granted)? {
            return Err(Broken(format!("{ask:?} was answered by {verdict}, and one token more fits")));
        }
        self.maximal += 1;
        Ok(())
    }

    /// Whether a request that was just granted could have had one token more, reckoned from prices and from what the guard says
    /// is left.
    fn one_more_fits(&self, world: &World<SimExecutor>, prompt: u32, granted: u32) -> Result<bool, Broken> {
        let engine = world.engine();
        if prompt + granted >= engine.capabilities().context_length {
            return Ok(false);
        }
        let price = |max_tokens| {
            engine.estimate(&Shape { prompt_tokens: prompt, max_tokens, top_logprobs: 0, penalties: false })
        };
        let (now, more) = (price(granted)?, price(granted + 1)?);
        let extra = (more.kv_bytes - now.kv_bytes) + (more.request_bytes - now.request_bytes);
        let stats = world.stats();
        let idle: u64 = stats.session_details.iter().filter(|s| !s.busy).map(|s| s.kv_bytes).sum();
        Ok(more.kv_bytes <= self.setup.session_limit() && extra <= stats.host().free.saturating_add(idle))
    }

    /// Whether a request in the line would fit if it were the only one, but for what others use: nothing is kept for it, and
    /// others may pass.
    ///
    /// # Errors
    /// The engine has no price for it.
    pub fn is_shut_out(
        &self,
        world: &World<SimExecutor>,
        host: &RegionStats,
        history: u32,
        ask: &Ask,
    ) -> Result<bool, Broken> {
        let fits = |limit| self.fits_in(world, history + ask.new, ask.min, limit);
        Ok(host.others > 0 && fits(host.limit)? && !fits(host.limit.saturating_sub(host.others))?)
    }

    /// Whether a request would fit into so many bytes if it were the only one: reckoned from prices and limits, not asked of the
    /// guard.
    fn fits_in(
        &self,
        world: &World<SimExecutor>,
        prompt: u32,
        tokens: u32,
        limit: u64,
    ) -> Result<bool, Broken> {
        let capabilities = world.engine().capabilities();
        if prompt.saturating_add(tokens) > capabilities.context_length {
            return Ok(false);
        }
        let shape = Shape { prompt_tokens: prompt, max_tokens: tokens, top_logprobs: 0, penalties: false };
        let price = world.engine().estimate(&shape)?;
        let all = price.kv_bytes.saturating_add(price.request_bytes).saturating_add(self.setup.fixed());
        Ok(price.kv_bytes <= self.setup.session_limit() && all <= limit)
    }
}
