//! How much of a decode step of the demo model is the guard's.

use plimsoll::{Cancel, Config, Flow, Request, Runtime, Session};
use std::path::Path;

/// Of a decode step, the guard's share stays below this.
const SHARE: f64 = 0.005;
const TOKENS: u32 = 96;
const TURNS: usize = 40;

/// Answers of the bundled model: how often a request enters the guard's lock to give something back, times what that costs,
/// and one admission, over the time of its decode steps. The model is the smallest there is, so its steps are the shortest.
/// Prints the share; returns whether it is small enough.
pub(crate) fn share(admission: u64, release: u64) -> bool {
    let mut config = Config::new();
    config.set("memory.budget", "256MiB").unwrap();
    let runtime = Runtime::new(&config).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let model = runtime.load_model("demo", &folder, &Config::new(), &|_| true).unwrap();
    let session = Session::open(&model, &Config::new()).unwrap();
    let answer = |tokens| {
        let mut request = Request::user("Tell me a story.");
        (request.max_tokens, request.ignore_eos) = (tokens, true);
        session.reset().unwrap();
        let before = runtime.guard().releases();
        let outcome = session.generate(&request, None, &Cancel::new(), |_| Flow::Continue).unwrap();
        assert_eq!(outcome.generated_tokens, tokens);
        (runtime.guard().releases() - before, outcome.decode.as_nanos() as u64)
    };
    let (short, _) = answer(2);
    let mut turns: Vec<_> = (0..TURNS).map(|_| answer(TOKENS)).collect();
    turns.sort_unstable_by_key(|&(_, decode)| decode);
    let (releases, decode) = turns[TURNS / 2];
    let steps = u64::from(TOKENS - 1);
    let per_step = (releases.saturating_sub(short)) as f64 / f64::from(TOKENS - 2);
    let step = decode as f64 / steps as f64;
    let guard = (admission + releases * release) as f64 / steps as f64;
    let (of_step, of_all) = (per_step * release as f64 / step, guard / step);
    println!(
        "\nA decode step of the demo model takes {:.0} µs and enters the guard {per_step:.3} times: {:.4} % of it. With the \
         whole of its request, {releases} releases and the admission over {steps} steps, it is {:.4} % (target: below {} %).",
        step / 1e3,
        100.0 * of_step,
        100.0 * of_all,
        100.0 * SHARE
    );
    of_all < SHARE
}
