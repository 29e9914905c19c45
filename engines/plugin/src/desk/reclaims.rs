//! Reclaims: asked for, and answered.

use super::Desk;
use crate::request::Reclaim;
use crate::status;
use crossbeam_channel::Sender;
use plimsoll_engine::SessionKey;

impl Desk {
    /// Notes a reclaim. Returns the bytes to ask the plug-in for; `None` when it is answered here, or asked for already.
    pub(crate) fn reclaim(&self, key: SessionKey, answer_to: Sender<u64>) -> Option<u64> {
        let mut state = self.lock();
        let idle = state.sessions.get_mut(&key).filter(|session| session.running.is_none());
        let Some(session) = idle.filter(|session| session.held() > 0) else {
            drop(state);
            // Nobody waits any more: the answer is of no use.
            let _ = answer_to.send(0);
            return None;
        };
        let held_before = session.held();
        if let Some(reclaim) = &mut session.reclaim {
            reclaim.answer_to.push(answer_to);
            return None;
        }
        session.reclaim = Some(Reclaim { answer_to: vec![answer_to], held_before });
        Some(held_before)
    }

    /// The plug-in has answered a reclaim: what it gave back is back.
    pub(crate) fn reclaimed(&self, key: u64) -> i32 {
        let mut state = self.lock();
        let session = state.sessions.get_mut(&SessionKey(key));
        let answered = session.and_then(|session| {
            let Reclaim { answer_to, held_before } = session.reclaim.take()?;
            // Whatever is left may not be what it was.
            session.valid = 0;
            Some((answer_to, held_before.saturating_sub(session.held())))
        });
        state.tidy(SessionKey(key));
        drop(state);
        let Some((answer_to, freed)) = answered else { return self.ignore("reclaimed", key) };
        for answer_to in answer_to {
            let _ = answer_to.send(freed);
        }
        status::OK
    }
}
