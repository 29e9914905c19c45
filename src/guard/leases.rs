//! Leases of fixed numbers of bytes: what a model takes, buffers, what a host keeps for itself.

use super::models::Home;
use super::room::Shortage;
use super::{Aside, MemoryGuard, Purpose, Refusal, RefusalCause};
use plimsoll_engine::sync::RecvTimeoutError;
use plimsoll_engine::{Lease, ModelId, Owner, Region};
use std::sync::Arc;

impl MemoryGuard {
    /// Books a fixed number of bytes: a model's weights, its workspace. Idle sessions lose their KV if that makes room, and for a
    /// model idle models are unloaded; then it waits for their engines, at most for the reclaim deadline.
    ///
    /// # Errors
    /// The region cannot hold that much more, with every number.
    pub fn lease(self: &Arc<Self>, region: Region, owner: Owner, bytes: u64) -> Result<Lease, Refusal> {
        self.book_parts(region, &[(owner, bytes)], None, None)?;
        Ok(self.books.issue(region, owner, bytes))
    }

    /// As [`MemoryGuard::lease`] for all of what a model takes: all leases, in this order, or none, and nobody makes room in vain.
    ///
    /// # Errors
    /// The region cannot hold that much more: the refusal names the first part that does not fit, and asks for it with those before.
    pub fn lease_all<const N: usize>(
        self: &Arc<Self>,
        region: Region,
        parts: [(Owner, u64); N],
    ) -> Result<[Lease; N], Refusal> {
        self.book_parts(region, &parts, None, None)?;
        Ok(parts.map(|(owner, bytes)| self.books.issue(region, owner, bytes)))
    }

    /// Books parts, for a model that is loaded if there is one: then only while that is out, and it is in from then on, with
    /// a load under way. They pay for the idle memory that is wanted. Returns whether they were booked.
    pub(super) fn book_parts(
        &self,
        region: Region,
        parts: &[(Owner, u64)],
        model: Option<ModelId>,
        mut aside: Option<&mut Aside>,
    ) -> Result<bool, Refusal> {
        self.refresh();
        let until = self.reclaim_until();
        let sum = parts.iter().fold(0_u128, |sum, part| sum + u128::from(part.1));
        let of_model = |owner| {
            let purpose = Purpose::of(owner);
            matches!(purpose, Purpose::Weights | Purpose::Workspace | Purpose::Text | Purpose::Tables)
        };
        let unloads = parts.iter().all(|part| of_model(part.0));
        let mut patient = true;
        loop {
            let mut state = self.books.lock();
            let home = model.and_then(|id| state.sessions.models.get(id)).map(|model| &model.home);
            let leaving = match home {
                Some(Home::In | Home::Due) => return Ok(false),
                Some(Home::Leaving(answer)) => Some(answer.clone()),
                _ => None,
            };
            if leaving.is_none() && state.book_all(region, parts) {
                if let Some(model) = model.and_then(|id| state.sessions.models.get_mut(id)) {
                    model.begin();
                }
                // Who waited for this may have to hear that it will never come.
                state.ring();
                if let Some(aside) = aside.as_mut() {
                    aside.pay();
                }
                drop(state);
                self.make_good();
                return Ok(true);
            }
            let pool = state.pool(region);
            let refuse = |cause, short: &dyn Fn(u128) -> bool| {
                let mut asked = 0_u128;
                let mut owners = parts.iter().filter(|part| {
                    asked += u128::from(part.1);
                    short(asked)
                });
                let owner = owners.next().or(parts.last()).map_or(Owner::Pool, |part| part.0);
                Err(state.refusal(cause, region, owner, u64::try_from(asked).unwrap_or(u64::MAX)))
            };
            let Some(pool) = pool else {
                return refuse(RefusalCause::NoRegion, &|_| true);
            };
            let (models, most) = if unloads {
                state.pick_for_load(region, &pool, sum)
            } else {
                (Vec::new(), state.coming_back(region, &pool))
            };
            if pool.short(sum) > most {
                return refuse(RefusalCause::Budget, &|asked| pool.short(asked) > most);
            }
            if !patient {
                return refuse(RefusalCause::Reclaim, &|asked| pool.short(asked) > 0);
            }
            state.settle_answered();
            let shortage = Shortage::of(region, pool.short(sum));
            let selection = state.plan(None, shortage, models);
            let errand = state.start(selection);
            let seen = state.releases();
            drop(state);
            let (_, mut in_time) = self.run(errand, until);
            let waited = leaving.is_some();
            if let Some(leaving) = leaving {
                in_time &= leaving.recv_deadline(until) != Err(RecvTimeoutError::Timeout);
            }
            let moved = waited || self.releases() != seen;
            patient = in_time && moved && std::time::Instant::now() < until;
        }
    }
}
