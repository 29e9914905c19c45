//! The thread that sees cancels and deadlines, and does not wait for a plug-in that does not; and that has requests which were held
//! back tried again.

use crate::PluginError;
use crate::couriers::{Call, Couriers};
use crate::desk::Desk;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often flags are looked at while requests run. A plug-in that asks by itself learns of them at once.
const LOOK: Duration = Duration::from_millis(2);

/// How often requests that were held back are tried: as long as advice to come again is at the shortest.
const RESUME: Duration = Duration::from_millis(10);

/// The thread; dropping it waits for it. It never calls the plug-in.
pub(crate) struct Watch {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(desk: &Arc<Desk>, couriers: Couriers, grace: Duration) -> Result<Watch, PluginError> {
        let of_thread = Arc::clone(desk);
        let thread = std::thread::Builder::new()
            .name("plimsoll-watch".into())
            .spawn(move || watch(&of_thread, &couriers, grace))
            .map_err(|error| PluginError::Thread(error.to_string()))?;
        Ok(Watch { desk: Arc::clone(desk), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.desk.close();
        if let Some(thread) = self.thread.take() {
            // A panic inside was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn watch(desk: &Desk, couriers: &Couriers, grace: Duration) {
    let mut tried: Option<Instant> = None;
    while desk.wait(None) {
        desk.lapse();
        if tried.is_none_or(|tried| tried.elapsed() >= RESUME) && desk.resume() {
            tried = Some(Instant::now());
            couriers.send(Call::Resume);
        }
        let now = desk.now();
        let (tell, end) = desk.lock().overdue(now, grace);
        for id in tell {
            couriers.send(Call::Cancel(id.0));
        }
        for (id, reason) in end {
            log::warn!(
                "the plug-in has not ended request {} within {grace:?}: its reader does not wait",
                id.0
            );
            desk.end(id, reason, 0, 0, false);
        }
        if !desk.wait(Some(LOOK)) {
            return;
        }
    }
}
