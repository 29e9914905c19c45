//! Quotes: an ask with its prices, the search for the largest request that fits, and the verdict on it. No books here.

use super::Pressure;
use super::room::{Freeing, Room};
use super::verdict::{Ask, Decision, Reason, Verdict};
use plimsoll_engine::{Engine, EngineError, Estimate, Region, Shape};
use std::time::Duration;

/// An ask with its first price.
pub(super) struct Quote<'a> {
    engine: &'a dyn Engine,
    shape: Shape,
    pub(super) answers: u32,
    pressure: Pressure,
    degradable: bool,
    // `max_tokens` as far as the context goes, and pressure allows.
    most: u32,
    // As far as the context goes.
    left: u32,
    smallest: u32,
    /// The price of `most` tokens; `None` when the prompt alone fills the context.
    pub(super) full: Option<Estimate>,
}

/// The largest request that fits into a room.
pub(super) struct Best {
    tokens: u32,
    /// Its price; `None` when not even one token fits.
    pub(super) price: Option<Estimate>,
    // Of one token more; `None` when everything fits.
    next: Option<Estimate>,
    // Of the smallest acceptable request, when that is more than fits and no more than the context holds.
    smallest: Option<Estimate>,
}

impl Best {
    /// Whether this is the largest request that fits into another room, too.
    pub(super) fn stands(&self, room: &Room, freeing: Freeing) -> bool {
        let fits = |price: &Estimate| room.fits(price, freeing);
        self.price.as_ref().is_none_or(fits) && !self.next.as_ref().is_some_and(fits)
    }

    /// The price of the smallest acceptable request, where no acceptable one fits.
    pub(super) fn least(&self) -> Option<Estimate> {
        self.smallest
    }

    /// Whether it is all that was asked for, as far as the context goes.
    pub(super) fn is_whole(&self) -> bool {
        self.next.is_none()
    }
}

impl<'a> Quote<'a> {
    /// Asks for the first price, where memory is not short.
    pub(super) fn new(engine: &'a dyn Engine, ask: &Ask) -> Result<Self, EngineError> {
        let left = engine.capabilities().context_length.saturating_sub(ask.shape.prompt_tokens);
        let Ask { shape, degradable, .. } = *ask;
        let (most, smallest, pressure) = (shape.max_tokens.min(left), ask.smallest(), Pressure::Low);
        let answers = ask.count();
        let mut quote =
            Quote { engine, shape, answers, pressure, degradable, most, left, smallest, full: None };
        if left > 0 {
            quote.full = Some(quote.price(most)?);
        }
        Ok(quote)
    }

    /// Whether it was made under this pressure.
    pub(super) fn is_under(&self, pressure: Pressure) -> bool {
        self.pressure == pressure
    }

    /// The same under another pressure.
    pub(super) fn put_under(&mut self, pressure: Pressure) -> Result<(), EngineError> {
        self.pressure = pressure;
        let asked = self.shape.max_tokens;
        let allowed = if self.degradable { pressure.tokens(asked, self.smallest) } else { asked };
        self.most = allowed.min(self.left);
        if self.full.is_some() {
            self.full = Some(self.price(self.most)?);
        }
        Ok(())
    }

    /// Whether pressure rules the request out, because it may not be degraded.
    pub(super) fn is_ruled_out(&self) -> bool {
        !self.degradable && self.pressure > Pressure::Low
    }

    /// The price of the smallest acceptable request, or `None` where it is beyond the context.
    pub(super) fn least(&self) -> Result<Option<Estimate>, EngineError> {
        (self.full.is_some() && self.smallest <= self.left).then(|| self.price(self.smallest)).transpose()
    }

    fn price(&self, max_tokens: u32) -> Result<Estimate, EngineError> {
        self.engine.estimate(&Shape { max_tokens, ..self.shape })?.times(self.answers)
    }

    /// The result of a search in a room where everything fits.
    pub(super) fn whole(&self, full: &Estimate) -> Best {
        Best { tokens: self.most, price: Some(*full), next: None, smallest: None }
    }

    /// The largest request that fits into the room. Prices grow with the tokens, so halving finds it.
    pub(super) fn search(&self, full: &Estimate, room: &Room, freeing: Freeing) -> Result<Best, EngineError> {
        if room.fits(full, freeing) {
            return Ok(self.whole(full));
        }
        let (mut tokens, mut price) = (0, None);
        let (mut breaks, mut next) = (self.most, *full);
        while breaks > tokens + 1 {
            let middle = tokens + (breaks - tokens) / 2;
            let estimate = self.price(middle)?;
            if room.fits(&estimate, freeing) {
                (tokens, price) = (middle, Some(estimate));
            } else {
                (breaks, next) = (middle, estimate);
            }
        }
        let enough = price.is_some() && tokens >= self.smallest;
        let smallest = match self.smallest {
            smallest if enough || smallest > self.most => None,
            smallest => Some(self.price(smallest)?),
        };
        Ok(Best { tokens, price, next: Some(next), smallest })
    }

    /// The verdict on the largest request that fits; who is evicted for it is the caller's to add. `retry` is the advice to
    /// a refused request that can ever fit, from what it asks for at the least.
    pub(super) fn judge(
        &self,
        best: &Best,
        full: &Estimate,
        room: &Room,
        freeing: Freeing,
        retry: impl FnOnce(&Estimate) -> Duration,
    ) -> Verdict {
        let granted = best.price.filter(|_| best.tokens >= self.smallest);
        let smallest = best.smallest.as_ref();
        let (decision, obstacle) = match (&granted, &best.next) {
            (Some(_), Some(next)) => (Decision::Shrink, room.obstacle(next, freeing)),
            (Some(_), None) if self.most < self.left.min(self.shape.max_tokens) => {
                (Decision::Shrink, Some((Reason::Pressure, room.kv_region)))
            }
            (Some(_), None) if self.most < self.shape.max_tokens => (Decision::Shrink, None),
            (Some(_), None) => (Decision::Accept, Some((Reason::Fits, room.kv_region))),
            (None, _) => (Decision::Reject, smallest.and_then(|price| room.obstacle(price, freeing))),
        };
        // What the room does not bound, the context does.
        let (reason, region) = obstacle.unwrap_or((Reason::Context, room.kv_region));
        let ever = smallest.filter(|price| granted.is_none() && room.fits(price, Freeing::Everything));
        let refusal = self.refusal(granted.as_ref().or(Some(full)), room, reason, region);
        Verdict {
            decision,
            granted_tokens: if granted.is_some() { best.tokens } else { 0 },
            fits_tokens: best.tokens,
            retry_after: ever.map(retry),
            ..refusal
        }
    }

    /// A refusal with the numbers of a price, if there is one.
    pub(super) fn refusal(
        &self,
        price: Option<&Estimate>,
        room: &Room,
        reason: Reason,
        region: Region,
    ) -> Verdict {
        let asked = price.map_or(0, |price| room.new_bytes(price, region));
        Verdict {
            bytes_asked: u64::try_from(asked).unwrap_or(u64::MAX),
            bytes_free: room.pool(region).free(),
            kv_bytes: price.map_or(0, |price| price.kv_bytes),
            kv_held: room.held,
            request_bytes: price.map_or(0, |price| price.request_bytes),
            workspace_bytes: price.map_or(0, |price| price.workspace_bytes),
            pressure: self.pressure,
            ring_bytes: price.map_or(0, |price| price.ring_bytes),
            kv_region: room.kv_region,
            load_bytes: room.load.1,
            load_region: room.load.0,
            answers: self.answers,
            ..Verdict::refusal(reason, self.shape.max_tokens, region)
        }
    }
}
