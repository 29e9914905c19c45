//! A kernel's line: its time, its shares of the limits, and which of them binds.

use super::Work;
use serde_json::{Value, json};

/// What stands above the lines. Operations are those that the result takes; a kernel that computes in several planes does
/// more, and these are what its share of the peak counts.
pub(super) const HEAD: &str = "\
kernel     type    shape       rows  threads        time      GB/s  of read     GOP/s  of peak  bound by";

/// The best turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Of the kernel.
    pub(super) seconds: f64,
    /// Bytes a second of the raw read.
    pub(super) read: f64,
    /// Operations a second of the raw arithmetic; 0 where there is none.
    pub(super) peak: f64,
}

/// A kernel and its measures.
pub(super) struct Line<'a> {
    pub(super) work: &'a Work,
    pub(super) measured: Measured,
}

/// What a kernel waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Bytes,
    Operations,
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Bound::Bytes => "bytes",
            Bound::Operations => "operations",
        }
    }
}

impl Line<'_> {
    /// The least time for the bytes, over the time taken.
    fn of_read(&self) -> f64 {
        self.work.bytes as f64 / self.measured.read / self.measured.seconds
    }

    /// The least time for the operations, over the time taken; `None` where no raw arithmetic is known.
    fn of_peak(&self) -> Option<f64> {
        let (_, times) = self.work.arithmetic?;
        Some(self.work.operations * times / self.measured.peak / self.measured.seconds)
    }

    /// The limit that takes longer.
    fn bound(&self) -> Bound {
        match self.of_peak() {
            Some(share) if share > self.of_read() => Bound::Operations,
            _ => Bound::Bytes,
        }
    }

    /// A line under [`HEAD`].
    pub(super) fn text(&self) -> String {
        let Work { names: [kernel, kind, shape], rows, threads, bytes, operations, .. } = self.work;
        let per_second = |amount: f64| amount / self.measured.seconds / 1e9;
        let read = percent(self.of_read());
        let (speed, peak) = match self.of_peak() {
            Some(share) => (format!("{:.1}", per_second(*operations)), percent(share)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        format!(
            "{kernel:<10} {kind:<7} {shape:<10} {rows:>5} {threads:>8}  {:>10} {:>9.1} {read:>8} {speed:>9} {peak:>8}  {}",
            time(self.measured.seconds),
            per_second(*bytes as f64),
            self.bound().name(),
        )
    }

    /// The same as a JSON object.
    pub(super) fn json(&self, level: &str) -> Value {
        let Work { names: [kernel, kind, shape], rows, threads, bytes, operations, arithmetic, .. } =
            self.work;
        json!({
            "level": level, "kernel": kernel, "type": kind, "shape": shape, "rows": rows, "threads": threads,
            "seconds": self.measured.seconds, "bytes": bytes, "operations": operations,
            "read": self.measured.read, "of_read": self.of_read(),
            "arithmetic": arithmetic.map(|(arithmetic, _)| format!("{arithmetic:?}")),
            "peak": arithmetic.map(|_| self.measured.peak), "of_peak": self.of_peak(),
            "bound_by": self.bound().name(),
        })
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn time(seconds: f64) -> String {
    match seconds {
        0.001.. => format!("{:.2} ms", 1e3 * seconds),
        _ => format!("{:.2} us", 1e6 * seconds),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::peaks::Arithmetic;
    use super::*;

    fn work(operations: f64, times: f64) -> Work {
        Work {
            names: ["product", "q4_0", "8192x2048"].map(str::to_owned),
            rows: 8,
            threads: 2,
            bytes: 3_000_000,
            set: 0,
            operations,
            arithmetic: Some((Arithmetic::DotBytes512, times)),
        }
    }

    #[test]
    fn shares_are_least_times_over_the_time_and_the_larger_binds() {
        let measured = Measured { seconds: 1e-3, read: 6e9, peak: 1e12 };
        // 0.5 ms of reading, 0.2 ms of arithmetic.
        let some = work(2e8, 1.0);
        let line = Line { work: &some, measured };
        assert!((line.of_read() - 0.5).abs() < 1e-9 && (line.of_peak().unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(line.bound(), Bound::Bytes);
        // Done three times over: 0.6 ms.
        let more = work(2e8, 3.0);
        let line = Line { work: &more, measured };
        assert!((line.of_peak().unwrap() - 0.6).abs() < 1e-9);
        assert_eq!(line.bound(), Bound::Operations);
        assert_eq!(line.json("amx")["bound_by"], "operations");
        let none = Work { arithmetic: None, ..work(2e8, 1.0) };
        let line = Line { work: &none, measured };
        assert_eq!((line.of_peak(), line.bound()), (None, Bound::Bytes));
        assert!(line.json("portable")["peak"].is_null());
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let some = work(2e8, 1.0);
        let line = Line { work: &some, measured: Measured { seconds: 1e-3, read: 6e9, peak: 1e12 } };
        let text = line.text();
        let end = |text: &str, part: &str| text.find(part).unwrap() + part.len();
        for (head, value) in [
            ("rows", " 8 "),
            ("time", "1.00 ms"),
            ("GB/s", "3.0"),
            ("of read", "50 %"),
            ("GOP/s", "200.0"),
            ("of peak", "20 %"),
        ] {
            let wanted = end(HEAD, head) + usize::from(value.ends_with(' '));
            assert_eq!(end(&text, value), wanted, "{head}\n{HEAD}\n{text}");
        }
        assert!(text.ends_with("bytes"));
    }
}
