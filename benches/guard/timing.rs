//! Calls timed one by one, and the table of what came out.

use std::time::Instant;

/// Times calls by themselves, less what reading the clock takes.
pub(crate) struct Timer {
    overhead: u64,
}

impl Timer {
    /// Measures the clock.
    pub(crate) fn new() -> Self {
        let mut times = Timer { overhead: 0 }.measure(100_000, |_| ());
        times.sort_unstable();
        Timer { overhead: times[times.len() / 2] }
    }

    /// Nanoseconds of a pair of clock readings with nothing in between: the median.
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead
    }

    /// The nanoseconds of each of so many calls, after a tenth more to warm up.
    pub(crate) fn measure(&self, calls: usize, body: impl FnMut(usize)) -> Vec<u64> {
        self.measure_around(calls, body, |()| ())
    }

    /// The same, with something after each call that is not timed.
    pub(crate) fn measure_around<T>(
        &self,
        calls: usize,
        mut body: impl FnMut(usize) -> T,
        mut after: impl FnMut(T),
    ) -> Vec<u64> {
        let warm_up = calls / 10;
        let mut times = Vec::with_capacity(calls);
        for call in 0..warm_up + calls {
            let start = Instant::now();
            let made = body(call);
            let took = start.elapsed();
            after(made);
            if call >= warm_up {
                let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                times.push(nanos.saturating_sub(self.overhead));
            }
        }
        times
    }
}

/// The table.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<String>,
    missed: usize,
}

impl Report {
    /// Adds a row; a target is the most nanoseconds of the 99th percentile. Returns the median.
    pub(crate) fn add(&mut self, name: &str, mut times: Vec<u64>, target: Option<u64>) -> u64 {
        times.sort_unstable();
        let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
        let micros = |nanos: u64| format!("{:.2}", nanos as f64 / 1e3);
        let verdict = target.map_or_else(String::new, |target| self.judge(at(990) <= target, micros(target)));
        let [half, most, nearly_all, all] = [at(500), at(990), at(999), at(1000)].map(micros);
        let calls = times.len();
        self.rows.push(format!("| {name} | {calls} | {half} | {most} | {nearly_all} | {all} | {verdict} |"));
        at(500)
    }

    /// Adds whether figures are alike: the largest is at most twice the smallest.
    pub(crate) fn flat(&mut self, name: &str, medians: &[u64]) {
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        let ratio = *most as f64 / (*least).max(1) as f64;
        let verdict = self.judge(ratio <= 2.0, "2 ×".to_owned());
        self.rows
            .push(format!("| {name}: largest median over the smallest | | {ratio:.2} × | | | | {verdict} |"));
    }

    fn judge(&mut self, met: bool, target: String) -> String {
        self.missed += usize::from(!met);
        format!("{target}{}", if met { "" } else { " MISSED" })
    }

    /// Whether no target was missed.
    pub(crate) fn met(&self) -> bool {
        self.missed == 0
    }

    /// Prints the table, in microseconds.
    pub(crate) fn print(&self) {
        println!(
            "\n| µs | calls | p50 | p99 | p99.9 | largest | target for p99 |\n|---|---:|---:|---:|---:|---:|---:|"
        );
        self.rows.iter().for_each(|row| println!("{row}"));
    }
}
