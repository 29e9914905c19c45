//! The way in: a bounded queue, counted where jobs are handed over, and the promise that each of them ends.

use crate::executor::BlockBytes;
use plimsoll_engine::{Cancel, EngineError, Finish, FinishReason, Job, Lease, Rejected, Request, Ring};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A guess at a request's running time before any has run.
const FIRST_GUESS: Duration = Duration::from_secs(1);
/// The shortest wait that is advised.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// What a scheduler and those who hand it jobs share.
pub(crate) struct Shared {
    waiting: AtomicUsize,
    queue_limit: usize,
    lanes: u32,
    /// Mean running time of recent requests, in nanoseconds.
    service: AtomicU64,
    pub(crate) blocks: BlockBytes,
}

impl Shared {
    pub(crate) fn new(queue_limit: usize, lanes: usize) -> Shared {
        Shared {
            waiting: AtomicUsize::new(0),
            queue_limit,
            lanes: u32::try_from(lanes).unwrap_or(u32::MAX).max(1),
            service: AtomicU64::new(nanos(FIRST_GUESS)),
            blocks: BlockBytes::default(),
        }
    }

    /// Gives a job a place in the queue, or gives it back when the queue is full. One more answer to a request that has come in
    /// comes with it.
    pub(crate) fn enter(self: &Arc<Self>, job: Job, now: Duration) -> Result<Waiting, Box<Rejected>> {
        if job.request.beside.is_some() {
            return Ok(Waiting::new(job, now, None));
        }
        let entered = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < self.queue_limit).then(|| waiting + 1)
        });
        match entered {
            Ok(_) => Ok(Waiting::new(job, now, Some(Place(Arc::clone(self))))),
            Err(queued) => {
                let retry_after = self.retry_after();
                Err(Box::new(Rejected { job, error: EngineError::QueueFull { queued, retry_after } }))
            }
        }
    }

    /// Requests in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes a finished request's running time into the mean, at an eighth of its weight.
    pub(crate) fn record_service(&self, took: Duration) {
        // Only the scheduler writes, so load and store do not race.
        let mean = self.service.load(Ordering::Relaxed);
        self.service.store(mean - mean / 8 + nanos(took) / 8, Ordering::Relaxed);
    }

    /// With all lanes busy a place falls free once in this time.
    fn retry_after(&self) -> Duration {
        let mean = Duration::from_nanos(self.service.load(Ordering::Relaxed));
        (mean / self.lanes).max(SHORTEST_RETRY)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A place in the queue, given up when dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A ring that will be told the end, whatever becomes of the request.
struct End {
    ring: Arc<Ring>,
    settled: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let zero = Duration::ZERO;
        self.ring.finish(Finish {
            reason: FinishReason::Failed(EngineError::Closed),
            cached_tokens: 0,
            kv_tokens: 0,
            queued: zero,
            prefill: zero,
            decode: zero,
        });
    }
}

/// A job that was taken. Dropped, it gives its leases back and then ends as closed.
pub(crate) struct Waiting {
    pub(crate) request: Request,
    pub(crate) kv: Lease,
    host: Lease,
    pub(crate) cancel: Cancel,
    pub(crate) submitted: Duration,
    place: Option<Place>,
    // Last, so that leases return before the end is told.
    end: End,
}

impl Waiting {
    fn new(job: Job, now: Duration, place: Option<Place>) -> Waiting {
        let Job { request, kv, host, ring, cancel } = job;
        Waiting { request, kv, host, cancel, submitted: now, place, end: End { ring, settled: false } }
    }

    /// The job as it came. The ring is not told anything: it goes back whole.
    pub(crate) fn into_job(self) -> Job {
        let Waiting { request, kv, host, cancel, mut end, .. } = self;
        end.settled = true;
        Job { request, kv, host, ring: Arc::clone(&end.ring), cancel }
    }

    /// Why the request should end before its next step, if it should.
    pub(crate) fn interrupted(&self, now: Duration) -> Option<FinishReason> {
        if self.cancel.is_cancelled() {
            Some(FinishReason::Cancelled)
        } else if self.request.deadline.is_some_and(|deadline| deadline <= now) {
            Some(FinishReason::Deadline)
        } else {
            None
        }
    }

    pub(crate) fn host_paid(&self) -> &Lease {
        &self.host
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.end.ring
    }

    /// Gives up the place in the queue: the request runs now.
    pub(crate) fn leave_queue(&mut self) {
        self.place = None;
    }

    /// Returns the leases and the place, then tells the end.
    pub(crate) fn finish(self, finish: Finish) {
        let Waiting { request, kv, host, place, mut end, .. } = self;
        drop((request, kv, host, place));
        end.settled = true;
        end.ring.finish(finish);
    }
}
